"""What the suite needs of a target: all that is around it, real or emulated, and how to look at it.

What a world tells of its traffic and versions it reads from the target itself, not through
delivery/: the suite compares the two.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.clone import Clone, Outcome
from tests.support.visitors import Where, ask, connect


@dataclass
class World(Clone, ABC):
    """A clone, and the target that it delivers to; `env` is that of a person's laptop."""

    first: str = ""  # the version of the first commit
    after_first: Callable[[], None] = lambda: None  # goes back to the first delivery

    # Class attributes of each world.
    deploy_to = ""
    first_serves = False

    @classmethod
    @abstractmethod
    def open(cls, folder: Path) -> Self:
        """Bake, commit, and set the target up as its owner would; nothing is delivered yet."""

    @abstractmethod
    def close(self) -> None:
        """End and remove all that was started."""

    @abstractmethod
    def job(self) -> dict[str, str]:
        """Return the variables of a job in GitLab, to be added to `env`: CI and the login."""

    def build(self) -> dict[str, str]:
        """Do what the pipeline's job `build` does for the checked-out commit; return its IMAGE."""
        return {}

    @abstractmethod
    def traffic(self) -> dict[str, float]:
        """Return what serves, in per cent by version."""

    @abstractmethod
    def versions(self) -> set[str]:
        """Return the versions that exist; what was there before the first delivery is none."""

    @abstractmethod
    def where(self) -> Where:
        """Return where visitors find production, for tests.support.visitors."""

    @abstractmethod
    def bookmark(self) -> Callable[[], None]:
        """Return what goes back, fast, to the versions, the split and the record of now.

        It forgets every fault, too.
        """

    def copy(self, name: str) -> None:
        """Put a version there that is like the first: as fast as the target can."""
        self.upload(name)

    # What the suite adds

    def run(self, *arguments: str, **env: str) -> Outcome:
        """Run a verb as a job does."""
        return self.deliver(*arguments, **{**self.job(), **env})

    def must_run(self, *arguments: str, **env: str) -> Outcome:
        """Run a verb that has to succeed, as a job does."""
        return self.must(*arguments, **{**self.job(), **env})

    def ask(self, path: str) -> tuple[int, str]:
        """Visit production."""
        with connect(self.where()) as connection:
            status, body = ask(connection, path)
        return status, body.decode()

    def upload(self, name: str = "") -> str:
        """Build and deploy the checked-out commit, under its own name or another one."""
        named = ["--version", name] if name else []
        outcome = self.must_run("deploy", *named, **self.build())
        assert outcome.out.strip(), outcome.said
        return outcome.out.strip()
