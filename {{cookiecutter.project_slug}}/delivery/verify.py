"""verify: checks a version on its own address; one that fails and never served is deleted."""

from itertools import groupby

from delivery.errors import DeliveryError, RecordError
from delivery.job import ROLLBACK, Job


def verify(job: Job, given: str | None) -> str:
    """Check a version; return its address. Whatever moves traffic checks it once more."""
    job.target.login()
    return verify_version(job, job.version(given))


def verify_version(job: Job, name: str) -> str:
    """Check a version that is deployed; delete it when it fails and is of no use to anyone."""
    version = job.find(name)
    finding = job.inspect(version)
    if finding.healthy:
        job.console.done(f"{name} is healthy.")
        return version.url
    if not finding.reached:
        # It may be well: a broken network here is no reason to throw away minutes of building.
        raise DeliveryError(
            f"{name} could not be checked: its address cannot be reached from here; it was kept",
            why=finding.why,
            then=f"check the network (and SSL_CERT_FILE), then: python -m delivery verify {name}",
        )
    log = last_lines(job, name)
    of_use, then = _of_use(job, name)
    if of_use:
        raise DeliveryError(
            f"{name} is not healthy; it was not deleted, because {of_use}",
            why=finding.why,
            log=log,
            then=then,
        )
    job.target.delete([name])
    raise DeliveryError(
        f"{name} is not healthy" + ("" if job.dry_run else ", so it was deleted"),
        why=finding.why,
        log=log,
        then="deliver a commit that fixes it",
    )


def _of_use(job: Job, name: str) -> tuple[str, str]:
    """Say why a version must be kept, and what to do about it; nothing if it need not."""
    share = job.target.serving().get(name)  # read again: the check may have taken minutes
    if share:
        return (
            f"it has {share:g} % of the traffic",
            f"{ROLLBACK}, or deliver a commit that fixes it",
        )
    try:
        served = name in job.ledger.read()[0].served()
    except RecordError as error:
        return f"it is not known whether it has served: {error.what}", error.then
    if served:
        return (
            "it has served before",
            "if what it needs is out of order, repair that; nothing else is to be done",
        )
    return "", ""


def last_lines(job: Job, name: str) -> str:
    """Return the last lines that a version wrote, or why there are none."""
    try:
        lines = job.target.log(name)
    except DeliveryError as error:
        return f"it could not be read: {error.what}\n{error.then}".rstrip()
    # A check asks several times, and each time the same traceback is logged.
    return "\n".join(line for line, _ in groupby(lines)) or "the version wrote nothing"
