"""What one run of a verb works with, and what it did to production; cli.py makes it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from delivery.check import Check, Finding
from delivery.console import Console
from delivery.errors import RefusedError
from delivery.target import Split, Target, Version

LOOK = "python -m delivery status"


@dataclass
class Job:
    """One run of one verb."""

    target: Target
    console: Console
    check: Check
    commit_version: Callable[[], str]
    refuse_uncommitted: Callable[[], None]
    sleep: Callable[[float], None] = time.sleep
    timeout: float = 120.0
    dry_run: bool = False
    report: Path | None = None  # where `review` leaves the URL for GitLab; None on a laptop
    production: str = field(default="unchanged")  # said when something fails, or a signal comes

    def version(self, given: str | None) -> str:
        """Give the version that was named, or the one of the checked-out commit."""
        return given or self.commit_version()

    def find(self, name: str) -> tuple[Version, list[Version]]:
        """Give a deployed version and all versions."""
        versions = self.target.versions()
        for version in versions:
            if version.id == name:
                return version, versions
        raise RefusedError(
            f"there is no version {name}",
            why="its deploy did not finish, or it failed its check and was deleted",
            then=f"python -m delivery deploy, or see what there is: {LOOK}",
        )

    def inspect(self, version: Version) -> Finding:
        """Check a version on its own address."""
        self.console.step(f"Checking {version.id} on its own address: {version.url}")
        return self.check(version.url, {version.id}, self.timeout)


def split_of(versions: list[Version]) -> Split:
    """Give the traffic split that a list of versions shows."""
    return {version.id: version.share for version in versions if version.share}


def describe(split: Split) -> str:
    """Put a traffic split in words, largest share first."""
    shares = sorted(split.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{version} {share:g} %" for version, share in shares) or "nothing"
