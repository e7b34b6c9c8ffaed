"""One thing that must be there: what a look at it tells, and what can be done about it."""

from dataclasses import KW_ONLY, dataclass
from enum import Enum

MARK = "made by: python -m delivery connect"
"""Stands in the description of whatever is made here; undo removes nothing without it."""


class State(Enum):
    """How a resource compares with what is wanted, as the table says it."""

    THERE = "there"
    MISSING = "to create"
    DIFFERS = "differs"
    BLOCKED = "blocked"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Choice:
    """What a person must decide before a resource can be made."""

    option: str  # of the command line, such as region
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """What a look at a resource found."""

    state: State
    detail: str = ""  # what is lacking, what differs, or what blocks
    then: str = ""  # who can change that, and how
    foreign: bool = False  # it differs, and was not made here
    choice: Choice | None = None  # still open

    @property
    def to_do(self) -> bool:
        """Whether connect has something to do about it."""
        return self.state in {State.MISSING, State.DIFFERS}


THERE = Look(State.THERE)
MISSING = Look(State.MISSING)


@dataclass
class Resource:
    """One thing that must be there; a subclass per kind, with what all of a kind have in common."""

    name: str
    purpose: str
    _: KW_ONLY
    permissions: tuple[str, ...] = ()  # that making it needs; Connection.held tests them
    role: str = ""  # one that has them
    stays: str = ""  # why undo leaves it
    needs_gitlab: bool = False  # it cannot be looked at without GitLab

    def look(self) -> Look:
        """Compare what there is with what is wanted."""
        raise NotImplementedError

    def create(self) -> None:
        """Make it, or make it right; again after a failure, too."""
        raise NotImplementedError

    def made(self) -> bool:
        """Return whether it was made here, so that undo may remove it."""
        return False

    def remove(self) -> None:
        """Undo what was made here."""

    def commands(self) -> list[str]:
        """Return what a person would type instead."""
        return []
