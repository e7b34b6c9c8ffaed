"""Checks that each dependency in pyproject.toml is locked, at a version that it allows."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def read_lock(name: str) -> list[Requirement]:
    """Return what a lock pins, such as `flask==3.1.3`."""
    pins = re.findall(r"^\w.*?(?= *\\?$)", Path(name).read_text("utf-8"), re.MULTILINE)
    return [Requirement(pin) for pin in pins]


def is_pinned(wanted: Requirement, lock: list[Requirement]) -> bool:
    """Whether the lock has it, with its extras, at a version that fits."""
    return any(
        canonicalize_name(pin.name) == canonicalize_name(wanted.name)
        and pin.extras >= wanted.extras
        and all(wanted.specifier.contains(s.version, prereleases=True) for s in pin.specifier)
        for pin in lock
    )


def main() -> int:
    """Name the dependencies that the locks do not fit; return the exit status."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    declared = {
        "requirements.txt": project["dependencies"],
        "requirements-dev.txt": project["dependencies"] + project["optional-dependencies"]["dev"],
    }
    unfit = [
        f"{name}: does not lock {wanted}"
        for name, dependencies in declared.items()
        for lock in [read_lock(name)]
        for wanted in map(Requirement, dependencies)
        if not is_pinned(wanted, lock)
    ]
    for line in unfit:
        print(line, file=sys.stderr)
    if unfit:
        print("pyproject.toml has changed since the last bin/lock: run bin/lock", file=sys.stderr)
    return 1 if unfit else 0


if __name__ == "__main__":
    raise SystemExit(main())
