"""The verbs that make versions: deploy and verify, and review and stop for merge requests."""

from delivery import revision
from delivery.errors import DeliveryError, RefusedError
from delivery.job import LOOK, Job, split_of


def deploy(job: Job, given: str | None) -> str:
    """Upload the commit as a version beside the serving one; traffic stays where it is."""
    job.target.login()
    if not given:
        job.refuse_uncommitted()
    name = job.version(given)
    job.target.accept(name)
    before = {version.id: version for version in job.target.versions()}
    if name in before and before[name].share:
        job.console.done(
            f"{name} is live already ({before[name].share:g} % of the traffic): left alone."
        )
        return before[name].url
    if name in before:
        job.console.step(f"{name} exists without traffic, from an earlier run: deploying over it.")
    return _upload(job, name)


def _upload(job: Job, name: str) -> str:
    job.console.step(f"Deploying {name} without traffic; this takes a few minutes.")
    job.target.deploy(name)
    if job.dry_run:
        return ""
    version, _ = job.find(name)
    job.console.done(f"Deployed {name}.")
    if version.share:
        job.production = f"{name} is the first version, so it has all traffic"
        job.console.warn(f"{name} is the first version here, so it has all traffic from the start.")
    return version.url


def verify(job: Job, given: str | None) -> str:
    """Check a version on its own address; delete it when it fails and has no traffic."""
    job.target.login()
    return _verify(job, job.version(given))


def _verify(job: Job, name: str) -> str:
    version, _ = job.find(name)
    finding = job.inspect(version)
    if finding.healthy:
        job.console.done(f"{name} is healthy.")
        return version.url
    if not finding.reached:
        # It may be well: a broken network here is no reason to throw away minutes of building.
        # Nothing is at risk by keeping it, since whatever moves traffic checks it again.
        raise DeliveryError(
            f"{name} could not be checked: its address cannot be reached from here; it was kept",
            why=finding.why,
            then=f"check the network (and SSL_CERT_FILE), then: python -m delivery verify {name}",
        )
    share = job.target.serving().get(name)  # read again: the check may have taken minutes
    if share:
        raise DeliveryError(
            f"{name} is not healthy; it was not deleted, because it has {share:g} % of the traffic",
            why=finding.why,
            then="python -m delivery rollback, or deliver a commit that fixes it",
        )
    job.target.delete(name)
    raise DeliveryError(
        f"{name} is not healthy" + ("" if job.dry_run else ", so it was deleted"),
        why=finding.why,
        then="read its log for the reason, then deliver a commit that fixes it",
    )


def review(job: Job, iid: str) -> str:
    """Deploy and check a merge request's version, which never gets traffic."""
    job.target.login()
    name = revision.of_merge_request(iid)
    job.target.accept(name)
    serving = split_of(job.target.versions())
    if not serving:
        raise RefusedError(
            "nothing has been delivered yet, so this review app would become production",
            then="deliver the default branch first",
        )
    _refuse_traffic(name, serving.get(name))
    url = _upload(job, name)
    if job.dry_run:
        return url
    url = _verify(job, name)
    if job.report is not None:
        job.report.write_text(f"REVIEW_URL={url}\n", encoding="utf-8")
    return url


def stop(job: Job, iid: str) -> str:
    """Delete a merge request's version; gone already is fine."""
    job.target.login()
    name = revision.of_merge_request(iid)
    found = {version.id: version for version in job.target.versions()}.get(name)
    if found is None:
        job.console.done(f"{name} is gone already.")
        return ""
    _refuse_traffic(name, found.share)
    job.target.delete(name)
    if not job.dry_run:
        job.console.done(f"Deleted {name}.")
    return ""


def _refuse_traffic(name: str, share: float | None) -> None:
    if share:
        raise RefusedError(
            f"{name} has {share:g} % of the traffic, which a review app must never have",
            then=f"python -m delivery rollback, and find out who moved it there: {LOOK}",
        )
