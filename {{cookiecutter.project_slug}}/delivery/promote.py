"""promote: gives a version the traffic, or a share of it; taken back if production then fails."""

from delivery import moving, record
from delivery.errors import RefusedError
from delivery.job import ROLLBACK, Job, Production, State, refuse_review
from delivery.record import Move
from delivery.situation import Situation, look
from delivery.splits import ALL, Split, describe, main_version, with_canary
from delivery.target import Version


def promote(job: Job, given: str | None, *, canary: int | None = None, force: bool = False) -> str:
    """Check a version, give it all traffic or `canary` per cent of it, and check production.

    `force` goes on although the version is older than what serves, was rolled back from, or is
    not healthy. Return the public address.
    """
    job.target.login()
    name = job.version(given)
    refuse_review(name)
    return moving.until_recorded(job, lambda: _promote(job, name, canary, force=force))


def _promote(job: Job, name: str, canary: int | None, *, force: bool) -> str:
    now = look(job)
    version = job.find(name, now.versions)
    wanted = {name: ALL}
    if canary is not None:
        wanted = with_canary(now.serving, name, canary, job.target.STEP)
    if now.serving == wanted or now.serving.get(name) == ALL:
        return _has_it_already(job, now)
    for refuse in (_refuse_held, _refuse_older, _refuse_ended_canary):
        refuse(job, now, name, force=force)
    _show_commits(job, now.serving, name)
    checked = _refuse_unhealthy(job, version, force=force)
    url = job.target.url()
    verb = record.PROMOTE if len(wanted) == 1 else record.CANARY
    move = Move(verb, now.serving, wanted, job.who, job.stamp())
    moving.begin(job, now, move, lambda known: known.releasing(name))
    moving.carry_out(job, now, move)
    if job.dry_run:
        return url
    if not checked:
        moving.end(job, move, record.UNCHECKED)
        job.console.warn("The public address was not checked, because of --force.")
        return url
    moving.check_production(job, move)
    job.console.done(f"Production is healthy: {describe(wanted)}.")
    return url


def _has_it_already(job: Job, now: Situation) -> str:
    """End a run that finds nothing to move; one before it may have been killed too early."""
    last = now.record.last
    if last and last.outcome == record.HEALTHY and now.record.matches(now.serving):
        job.console.done(f"The traffic is there already: {describe(now.serving)}. Nothing to do.")
        return job.target.url()
    if job.dry_run:
        return job.target.url()
    move = now.interrupted
    if move:
        job.console.step(f"The traffic was moved by {move.by}, and production not checked yet.")
        job.production = Production(State.CHANGED, f"by an earlier run: {describe(now.serving)}")
    else:
        move = Move(record.PROMOTE, {}, now.serving, job.who, job.stamp())
        moving.begin(job, now, move)
    url = moving.check_production(job, move)
    job.console.done(f"Production is healthy: {describe(now.serving)}.")
    return url


def _refuse_held(job: Job, now: Situation, name: str, *, force: bool) -> None:
    hold = now.record.held.get(name)
    if hold is None:
        return
    if not force:
        raise RefusedError(
            f"{name} must not get traffic again: {hold.why}",
            then=f"deliver a new commit; or, if you are sure: promote --force {name}",
        )
    job.console.warn(f"{name} is promoted by force, although: {hold.why}")


def _refuse_older(job: Job, now: Situation, name: str, *, force: bool) -> None:
    announced = now.announced.after if now.announced else {}  # by a run that may be at it
    others = {*now.serving, *announced} - {name}
    newer = sorted(other for other in others if job.is_newer(other, name))
    if not newer:
        return
    if not force:
        raise RefusedError(
            f"{name} is older than {', '.join(newer)}, which serves, or is about to",
            why="a pipeline that was overtaken by a newer one must not undo it",
            then=f"nothing, usually; to go back on purpose: {ROLLBACK} {name}",
        )
    job.console.warn(f"{name} is older than {', '.join(newer)}, and is promoted by force.")


def _refuse_ended_canary(job: Job, now: Situation, name: str, *, force: bool) -> None:
    canary = now.record.canary_of(name)
    if canary is None or name in now.serving:
        return
    if not force:
        raise RefusedError(
            f"{name} was a canary, and its share of the traffic was taken away since",
            why=f"{canary.by} gave it {canary.after[name]:g} %; now it is {describe(now.serving)}",
            then=f"find out why; if all is well: promote --force {name}",
        )
    job.console.warn(f"{name} is promoted by force, although its canary was ended.")


def _refuse_unhealthy(job: Job, version: Version, *, force: bool) -> bool:
    """Check the version on its own address; whether it is healthy, where force goes on."""
    finding = job.inspect(version)
    if finding.healthy:
        return True
    if not force:
        raise RefusedError(
            f"{version.id} is not healthy, so it does not get traffic",
            why=finding.why,
            then="fix what it needs and repeat this, or deliver a commit that fixes it",
        )
    job.console.warn(f"{version.id} is not healthy, and is promoted by force: {finding.why}")
    return False


def _show_commits(job: Job, serving: Split, name: str) -> None:
    old = main_version(serving)
    commits = job.commits.between(old, name) if old else []
    if commits:
        job.console.step(f"Since {old}:")
        for commit in commits:
            job.console.step(f"  {commit}")
