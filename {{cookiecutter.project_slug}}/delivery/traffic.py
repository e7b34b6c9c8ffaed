"""The verbs that move traffic: promote and rollback. Both check before, and after."""

from collections.abc import Sequence

from delivery import revision
from delivery.errors import (
    AlarmError,
    CommandError,
    DeliveryError,
    MisuseError,
    RefusedError,
    RestoredError,
)
from delivery.job import LOOK, Job, describe, split_of
from delivery.target import Split, Version

ALL = 100.0
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts to move traffic
ROLLBACK = "python -m delivery rollback"


def promote(job: Job, given: str | None, *, canary: int | None = None, force: bool = False) -> str:
    """Give a version the traffic, or a share of it; take it back if production then fails."""
    job.target.login()
    name = job.version(given)
    _refuse_review(name)
    version, versions = job.find(name)
    before = split_of(versions)
    wanted = {version.id: ALL} if canary is None else with_canary(before, version.id, canary)
    if before.get(version.id) == ALL or before == wanted:
        job.console.done(
            f"{version.id} has its traffic already: {describe(before)}. Nothing to do."
        )
        return job.target.url()
    _refuse_older(job, version, versions, force=force)
    finding = job.inspect(version)
    if not finding.healthy:
        if not force:
            raise RefusedError(
                f"{version.id} is not healthy, so it does not get traffic",
                why=finding.why,
                then="fix what it needs and repeat this, or deliver a commit that fixes it",
            )
        job.console.warn(f"{version.id} is not healthy, and is promoted by force: {finding.why}")
    url = _move(job, before, wanted)
    if job.dry_run:
        return url
    if not finding.healthy:
        job.console.warn("The public address was not checked, because of --force.")
        return url
    job.console.step(f"Checking production: {url}")
    public = job.check(url, set(wanted), job.timeout)
    if not public.healthy:
        _restore(job, before, wanted, public.why)
    job.console.done(f"Production is healthy: {describe(wanted)}.")
    return url


def rollback(job: Job, given: str | None) -> str:
    """Give all traffic to an older version that still works: the one named, or the newest such."""
    job.target.login()
    if given:
        _refuse_review(given)
        version, versions = job.find(given)
        candidates = [version]
    else:
        versions = job.target.versions()
        candidates = rollback_candidates(versions)
    before = split_of(versions)
    if given and before.get(given) == ALL:
        job.console.done(f"{given} has all traffic already. Nothing to do.")
        return job.target.url()
    version = _first_healthy(job, candidates)
    wanted = {version.id: ALL}
    url = _move(job, before, wanted)
    if job.dry_run:
        return url
    job.console.step(f"Checking production: {url}")
    public = job.check(url, set(wanted), job.timeout)
    if not public.healthy:
        # No way back: what served before is what someone wanted to leave.
        raise AlarmError(
            f"{version.id} has all traffic and is healthy on its own address, but production fails",
            why=public.why,
            then=f"{LOOK}; then {ROLLBACK} VERSION to try another",
        )
    job.console.done(f"Rolled back: {describe(wanted)}.")
    return url


def with_canary(serving: Split, name: str, per_cent: int) -> Split:
    """Split traffic between one version and, in their proportions, those that serve."""
    others = {version: share for version, share in serving.items() if version != name}
    if not others:
        if name in serving:
            return serving
        raise MisuseError(
            "nothing serves that a canary could share traffic with", then="leave --canary out"
        )
    rest = sum(others.values())
    scaled = {
        version: round(share * (100 - per_cent) / rest, 1) for version, share in others.items()
    }
    largest = max(scaled, key=lambda version: scaled[version])
    scaled[largest] = round(scaled[largest] + 100 - per_cent - sum(scaled.values()), 1)
    return {name: float(per_cent)} | {
        version: share for version, share in scaled.items() if share > 0
    }


def rollback_candidates(versions: Sequence[Version]) -> list[Version]:
    """List what a rollback may go to, best first: older than the newest that serves.

    Those that share the traffic come first, because ending a canary goes back to what served.
    """
    serving = [version for version in versions if version.share]
    older = [
        version
        for version in versions
        if any(other.is_newer_than(version) for other in serving)
        and (version.share or revision.commit_time(version.id))
    ]
    return sorted(older, key=lambda version: (bool(version.share), _age_key(version)), reverse=True)


def _age_key(version: Version) -> float:
    return (revision.commit_time(version.id) or version.created).timestamp()


def _refuse_review(name: str) -> None:
    if revision.is_review(name):
        raise RefusedError(f"{name} is a review app, which never gets traffic", then="merge it")


