"""Refuses answers that cannot work; Cookiecutter runs this before it writes the first file."""

import json
import re
import sys
import unicodedata

# The answers come in as data, and nothing else here is a template: this file is plain Python.
ANSWERS = r"""{{ cookiecutter | tojson }}"""

# Cookiecutter makes the project's folder before it runs this hook, so cookiecutter.json has put
# these in place of what would have made another folder, or none.
LOOKALIKES = str.maketrans({"∕": "/", "∖": "\\", "․": ".", "∅": ""})  # noqa: RUF001 they are
SLUG = re.compile(r"[a-z0-9](-?[a-z0-9]){1,49}")
EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@<>()\[\],;:\\\"]+\.[^\s@<>()\[\],;:\\\"]+")
# Windows cannot make folders of these names, and a package may not depend on itself.
RESERVED = {"aux", "con", "nul", "prn", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}
DEPENDENCIES = {"flask", "gunicorn", "python-json-logger", "secure"}
DEPENDENCIES |= {"mypy", "packaging", "prek", "pytest", "pytest-cov", "python-dotenv", "ruff"}
# Line breaks and control characters, and what YAML and XML cannot hold.
UNPRINTABLE = {"Cc", "Cn", "Cs", "Zl", "Zp"}
LONGEST = 200


def problem_with_prose(value: str) -> str | None:
    """Return what is wrong with a line of text, or None."""
    if not value.strip():
        return "must not be empty"
    if value != value.strip():
        return "must not begin or end with a space"
    if len(value) > LONGEST:
        return f"may have {LONGEST} characters, not {len(value)}"
    if any(unicodedata.category(character) in UNPRINTABLE for character in value):
        return "must be one line of printable characters"
    return None


def problem_with_slug(value: str) -> str | None:
    """Return what is wrong with a short name, or None."""
    if not value:
        return "is empty: project_name has no letter or digit to derive it from; set both"
    if not SLUG.fullmatch(value):
        return (
            "must be 2 to 50 lower-case letters a-z, digits and single hyphens, "
            "a letter or digit first and last"
        )
    if value in RESERVED:
        return "is a name that Windows keeps for itself: choose another"
    if value in DEPENDENCIES:
        return "is a package that the project depends on: choose another"
    return None


def problem_with_email(value: str) -> str | None:
    """Return what is wrong with an e-mail address, or None."""
    if not EMAIL.fullmatch(value) or problem_with_prose(value):
        return "must be an e-mail address such as name@example.com"
    return None


CHECKS = {
    "project_name": problem_with_prose,
    "project_slug": problem_with_slug,
    "description": problem_with_prose,
    "author_name": problem_with_prose,
    "author_email": problem_with_email,
    "owner": problem_with_prose,
}


def problems(answers: dict[str, str]) -> list[str]:
    """List everything that is wrong, a line each: the prompt, its value, what is allowed."""
    answers = answers | {"project_slug": answers["project_slug"].translate(LOOKALIKES)}
    found = {name: check(answers[name]) for name, check in CHECKS.items()}
    return [f"{name}: {answers[name]!r} {problem}" for name, problem in found.items() if problem]


def main() -> int:
    """Print all problems to stderr; the exit code stops the bake if there are any."""
    found = problems(json.loads(ANSWERS))
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
