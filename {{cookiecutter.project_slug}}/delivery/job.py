"""What one run of a verb works with, and what it knows of production; cli.py makes it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from delivery import names
from delivery.console import Console
from delivery.errors import RefusedError
from delivery.ledger import Ledger
from delivery.probe import Finding, Probe
from delivery.splits import Split
from delivery.target import Target, Version

STATUS = "python -m delivery status"
ROLLBACK = "python -m delivery rollback"


class State(Enum):
    """How production compares with what it was when the verb began."""

    UNCHANGED = "unchanged"
    CHANGED = "CHANGED"
    UNKNOWN = "NOT KNOWN"
    RESTORED = "restored"


@dataclass(frozen=True)
class Production:
    """What this run knows of production; reported when something fails or a signal comes."""

    state: State = State.UNCHANGED
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state.value}: {self.detail}" if self.detail else self.state.value


class Commits(Protocol):
    """What the verbs need of git; commits.py has it."""

    def version(self) -> str:
        """Name the version of the checked-out commit."""

    def refuse_uncommitted(self) -> None:
        """Raise RefusedError when files differ from the commit."""

    def export(self, folder: Path) -> None:
        """Write the files of the checked-out commit into an empty folder."""

    def is_ancestor(self, version: str, other: str) -> bool | None:
        """Whether the other version's commit is built on this one's; None: not known."""

    def between(self, old: str, new: str) -> Sequence[str]:
        """List the commits that the new version has and the old one has not, newest first."""


@dataclass
class Job:
    """One run of one verb."""

    target: Target
    console: Console
    probe: Probe
    commits: Commits
    ledger: Ledger
    folder: Callable[[str], Path]  # makes a private folder of that name
    who: str = "somebody"
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    timeout: float = 120.0
    dry_run: bool = False
    report: Path | None = None  # where to leave a URL for GitLab; None on a laptop
    production: Production = field(default_factory=Production)

    def version(self, given: str | None) -> str:
        """Return the version that was named, or the one of the checked-out commit."""
        return given or self.commits.version()

    def find(self, name: str, versions: Sequence[Version] | None = None) -> Version:
        """Return a deployed version; raise RefusedError if it is not among the versions."""
        for version in self.target.versions() if versions is None else versions:
            if version.id == name:
                return version
        raise RefusedError(
            f"there is no version {name}",
            why="it was not deployed, or not to the end, or it failed its check and was deleted",
            then=f"see what there is: {STATUS}; or deploy it: python -m delivery deploy",
        )

    def inspect(self, version: Version) -> Finding:
        """Check a version on its own address."""
        self.console.step(f"Checking {version.id} on its own address: {version.url}")
        return self.probe.version(version.url, version.id, self.timeout)

    def is_newer(self, version: str, other: str) -> bool:
        """Whether a version comes after the other: by ancestry, or by date where git cannot say.

        Dates alone mislead: a clock that is wrong, two commits within a second.
        """
        if self.commits.is_ancestor(other, version):
            return True
        if self.commits.is_ancestor(version, other):
            return False
        mine, theirs = names.commit_time(version), names.commit_time(other)
        return mine is not None and theirs is not None and mine > theirs

    def stamp(self) -> datetime:
        """Return the time, in whole seconds, as the record keeps it."""
        return self.now().replace(microsecond=0)

    def leave_url(self, name: str, url: str) -> None:
        """Leave an address where GitLab looks for it."""
        if self.report is not None and url and not self.dry_run:
            self.report.write_text(f"{name}={url}\n", encoding="utf-8")


def split_of(versions: Sequence[Version]) -> Split:
    """Return the traffic split that a list of versions shows."""
    return {version.id: version.share for version in versions if version.share}


def age(seconds: float) -> str:
    """Say an age in words, in its largest unit."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return "now"


def refuse_review(name: str) -> None:
    """Raise RefusedError for a review app: it never gets traffic."""
    if names.is_review(name):
        raise RefusedError(f"{name} is a review app, which never gets traffic", then="merge it")
