"""Merges requirements files by package: as text, two upgrades of neighbours would conflict."""

import re

NAMES = ("requirements.txt", "requirements-dev.txt")
PACKAGE = re.compile(r"^[A-Za-z0-9]")


def merge(base: str, ours: str, theirs: str) -> str:
    """Return what both sides changed since `base`; where both changed a package, what theirs has.

    The result may need packages that it lacks, or versions that do not fit: `bin/lock` mends that,
    with these versions as the ones to keep.
    """
    if ours == base:
        return theirs
    if theirs == base:
        return ours
    old, own, new = packages(base), packages(ours), packages(theirs)
    merged = {name: _pick(old.get(name), own.get(name), new.get(name)) for name in {*own, *new}}
    head = theirs[: theirs.index(next(iter(new.values())))] if new else ""
    return head + "".join(block for _, block in sorted(merged.items()) if block)


def packages(text: str) -> dict[str, str]:
    """Return each package's lines: its version, and the hashes that belong to it."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if PACKAGE.match(line):
            name = re.split(r"[=\[ ;]", line, maxsplit=1)[0]
        if name:
            found[name] = found.get(name, "") + line
    return found


def _pick(base: str | None, ours: str | None, theirs: str | None) -> str | None:
    if theirs == base:
        return ours
    return theirs if ours == base or theirs else ours
