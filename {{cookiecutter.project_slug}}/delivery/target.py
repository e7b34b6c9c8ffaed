"""The seam between the verbs and a vendor: what a target must do, in words that no vendor owns.

To deliver somewhere else, write one class with these functions in a folder of its own, and name
it in __main__.py; no verb changes. A target raises the errors of errors.py, runs programs through
the Runner that it is made with (which keeps time limits, signals and dry runs in one place), and
moves traffic only when told to. What it cannot do, it declares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from delivery.splits import Split


@dataclass(frozen=True)
class Version:
    """One deployed version."""

    id: str
    url: str  # its own address, which reaches it whatever the traffic does
    created: datetime  # of what runs under that name: another one, once it was deployed anew
    share: float = 0.0  # per cent of the traffic


@dataclass(frozen=True)
class Stored:
    """The record of deliveries as the target keeps it: its text, and the tag to replace it with."""

    text: str  # empty when there is none yet
    tag: str


class Target(Protocol):
    """Where versions run. Each function may be called again after it failed or was killed."""

    STEP: ClassVar[float]
    """The smallest difference between two shares of the traffic, in per cent."""

    FIRST_SERVES: ClassVar[bool]
    """Whether the first version gets all traffic by being deployed, as nothing else could."""

    def login(self) -> None:
        """Check the settings and prepare credentials; the first call. It asks no server."""

    def accept(self, version: str) -> None:
        """Raise MisuseError for a name that a version cannot have here."""

    def deploy(self, version: str, source: Path) -> None:
        """Upload and start the files in `source` as this version, without moving traffic.

        `source` holds what the commit holds. Only with FIRST_SERVES may the first one get traffic.
        """

    def versions(self) -> list[Version]:
        """List all versions with their share of the traffic; empty before the first delivery."""

    def serving(self) -> Split:
        """Return how the traffic is split now."""

    def set_traffic(self, split: Split) -> None:
        """Split the traffic like this, all at once, and return when it has happened.

        One attempt: it must not repeat the request, as someone else may have moved traffic. Raise
        UnsettledError when the change may still happen; after any other error it did not.
        """

    def settle(self) -> None:
        """Wait until no change of the traffic is under way, whoever asked for it.

        Raise UnsettledError when one is still under way after a minute or two.
        """

    def url(self) -> str:
        """Return the public address, which the traffic split is behind."""

    def delete(self, versions: Sequence[str]) -> None:
        """Delete versions; gone already is no error, one with traffic must be refused."""

    def log(self, version: str) -> list[str]:
        """Return the last lines that a version wrote, the oldest first."""

    def read_record(self) -> Stored:
        """Read the record of deliveries, from a place that outlives every version."""

    def write_record(self, text: str, tag: str) -> str:
        """Replace the record that had this tag, and return the new tag.

        Raise ConflictError, and write nothing, when it has another tag by now.
        """
