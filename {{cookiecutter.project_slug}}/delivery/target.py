"""The seam between the verbs and a vendor: what a target must do, in words that no vendor owns.

To deliver somewhere else (Cloud Run, Docker on a host over SSH), write one module with a class
that has these functions, and name it in TARGETS in cli.py. Nothing else changes. A target raises
the errors of errors.py, runs programs through the Runner that it is made with (which keeps dry
runs, time limits and signals in one place), and moves traffic only when told to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from delivery import revision

Split = Mapping[str, float]
"""Per cent of the traffic by version, above zero; together 100, or empty when nothing serves."""


@dataclass(frozen=True)
class Version:
    """One deployed version."""

    id: str
    url: str  # its own address, which reaches it whatever the traffic does
    created: datetime
    share: float = 0.0  # per cent of the traffic

    def is_newer_than(self, other: "Version") -> bool:
        """Compare by commit where both names tell it, otherwise by when they were deployed."""
        mine, theirs = revision.commit_time(self.id), revision.commit_time(other.id)
        if mine is None or theirs is None:
            return self.created > other.created
        return mine > theirs


class Target(Protocol):
    """Where versions run. Each function may be called again after it failed or was killed."""

    def login(self) -> None:
        """Check the settings and prepare credentials; the first call, and it calls no one."""

    def accept(self, version: str) -> None:
        """Refuse a name (MisuseError) that a version cannot have here."""

    def deploy(self, version: str) -> None:
        """Upload and start the project's files as this version, without moving traffic.

        Where a first version cannot be without traffic, it may get all of it.
        """

    def versions(self) -> list[Version]:
        """List all versions with their share of the traffic; empty before the first delivery."""

    def serving(self) -> Split:
        """Tell how traffic is split now."""

    def set_traffic(self, split: Split) -> None:
        """Split traffic like this, all at once; the one function that must not retry by itself.

        The caller does, after looking whether someone else has moved traffic meanwhile.
        """

    def url(self) -> str:
        """Tell the public address, which the traffic split is behind."""

    def delete(self, version: str) -> None:
        """Delete a version; gone already is no error, one with traffic must be refused."""
