"""Moves traffic for promote and rollback: recorded before and after, never over another's move.

A move is written into the record before it is made, and the newest move in the record decides. So
a run that was killed leaves a trace; and of two runs at once, the one whose move is older gives
way, even when its request was the last to take effect.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import NoReturn

from delivery import record
from delivery.backoff import pauses
from delivery.errors import (
    AlarmError,
    CommandError,
    ConflictError,
    DeliveryError,
    RecordError,
    RefusedError,
    RestoredError,
    UnsettledError,
)
from delivery.job import ROLLBACK, STATUS, Job, Production, State, split_of
from delivery.record import Move, Record
from delivery.situation import Situation, catch_up
from delivery.splits import Split, describe
from delivery.target import Version

ATTEMPTS = 6
LOOK_AGAIN = f"{STATUS}; then repeat this command if it is still right"


def until_recorded(job: Job, attempt: Callable[[], str]) -> str:
    """Run a function that looks, decides and moves; again if others wrote the record meanwhile."""
    left = ATTEMPTS
    while True:
        try:
            return attempt()
        except ConflictError as error:
            left -= 1
            if not left:
                raise _overtaken() from error
            job.console.warn("Someone else has just written the record: looking again.")


def begin(
    job: Job, now: Situation, move: Move, change: Callable[[Record], Record] = lambda known: known
) -> None:
    """Write into the record that a move begins, and what else changes with it.

    Raise ConflictError if someone else has written the record since `now`.
    """
    # A move to what serves already only says that it was checked: so nothing was left out.
    known = now.record if move.after == now.serving else catch_up(job, now)
    job.ledger.write(change(known).having(move), now.tag)


def carry_out(job: Job, now: Situation, move: Move) -> None:
    """Make a move that `begin` has recorded; raise unless the traffic is as wanted in the end."""
    expected = [move.before]
    if now.pending:  # its request may take effect only now, and its run then gives way
        expected += [now.pending.before, now.pending.after]
    try:
        _move(job, move, expected, now.versions)
    except AlarmError:
        raise  # it may still take place
    except DeliveryError:
        end(job, move, record.NEVER)
        raise


def end(job: Job, move: Move, outcome: str) -> bool:
    """Write down how a move ended. Return whether it is still the newest one."""
    try:
        known = job.ledger.update(lambda old: old.ended(move, outcome))
    except DeliveryError as error:
        job.console.warn(
            f"The record could not be written ({error.why or error.what}): it does not say yet "
            f"that this move ended as: {outcome}. The next command will look for itself."
        )
        return True
    return _deciding(known, move) is move


def check_production(job: Job, move: Move) -> str:
    """Check production after a move, and record how it ended. Return the public address.

    If production fails, move the traffic back where there is a way back; end in an error.
    """
    try:
        url = job.target.url()
        job.console.step(f"Checking production: {url}")
        finding = job.probe.public(url, move.after, job.timeout)
        if not finding.healthy:
            job.console.warn(f"Production fails its check: {finding.why}")
            _react(job, move, finding.why)
    except CommandError as error:
        raise AlarmError(
            "the traffic was moved, and then production could not be looked after",
            why=f"{error.what}\n{error.why}".rstrip(),
            then=f"{STATUS}; then repeat this command, or: {ROLLBACK}",
        ) from error
    if not end(job, move, record.HEALTHY):
        raise RefusedError(
            "production is healthy, but someone else has moved the traffic meanwhile", then=STATUS
        )
    return url


def _react(job: Job, move: Move, why: str) -> NoReturn:
    """Move the traffic back if production fails and that is possible; always raise."""
    now = job.target.serving()
    if now != move.after:
        if not end(job, move, record.UNCHECKED):
            job.production = Production(State.CHANGED, f"by someone else: {describe(now)}")
            raise _overtaken()  # what serves now is the other run's to look after
        raise _left_to_others(job, why, f": {describe(now)}")
    job.production = Production(
        State.CHANGED, f"not healthy: {describe(move.after)} (before: {describe(move.before)})"
    )
    if move.way_back:
        _restore(job, move, why)
    end(job, move, record.FAILED)
    raise AlarmError(
        f"production fails its check with {describe(move.after)}"
        + ("" if move.before else "; nothing served before"),
        why=why,
        then=f"{STATUS}; then {ROLLBACK} VERSION, or deliver a commit that fixes it",
    )


def _restore(job: Job, move: Move, why: str) -> NoReturn:
    """Move traffic back; always raise."""
    end(job, move, record.RESTORING)
    try:
        _move(job, replace(move, outcome=record.RESTORING), [move.after])
    except RefusedError as error:
        end(job, move, record.FAILED)
        raise _left_to_others(job, f"{why}\n{error.why}") from error
    except DeliveryError as error:
        if not isinstance(error, AlarmError):  # after which it may still take place
            end(job, move, record.FAILED)
        raise AlarmError(
            "production fails its check, and moving the traffic back failed too",
            why=f"{why}\n{error.what}\n{error.why}".rstrip(),
            then=f"{ROLLBACK}, at once; then {STATUS}",
        ) from error
    end(job, move, record.RESTORED)
    job.production = Production(State.RESTORED, f"as before: {describe(move.before)}")
    raise RestoredError(
        f"production failed its check with {describe(move.after)}, so the traffic was moved back",
        why=why,
        then="deliver a commit that fixes it; the version is still there to look at",
    )


def _move(job: Job, move: Move, expected: list[Split], checked: Sequence[Version] = ()) -> None:
    """Set the traffic as a recorded move wants it, while what serves is one of `expected`.

    Refuse versions that were deployed anew since they were `checked`: nobody has looked at those.
    """
    made = {version.id: version.created for version in checked if version.id in move.wanted}
    job.console.step(f"Moving traffic: {describe(expected[0])} -> {describe(move.wanted)}")
    was, waits = job.production, pauses(1, longest=16)
    for attempt in range(ATTEMPTS):
        if _newest(job, move) is not move:
            raise _overtaken()
        # The last look before the request: between the two nothing may take long.
        versions = job.target.versions()
        now = split_of(versions)
        if now == move.wanted:
            break
        if now not in expected:
            raise RefusedError(
                "the traffic was changed by someone else in the meantime",
                why=f"it was {describe(expected[0])}, and is {describe(now)}",
                then=LOOK_AGAIN,
            )
        there = {version.id: version.created for version in versions}
        anew = [name for name, created in made.items() if there.get(name) != created]
        if anew:
            raise RefusedError(
                f"{', '.join(anew)} was deployed anew since it was checked", then=LOOK_AGAIN
            )
        if not job.dry_run:
            job.production = Production(
                State.UNKNOWN,
                f"traffic was being moved to {describe(move.wanted)}, from {describe(now)}",
            )
        try:
            job.target.set_traffic(move.wanted)
        except UnsettledError as error:
            raise _not_known(error) from error
        except CommandError as error:
            job.production = was
            if not error.transient or attempt == ATTEMPTS - 1:
                raise
            pause = next(waits)
            last = (error.why or error.what).splitlines()[-1]
            job.console.warn(f"  {last}; trying again in {pause:.0f} s")
            job.sleep(pause)
        else:
            break
    if job.dry_run:
        return
    job.production = Production(
        State.CHANGED,
        f"not yet checked: {describe(move.wanted)} (before: {describe(expected[0])})",
    )
    try:
        _give_way(job, move)
    except CommandError as error:
        raise AlarmError(
            "someone else's newer move was overwritten, and could not be put right",
            why=f"{error.what}\n{error.why}".rstrip(),
            then=f"{STATUS}; then promote the version that should serve",
        ) from error


def _give_way(job: Job, move: Move) -> None:
    """Put the traffic right where our request took effect after that of a newer move.

    Raise RefusedError if there is a newer move.
    """
    ours = [move.wanted]
    for pause in islice(pauses(1, longest=16), ATTEMPTS):
        newest = _newest(job, move)
        if newest is move:
            return
        now = job.target.serving()
        job.production = Production(State.CHANGED, f"by someone else: {describe(now)}")
        at_it = newest.outcome == record.MOVING and now == newest.before
        if at_it or now == newest.wanted or now not in ours:
            raise _overtaken()
        job.console.warn(f"The move by {newest.by} is newer: moving the traffic as that wants it.")
        ours.append(newest.wanted)
        try:
            job.target.set_traffic(newest.wanted)
        except CommandError as error:
            if not error.transient:
                raise
            job.sleep(pause)
    raise CommandError(f"the traffic could not be moved in {ATTEMPTS} attempts")


def _newest(job: Job, move: Move) -> Move:
    """Return the move that decides what serves: this one, unless another was recorded since."""
    if job.dry_run:
        return move
    try:
        return _deciding(job.ledger.read()[0], move)
    except RecordError:  # nobody else can have recorded one, either
        return move


def _deciding(known: Record, move: Move) -> Move:
    return move if known.last is None or known.last.id == move.id else known.last


def _overtaken() -> RefusedError:
    return RefusedError(
        "someone else is moving the traffic, or has just moved it",
        why="their move is the newer one in the record of deliveries",
        then=LOOK_AGAIN,
    )


def _left_to_others(job: Job, why: str, detail: str = "") -> AlarmError:
    job.production = Production(State.CHANGED, f"by someone else{detail}")
    return AlarmError(
        "production fails its check; someone else has moved the traffic since, so it was left",
        why=why,
        then=STATUS,
    )


def _not_known(error: UnsettledError) -> AlarmError:
    return AlarmError(
        f"{error.what}; whether the traffic will move is not known yet",
        why=error.why,
        then=f"wait a minute, then {STATUS}; then repeat this command, or: {ROLLBACK}",
    )