def _refuse_older(job: Job, version: Version, versions: Sequence[Version], *, force: bool) -> None:
    newer = [other.id for other in versions if other.share and other.is_newer_than(version)]
    if not newer:
        return
    if not force:
        raise RefusedError(
            f"{version.id} is older than {', '.join(newer)}, which serves",
            why="a pipeline that was overtaken by a newer one must not undo it",
            then=f"nothing, usually; to go back on purpose: {ROLLBACK} {version.id}",
        )
    job.console.warn(f"{version.id} is older than {', '.join(newer)}, and is promoted by force.")


def _first_healthy(job: Job, candidates: Sequence[Version]) -> Version:
    for version in candidates:
        finding = job.inspect(version)
        if finding.healthy:
            return version
        job.console.warn(f"{version.id} cannot be rolled back to: {finding.why}")
    raise DeliveryError(
        "there is no healthy version to roll back to",
        why=", ".join(f"{version.id} is not healthy" for version in candidates)
        or "no version is older than what serves",
        then="git revert the change and deliver the result",
    )


def _move(job: Job, before: Split, wanted: Split) -> str:
    """Move traffic away from the split that was looked at; give the public URL."""
    url = job.target.url()
    _set(job, before, wanted)
    if not job.dry_run:
        moved = f"{describe(wanted)} (before: {describe(before)})"
        job.production = f"CHANGED, and not yet checked: {moved}"
    return url


def _set(job: Job, before: Split, wanted: Split) -> None:
    """Set the split unless someone else changed it, and look again before each new attempt."""
    job.console.step(f"Moving traffic: {describe(before)} -> {describe(wanted)}")
    was, pauses = job.production, list(PAUSES)
    while True:
        now = job.target.serving()
        if now != before:
            raise RefusedError(
                "the traffic was changed by someone else in the meantime",
                why=f"it was {describe(before)}, and is {describe(now)}",
                then=f"{LOOK}; then repeat this command if it is still right",
            )
        if not job.dry_run:
            job.production = (
                f"traffic was being moved to {describe(wanted)}, from {describe(before)}; "
                f"what became of it: {LOOK}"
            )
        try:
            job.target.set_traffic(wanted)
        except CommandError as error:
            if _has_moved(job, before, wanted, error):
                return
            job.production = was
            if not (error.transient and pauses):
                raise
            pause = pauses.pop(0)
            job.console.warn(f"  {error.why.splitlines()[-1]}; trying again in {pause:.0f} s")
            job.sleep(pause)
        else:
            return


def _has_moved(job: Job, before: Split, wanted: Split, error: CommandError) -> bool:
    """Find out what became of a move that was reported as failed."""
    now: Split | None
    try:
        now = job.target.serving()
    except DeliveryError:
        now = None
    if now == wanted:
        job.console.warn(f"It was reported as failed, but the traffic has moved: {error.what}")
        return True
    # After a time limit the request may still be on its way, and the old split proves nothing.
    if now == before and not error.timed_out:
        return False
    job.production = "UNKNOWN" if now is None else f"{describe(now)} when last seen"
    raise AlarmError(
        f"{error.what}; whether the traffic has moved is not certain",
        why=error.why,
        then=f"{LOOK}; then repeat this command, or: {ROLLBACK}",
    ) from error


def _restore(job: Job, before: Split, wanted: Split, why: str) -> None:
    """Move traffic back after production failed its check; this always ends in an error."""
    job.console.warn(f"Production fails its check: {why}")
    job.production = f"CHANGED, and not healthy: {describe(wanted)} (before: {describe(before)})"
    if not before:
        raise AlarmError("production fails its check; nothing served before", why=why, then=LOOK)
    try:
        _set(job, wanted, before)
    except RefusedError as error:
        job.production = f"moved by someone else; {error.why}"
        raise AlarmError(
            "production fails its check; someone else has moved the traffic since, so it was left",
            why=why,
            then=LOOK,
        ) from error
    except DeliveryError as error:
        raise AlarmError(
            "production fails its check, and moving the traffic back failed too",
            why=f"{why}\n{error.what}\n{error.why}".rstrip(),
            then=f"{ROLLBACK}, at once; then {LOOK}",
        ) from error
    job.production = f"restored, as before: {describe(before)}"
    raise RestoredError(
        f"production failed its check with {describe(wanted)}, so the traffic was moved back",
        why=why,
        then="deliver a commit that fixes it; the version is still there to look at",
    )
