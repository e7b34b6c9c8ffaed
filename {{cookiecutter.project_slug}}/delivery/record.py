"""The record of deliveries: which version got which traffic when, by whom, and how it went.

It is one small JSON file on the target. From it the verbs know what has served, what failed and
what was rolled back from; the versions themselves cannot tell.
"""

import json
import secrets
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from delivery.errors import RecordError
from delivery.splits import Split, sole

FORMAT = 1
TOO_MUCH = (RecursionError, OverflowError)  # JSON nested too deep; a number too large for a float
LONGEST = 200  # moves; at several deliveries a day, weeks

# How a move ended.
MOVING = "moving"  # it was begun; until it has another outcome, look at what serves
HEALTHY = "healthy"  # production passed its check
UNCHECKED = "unchecked"  # it serves, or served, and nobody looked
FAILED = "failed"  # production failed its check, and the traffic stayed
RESTORING = "restoring"  # production failed its check, and the traffic is being moved back
RESTORED = "restored"  # production failed its check, and the traffic was moved back
NEVER = "never happened"

# What an outcome may still become. Two runs may write down how a move ended (its own, and one that
# found it without an end): the one that knows less must not overwrite the other.
_NEXT: dict[str, Set[str]] = {
    MOVING: {HEALTHY, UNCHECKED, FAILED, RESTORING, RESTORED, NEVER},
    UNCHECKED: {HEALTHY, FAILED, RESTORING, RESTORED},
    HEALTHY: {FAILED, RESTORING, RESTORED},
    RESTORING: {HEALTHY, FAILED, RESTORED},
    FAILED: {RESTORED},
    RESTORED: set(),
    NEVER: set(),
}
_OPEN = {MOVING, RESTORING}
_SERVED = {HEALTHY, UNCHECKED}
_FAILED = {FAILED, RESTORING, RESTORED}

# The verb of a move: one of these, or SEEN where somebody moved traffic without these verbs.
PROMOTE = "promote"
CANARY = "canary"
ROLLBACK = "rollback"
SEEN = "seen"


@dataclass(frozen=True)
class Move:
    """One change of the traffic."""

    verb: str
    before: Split
    after: Split
    by: str
    at: datetime
    outcome: str = MOVING
    id: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def is_open(self) -> bool:
        """Whether nobody has recorded yet how it ended."""
        return self.outcome in _OPEN

    @property
    def wanted(self) -> Split:
        """What should serve because of this move."""
        return self.before if self.outcome in {RESTORING, RESTORED} else self.after

    @property
    def version(self) -> str | None:
        """The version that the move was made for: the one that gained most."""
        return max(
            self.after,
            key=lambda version: (self.after[version] - self.before.get(version, 0), version),
            default=None,
        )

    @property
    def way_back(self) -> Split:
        """What to restore if production fails; empty where there is nothing.

        What served before a rollback is what somebody wanted to leave.
        """
        return {} if self.verb == ROLLBACK else self.before


@dataclass(frozen=True)
class Hold:
    """Why a version must not get traffic again unless a person insists."""

    why: str
    at: datetime


