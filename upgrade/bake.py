"""`python -m upgrade.bake`: renders a template once, in a process of its own.

A template may bring Python of its own (Jinja extensions); two versions of it in one process would
get each other's. Reads the arguments as JSON, and prints the path of what it made.
"""

import json
import sys
from typing import Any

from cookiecutter.exceptions import CookiecutterException
from cookiecutter.main import cookiecutter


def literal(value: Any) -> Any:
    """Return a value that comes out of Cookiecutter as it is; it takes all for Jinja."""
    if not isinstance(value, str):
        return value
    escaped = "".join(f"\\U{ord(c):08x}" for c in value)
    return value if "{" not in value else f'{{{{ "{escaped}" }}}}'


def main() -> int:
    """Render; the reason goes to stderr when the template refuses."""
    asked = json.load(sys.stdin)
    answers = {name: literal(value) for name, value in asked.pop("answers").items()}
    try:
        print(cookiecutter(**asked, no_input=True, extra_context=answers))
    except (CookiecutterException, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
