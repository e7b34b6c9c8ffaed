"""What the record says and what serves, compared at the start of promote and rollback."""

from dataclasses import dataclass, replace

from delivery import record
from delivery.errors import AlarmError, UnsettledError
from delivery.job import STATUS, Job, Production, State, split_of
from delivery.record import Move, Record
from delivery.splits import Split, describe
from delivery.target import Version


@dataclass(frozen=True)
class Situation:
    """Record and versions, read together; the newest move has an end in it, or is `pending`."""

    record: Record
    tag: str
    versions: list[Version]
    pending: Move | None = None  # the newest, if its run did not record how it ended

    @property
    def serving(self) -> Split:
        """How the traffic is split."""
        return split_of(self.versions)

    @property
    def interrupted(self) -> Move | None:
        """The pending move, if it took place: production may not have been checked since."""
        return self.pending if self.pending and self.pending.is_open else None

    @property
    def announced(self) -> Move | None:
        """The pending move, if it has not taken place: its run was killed, or is at it."""
        return self.pending if self.pending and self.pending.outcome == record.NEVER else None


def look(job: Job) -> Situation:
    """Read the record and the traffic; find out what became of a move that has no end."""
    known, tag = job.ledger.read()
    pending = known.pending
    if pending is None:
        return Situation(known, tag, job.target.versions())
    try:
        job.target.settle()
    except UnsettledError as error:
        job.production = Production(
            State.UNKNOWN,
            f"traffic is being moved to {describe(pending.wanted)}, by {pending.by}",
        )
        raise AlarmError(
            f"{error.what}; whether the traffic will move is not known yet",
            why=error.why,
            then=f"wait a minute, then repeat this command; {STATUS} shows what serves",
        ) from error
    versions = job.target.versions()
    pending = replace(pending, outcome=_what_became(pending, split_of(versions)))
    return Situation(known.ended(pending, pending.outcome), tag, versions, pending)


def _what_became(pending: Move, serving: Split) -> str:
    if serving == pending.after:
        return pending.outcome
    if pending.outcome == record.MOVING:
        return record.NEVER
    return record.RESTORED if serving == pending.before else record.FAILED


def catch_up(job: Job, now: Situation) -> Record:
    """Return the record as it should be before a new move: nothing left open, nothing left out."""
    move = now.interrupted
    if move:
        failed = move.outcome == record.RESTORING
        return now.record.ended(move, record.FAILED if failed else record.UNCHECKED)
    if not now.serving or now.record.matches(now.serving):
        return now.record
    before = now.record.serving or {}
    if now.record.moves:
        job.console.warn(
            f"The traffic was moved without these commands: the record says {describe(before)}, "
            f"and it is {describe(now.serving)}."
        )
    seen = Move(record.SEEN, before, now.serving, "?", job.stamp(), record.UNCHECKED)
    return now.record.having(seen)