@dataclass(frozen=True)
class Record:
    """All moves, the oldest first, and the versions on hold. Methods return a changed copy."""

    moves: tuple[Move, ...] = ()
    held: dict[str, Hold] = field(default_factory=dict)

    @property
    def last(self) -> Move | None:
        """The newest move that took place, or may have."""
        return next((move for move in reversed(self.moves) if move.outcome != NEVER), None)

    @property
    def serving(self) -> Split | None:
        """What serves according to the record, or None where it does not say."""
        last = self.last
        return None if last is None or last.is_open else last.wanted

    @property
    def pending(self) -> Move | None:
        """The newest move, if nobody has written down yet how it ended."""
        return self.moves[-1] if self.moves and self.moves[-1].is_open else None

    def having(self, move: Move) -> "Record":
        """Add a move."""
        return replace(self, moves=(*self.moves, move)[-LONGEST:])

    def ended(self, move: Move, outcome: str) -> "Record":
        """Write down how a move ended, unless something better is known already."""
        return replace(
            self,
            moves=tuple(
                replace(each, outcome=outcome)
                if each.id == move.id and outcome in _NEXT[each.outcome]
                else each
                for each in self.moves
            ),
        )

    def holding(self, versions: set[str], hold: Hold) -> "Record":
        """Put versions on hold."""
        return replace(self, held=self.held | dict.fromkeys(sorted(versions), hold))

    def releasing(self, version: str) -> "Record":
        """End the hold of a version."""
        return replace(self, held={k: hold for k, hold in self.held.items() if k != version})

    def matches(self, serving: Split) -> bool:
        """Whether what serves is what the record says."""
        return self.serving is not None and dict(self.serving) == dict(serving)

    def known_good(self) -> list[tuple[str, datetime]]:
        """List the versions that had all traffic and did not fail, with when they last got it.

        The one that served last comes first. A version whose newest move failed is left out, and
        so is one on hold.
        """
        found: dict[str, datetime] = {}
        bad = set(self.held)
        for version, move, good in self._newest_first():
            if version in found or version in bad:
                continue
            if good:
                found[version] = move.at
            else:
                bad.add(version)
        return list(found.items())

    def served(self) -> set[str]:
        """Every version that has had all traffic and did not fail with it, on hold or not."""
        return {version for version, _, good in self._newest_first() if good}

    def failed(self, version: str) -> Move | None:
        """Return the move to the version after which production failed, if it was its newest."""
        for move in reversed(self.moves):
            if move.outcome in _FAILED and move.version == version:
                return move
            if move.outcome in _SERVED and version in move.after:
                return None
        return None

    def canary_of(self, version: str) -> Move | None:
        """Return the newest move that gave the version a share, if it has not had all since."""
        for move in reversed(self.moves):
            if move.outcome in _SERVED and version in move.after:
                return None if sole(move.after) == version else move
        return None

    def _newest_first(self) -> Iterator[tuple[str, Move, bool]]:
        for move in reversed(self.moves):
            version = sole(move.after)
            if version and move.outcome in _SERVED | _FAILED:
                yield version, move, move.outcome in _SERVED


def dump(record: Record) -> str:
    """Write a record as text, for people to read, too."""
    moves = [{**vars(move), "at": _text(move.at)} for move in record.moves]
    held = {version: {"why": h.why, "at": _text(h.at)} for version, h in record.held.items()}
    return json.dumps({"format": FORMAT, "moves": moves, "held": held}, indent=1) + "\n"


def load(text: str) -> Record:
    """Read a record; empty text is an empty record. Raise RecordError for what is none."""
    if not text.strip():
        return Record()
    try:
        raw = json.loads(text)
        _known(raw["format"], {FORMAT}, "format")
        held = {str(k): Hold(str(h["why"]), _time(h["at"])) for k, h in raw["held"].items()}
        return Record(tuple(_move(each) for each in raw["moves"]), held)
    except (ValueError, KeyError, TypeError, AttributeError, *TOO_MUCH) as error:
        raise RecordError(
            "the record of deliveries cannot be read",
            why=f"{type(error).__name__}: {error}",
            then="bin/upgrade, if a newer delivery/ has written it; to go back meanwhile, name the"
            " version: python -m delivery rollback VERSION",
        ) from error


def _move(raw: dict[str, Any]) -> Move:
    _known(raw["outcome"], _NEXT.keys(), "outcome")
    return Move(
        verb=str(raw["verb"]),
        before=_split(raw["before"]),
        after=_split(raw["after"]),
        by=str(raw["by"]),
        at=_time(raw["at"]),
        outcome=raw["outcome"],
        id=str(raw["id"]),
    )


def _known(value: object, known: Set[object], what: str) -> None:
    if value not in known:
        raise ValueError(f"{what} {value!r} is not known to this version of delivery/")


def _split(raw: dict[str, Any]) -> Split:
    return {str(version): float(share) for version, share in raw.items()}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
