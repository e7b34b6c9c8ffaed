"""rollback: gives all traffic to the version that served before, or to one that is named."""

from collections.abc import Sequence
from datetime import timedelta

from delivery import moving, record
from delivery.errors import DeliveryError, RefusedError
from delivery.job import ROLLBACK, STATUS, Job, Production, State, age, refuse_review, split_of
from delivery.moving import Situation
from delivery.record import Hold, Move, Record
from delivery.splits import ALL, Split, describe, sole
from delivery.target import Version

# Repeated so soon, a rollback without a VERSION is taken for the same one: a job that was run
# again, or a person who saw no answer. It would otherwise go back one version more.
SAME = timedelta(minutes=5)


def rollback(job: Job, given: str | None) -> str:
    """Give all traffic to a version that is known to have worked, and still does.

    What had traffic is put on hold: only a person who insists can promote it again. Return the
    public address.
    """
    job.target.login()
    if given:
        refuse_review(given)
    now, versions = _look(job, given)
    serving = split_of(versions)
    finished = _finish(job, now, given)
    if finished:
        return finished
    if given and serving.get(given) == ALL:
        job.console.done(f"{given} has all traffic already. Nothing to do.")
        return job.target.url()
    version = _choose(job, now, versions, serving, given)
    wanted = {version.id: ALL}
    url = job.target.url()
    move = Move("rollback", serving, wanted, job.who, job.stamp())
    left = {other for other in serving if other != version.id}
    hold = Hold(f"{job.who} rolled back from it to {version.id}", move.at)

    def on_hold(known: Record) -> Record:
        return known.holding(left, hold).releasing(version.id)

    moving.begin(job, now, move, on_hold)
    moving.carry_out(job, move)
    if job.dry_run:
        return url
    # No way back if production fails: what served before is what someone wanted to leave.
    moving.check_production(job, move, on_failure=record.FAILED)
    job.console.done(f"Rolled back: {describe(wanted)}.")
    return url


def _look(job: Job, given: str | None) -> tuple[Situation, list[Version]]:
    """Read the record and the versions; in an emergency, a record in ruins must not stop it."""
    try:
        now = moving.look(job)
    except DeliveryError as error:
        if not given:
            raise DeliveryError(
                "what served before is not known: the record of deliveries cannot be read",
                why=f"{error.what}\n{error.why}".rstrip(),
                then=f"{STATUS}; then name the version to go back to: {ROLLBACK} VERSION",
            ) from error
        job.console.warn(
            f"The record of deliveries cannot be read, so nothing is recorded: "
            f"{error.why or error.what}"
        )
        job.ledger.off = True
        now = moving.look(job)
    if given:
        job.find(given)
    return now, job.target.versions()


def _finish(job: Job, now: Situation, given: str | None) -> str:
    """Finish a rollback that was killed after the move, or recognise one that has just ended."""
    last = now.interrupted or now.record.last
    if last is None or last.verb != "rollback" or job.dry_run:
        return ""
    if given and sole(last.after) != given:
        return ""
    if now.interrupted:
        job.console.step(f"An earlier run ({last.by}) moved the traffic, and checked nothing yet.")
        job.production = Production(State.CHANGED, f"by an earlier run: {describe(now.serving)}")
        url = moving.check_production(job, last, on_failure=record.FAILED)
        job.console.done(f"Rolled back: {describe(last.after)}.")
        return url
    recent = job.now() - last.at < SAME and now.record.matches(now.serving)
    if given or last.outcome != record.HEALTHY or not recent:
        return ""
    job.console.done(
        f"{last.by} rolled back to {describe(last.after)} "
        f"{(job.now() - last.at).total_seconds():.0f} s ago. Nothing to do."
    )
    others = [version for version, _ in now.record.known_good() if version not in now.serving]
    if others:
        job.console.step(f"To go back further: {ROLLBACK} {others[0]}")
    return job.target.url()


def _choose(
    job: Job, now: Situation, versions: list[Version], serving: Split, given: str | None
) -> Version:
    """Return the version to go to, after checking it on its own address."""
    there = {version.id: version for version in versions}
    good = [
        (there[version], at)
        for version, at in now.record.known_good()
        if version in there and serving.get(version) != ALL
    ]
    if good:
        job.console.step("Known to have worked, the latest first:")
        for version, at in good:
            since = age((job.now() - at).total_seconds())
            job.console.step(f"  {version.id}  (last got all traffic: {since})")
    if given:
        candidates = [there[given]]
    else:
        _refuse_unknown(now, serving, good)
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


def _refuse_unknown(now: Situation, serving: Split, good: Sequence[tuple[Version, object]]) -> None:
    """Do not guess where the record cannot say what served before."""
    if now.interrupted or now.record.matches(serving):
        return
    choice = "\n".join(version.id for version, _ in good)
    if not now.record.moves:
        why = "there is no record of deliveries yet"
    else:
        why = f"the record says {describe(now.record.serving or {})}, and it is {describe(serving)}"
    raise RefusedError(
        "what served before is not known for sure, and a rollback must not guess",
        why=why + (f"\nknown to have worked:\n{choice}" if choice else ""),
        then=f"name the version: {ROLLBACK} VERSION",
    )
