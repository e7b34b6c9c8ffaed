"""rollback: gives all traffic to the version that served before, or to one that is named."""

from collections.abc import Sequence
from datetime import timedelta

from delivery import moving, record
from delivery.errors import DeliveryError, RecordError, RefusedError
from delivery.job import ROLLBACK, STATUS, Job, Production, State, age, refuse_review
from delivery.record import Hold, Move, Record
from delivery.situation import Situation, look
from delivery.splits import ALL, describe, sole
from delivery.target import Version

# Repeated so soon, a rollback without a VERSION is taken for the same one: a job that was run
# again, or a person who saw no answer. It would otherwise go back one version more.
SAME = timedelta(minutes=5)


def rollback(job: Job, given: str | None) -> str:
    """Move all traffic to a version that is known to have worked, and still does.

    What had traffic is put on hold: only a person who insists can promote it again. Return the
    public address.
    """
    job.target.login()
    if given:
        refuse_review(given)
    first: list[Situation] = []

    def attempt() -> str:
        now = look(job)
        first.append(now)
        _refuse_changed(first[0], now)
        return _rollback(job, now, given)

    try:
        return moving.until_recorded(job, attempt)
    except RecordError as error:
        if not given:
            raise RecordError(
                error.what,
                why=error.why,
                then=f"{STATUS}; then name the version to go back to: {ROLLBACK} VERSION",
            ) from error
        # In an emergency, a record that is out of order must not stop anyone.
        job.console.warn(f"{error.what}, so nothing is recorded: {error.why}")
        job.ledger.off = True
        return _rollback(job, look(job), given)


def _refuse_changed(first: Situation, now: Situation) -> None:
    """Refuse to leave a version that is not the one which somebody wanted to leave."""
    if (now.serving, _last_id(now)) != (first.serving, _last_id(first)):
        raise RefusedError(
            "someone else has moved the traffic, or is moving it, in the meantime",
            why=f"it was {describe(first.serving)}, and is {describe(now.serving)}",
            then=moving.LOOK_AGAIN,
        )


def _last_id(now: Situation) -> str:
    return now.record.last.id if now.record.last else ""


def _rollback(job: Job, now: Situation, given: str | None) -> str:
    if given:
        job.find(given, now.versions)
    finished = _finish(job, now, given)
    if finished:
        return finished
    if given and now.serving.get(given) == ALL:
        job.console.done(f"{given} has all traffic already. Nothing to do.")
        return job.target.url()
    version = _choose(job, now, given)
    wanted = {version.id: ALL}
    url = job.target.url()
    move = Move(record.ROLLBACK, now.serving, wanted, job.who, job.stamp())
    left = {other for other in now.serving if other != version.id}
    hold = Hold(f"{job.who} rolled back from it to {version.id}", move.at)

    def on_hold(known: Record) -> Record:
        return known.holding(left, hold).releasing(version.id)

    moving.begin(job, now, move, on_hold)
    moving.carry_out(job, now, move)
    if job.dry_run:
        return url
    moving.check_production(job, move)
    job.console.done(f"Rolled back: {describe(wanted)}.")
    return url


def _finish(job: Job, now: Situation, given: str | None) -> str:
    """Finish a rollback that was killed after the move, or recognise one that has just ended."""
    last = now.interrupted or now.record.last
    if last is None or last.verb != record.ROLLBACK or job.dry_run:
        return ""
    if given and sole(last.after) != given:
        return ""
    if now.interrupted:
        job.console.step(f"An earlier run ({last.by}) moved the traffic, and checked nothing yet.")
        job.production = Production(State.CHANGED, f"by an earlier run: {describe(now.serving)}")
        url = moving.check_production(job, last)
        job.console.done(f"Rolled back: {describe(last.after)}.")
        return url
    # A clock may be behind the one that the record was written by.
    recent = abs(job.now() - last.at) < SAME and now.record.matches(now.serving)
    if given or last.outcome != record.HEALTHY or not recent:
        return ""
    job.console.done(
        f"{last.by} rolled back to {describe(last.after)} "
        f"{abs(job.now() - last.at).total_seconds():.0f} s ago. Nothing to do."
    )
    others = [version for version, _ in now.record.known_good() if version not in now.serving]
    if others:
        job.console.step(f"To go back further: {ROLLBACK} {others[0]}")
    return job.target.url()


def _choose(job: Job, now: Situation, given: str | None) -> Version:
    """Return the version to go to, after checking it on its own address."""
    there = {version.id: version for version in now.versions}
    good = [
        (there[version], at)
        for version, at in now.record.known_good()
        if version in there and now.serving.get(version) != ALL
    ]
    if good:
        job.console.step("Known to have worked, the latest first:")
        for version, at in good:
            since = age((job.now() - at).total_seconds())
            job.console.step(f"  {version.id}  (last got all traffic: {since})")
    if given:
        candidates = [there[given]]
    else:
        _refuse_unknown(now, [version.id for version, _ in good])
        candidates = [version for version, _ in good]
    for version in candidates:
        finding = job.inspect(version)
        if finding.healthy:
            return version
        job.console.warn(f"{version.id} cannot be rolled back to: {finding.why}")
    raise DeliveryError(
        "there is no healthy version to roll back to",
        why="\n".join(f"{version.id} is not healthy" for version in candidates)
        or "no other version is known to have worked",
        then=f"{STATUS}; then {ROLLBACK} VERSION, or git revert the change and deliver the result",
    )


def _refuse_unknown(now: Situation, good: Sequence[str]) -> None:
    """Do not guess where the record cannot say what served before."""
    if now.interrupted or now.record.matches(now.serving):
        return
    choice = "\n".join(good)
    if not now.record.moves:
        why = "there is no record of deliveries yet"
    else:
        says = describe(now.record.serving or {})
        why = f"the record says {says}, and it is {describe(now.serving)}"
    raise RefusedError(
        "what served before is not known for sure, and a rollback must not guess",
        why=why + (f"\nknown to have worked:\n{choice}" if choice else ""),
        then=f"name the version: {ROLLBACK} VERSION",
    )
