"""What CHANGELOG.md says about the releases between two versions."""

import re
from dataclasses import dataclass, field

from upgrade.template import version

SECTION = re.compile(r"^## \[?(?P<version>v?\d[\w.]*)\]?.*$", re.MULTILINE)
DUTY = "You must do"  # the heading under which a release says what it cannot do by itself


@dataclass
class Notes:
    """The lines that need a person, and the rest: a list item each, oldest release first."""

    duties: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return them for a commit message: no line is a comment for git, as one with # would."""
        duties = [f"{DUTY}:", *self.duties] if self.duties else []
        return "\n\n".join("\n".join(part) for part in (duties, self.rest) if part)


def between(changelog: str, older: str, newer: str) -> Notes:
    """Return the notes of all releases after `older` up to `newer`, both given as versions."""
    notes = Notes()
    end = len(changelog)
    for match in reversed(list(SECTION.finditer(changelog))):
        if version(older) < version(match["version"]) <= version(newer):
            _gather(match["version"], changelog[match.end() : end], notes)
        end = match.start()
    return notes


def _gather(release: str, section: str, notes: Notes) -> None:
    """Add one release's section."""
    heading = ""
    lines = [f"{release}:"]
    for line in section.strip().splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
            if heading != DUTY:
                lines += [f"{heading}:"]
        elif line.strip():
            (notes.duties if heading == DUTY else lines).append(line.rstrip())
    if len(lines) > 1:
        notes.rest += ["", *lines] if notes.rest else lines
