"""Moves traffic for promote and rollback: recorded before and after, never over somebody else.

A move is written into the record before it is made. So a run that was killed leaves a trace, and
of two runs at once one finds that the record has changed under its hands.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from delivery import record
from delivery.backoff import pauses
from delivery.errors import (
    AlarmError,
    CommandError,
    ConflictError,
    DeliveryError,
    RefusedError,
    RestoredError,
    UnsettledError,
)
from delivery.job import ROLLBACK, STATUS, Job, Production, State
from delivery.record import Move, Record
from delivery.splits import Split, describe

ATTEMPTS = 6


@dataclass(frozen=True)
class Situation:
    """What the record says and what serves, read together at the start of a verb."""

    record: Record
    tag: str
    serving: Split
    interrupted: Move | None = None  # it took place, and its run did not live to check it
    announced: Move | None = None  # it has not taken place: its run was killed, or is at it


def look(job: Job) -> Situation:
    """Read the record and the traffic; find out what became of a move that nobody settled."""
    known, tag = job.ledger.read()
    pending = known.pending
    if pending is not None:
        job.target.settle()
    serving = job.target.serving()
    if pending is None:
        return Situation(known, tag, serving)
    if dict(serving) == dict(pending.after):
        return Situation(known, tag, serving, interrupted=pending)
    return Situation(known.settled(pending, record.NEVER), tag, serving, announced=pending)


def catch_up(job: Job, now: Situation, move: Move) -> Record:
    """Return the record as it should be before a new move: nothing left open, nothing left out."""
    if now.interrupted:
        return now.record.settled(now.interrupted, record.UNCHECKED)
    if not now.serving or now.record.matches(now.serving) or dict(move.after) == dict(now.serving):
        return now.record
    before = now.record.serving or {}
    if now.record.moves:
        job.console.warn(
            f"The traffic was moved without these commands: the record says {describe(before)}, "
            f"and it is {describe(now.serving)}."
        )
    seen = Move(record.SEEN, before, now.serving, "?", job.stamp(), record.UNCHECKED)
    return now.record.having(seen)


def begin(job: Job, now: Situation, move: Move, change: Callable[[Record], Record]) -> Record:
    """Write into the record that a move begins, unless the record has changed since `now`."""
    new = change(catch_up(job, now, move)).having(move)
    try:
        job.ledger.write(new, now.tag)
    except ConflictError as error:
        raise RefusedError(
            "someone else has just moved, or is moving, the traffic",
            why=error.why,
            then=f"{STATUS}; then repeat this command if it is still right",
        ) from error
    return new


def carry_out(job: Job, move: Move, *, recorded: Move | None = None) -> None:
    """Make a move that `begin` has recorded; raise unless the traffic is as wanted in the end.

    `recorded` is the move in the record that this one belongs to, if it is not recorded itself.
    """
    recorded = recorded or move
    job.console.step(f"Moving traffic: {describe(move.before)} -> {describe(move.after)}")
    was, waits = job.production, pauses(1, longest=16)
    for attempt in range(ATTEMPTS):
        _refuse_overtaken(job, recorded)
        _refuse_changed(job, move)
        if not job.dry_run:
            job.production = Production(
                State.UNKNOWN,
                f"traffic was being moved to {describe(move.after)}, from {describe(move.before)}",
            )
        try:
            job.target.set_traffic(move.after)
        except UnsettledError as error:
            raise AlarmError(
                f"{error.what}; whether the traffic will move is not known yet",
                why=error.why,
                then=f"wait a minute, then {STATUS}; then repeat this command, or: {ROLLBACK}",
            ) from error
        except CommandError as error:
            job.production = was
            if not error.transient or attempt == ATTEMPTS - 1:
                settle(job, move, record.NEVER)
                raise
            pause = next(waits)
            last = (error.why or error.what).splitlines()[-1]
            job.console.warn(f"  {last}; trying again in {pause:.0f} s")
            job.sleep(pause)
        else:
            break
    if not job.dry_run:
        job.production = Production(
            State.CHANGED,
            f"not yet checked: {describe(move.after)} (before: {describe(move.before)})",
        )


def _refuse_overtaken(job: Job, move: Move) -> None:
    """Give way to a run that has recorded a move of its own since."""
    if job.dry_run or _is_newest(job.ledger.read()[0], move):
        return
    raise RefusedError(
        "someone else is moving the traffic",
        why="the record of deliveries has a newer move than this one",
        then=f"{STATUS}; then repeat this command if it is still right",
    )


def _refuse_changed(job: Job, move: Move) -> None:
    """Look for the last time before the request: between the two nothing may take long."""
    now = job.target.serving()
    if dict(now) == dict(move.before):
        return
    settle(job, move, record.NEVER)
    raise RefusedError(
        "the traffic was changed by someone else in the meantime",
        why=f"it was {describe(move.before)}, and is {describe(now)}",
        then=f"{STATUS}; then repeat this command if it is still right",
    )


def settle(job: Job, move: Move, outcome: str) -> bool:
    """Write down how a move ended; whether it is still the newest one.

    If it is not, somebody else has taken over, and has written down what became of it.
    """
    if job.dry_run:
        return True

    def settled(old: Record) -> Record:
        return old.settled(move, outcome) if _is_newest(old, move) else old

    try:
        known = job.ledger.update(settled)
    except DeliveryError as error:
        job.console.warn(
            f"The record could not be written ({error.why or error.what}): it does not say yet "
            f"that this ended as: {outcome}. The next command will look for itself."
        )
        return True
    return _is_newest(known, move)


def _is_newest(known: Record, move: Move) -> bool:
    return not known.moves or known.moves[-1].id == move.id


def check_production(job: Job, move: Move, *, on_failure: str) -> str:
    """Check production after a move; settle it, or end in an error. Return the public address.

    `on_failure` is RESTORED to move the traffic back, or FAILED to leave it.
    """
    url = job.target.url()
    job.console.step(f"Checking production: {url}")

    def moved() -> bool:
        try:
            return dict(job.target.serving()) != dict(move.after)
        except DeliveryError:  # asked in passing: the check goes on
            return False

    finding = job.probe.public(url, move.after, job.timeout, moved)
    if finding.healthy:
        if not settle(job, move, record.HEALTHY):
            raise RefusedError(
                "production is healthy, but someone else has moved the traffic meanwhile",
                then=STATUS,
            )
        return url
    job.console.warn(f"Production fails its check: {finding.why}")
    now = job.target.serving()
    if dict(now) != dict(move.after):
        return _somebody_else_moved(job, move, now, finding.why, on_failure)
    if on_failure == record.RESTORED and move.before:
        _restore(job, move, finding.why)
    settle(job, move, record.FAILED)
    job.production = Production(
        State.CHANGED,
        f"not healthy: {describe(move.after)} (before: {describe(move.before)})",
    )
    raise AlarmError(
        f"production fails its check with {describe(move.after)}"
        + ("" if move.before else "; nothing served before"),
        why=finding.why,
        then=f"{STATUS}; then {ROLLBACK} VERSION, or deliver a commit that fixes it",
    )


def _somebody_else_moved(job: Job, move: Move, now: Split, why: str, on_failure: str) -> str:
    """Leave production to whoever moved it since, unless that was a run that had given way.

    Its request may have been on its way already. The record decides: its newest move is ours.
    """
    known, _ = job.ledger.read()
    late = any(m.outcome == record.NEVER and dict(m.after) == dict(now) for m in known.moves)
    if late and known.moves and known.moves[-1].id == move.id:
        job.console.warn("An older move took effect late: moving the traffic again.")
        again = replace(move, before=now)
        carry_out(job, again, recorded=move)
        return check_production(job, move, on_failure=on_failure)
    settle(job, move, record.UNCHECKED)
    job.production = Production(State.CHANGED, f"by someone else: {describe(now)}")
    raise AlarmError(
        "production fails its check; someone else has moved the traffic since, so it was left",
        why=why,
        then=STATUS,
    )


def _restore(job: Job, move: Move, why: str) -> NoReturn:
    """Move traffic back; this always ends in an error."""
    job.production = Production(
        State.CHANGED, f"not healthy: {describe(move.after)} (before: {describe(move.before)})"
    )
    back = replace(move, before=move.after, after=move.before, id="")
    try:
        carry_out(job, back, recorded=move)
    except RefusedError as error:
        raise AlarmError(
            "production fails its check; someone else has moved the traffic since, so it was left",
            why=f"{why}\n{error.why}",
            then=STATUS,
        ) from error
    except DeliveryError as error:
        raise AlarmError(
            "production fails its check, and moving the traffic back failed too",
            why=f"{why}\n{error.what}\n{error.why}".rstrip(),
            then=f"{ROLLBACK}, at once; then {STATUS}",
        ) from error
    settle(job, move, record.RESTORED)
    job.production = Production(State.RESTORED, f"as before: {describe(move.before)}")
    raise RestoredError(
        f"production failed its check with {describe(move.after)}, so the traffic was moved back",
        why=why,
        then="deliver a commit that fixes it; the version is still there to look at",
    )
