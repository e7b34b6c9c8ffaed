"""status: shows the versions, their traffic, and which commits are not in production yet."""

from delivery.errors import DeliveryError
from delivery.job import Job, age, split_of
from delivery.record import Record
from delivery.splits import describe, main_version


def status(job: Job) -> str:
    """Show every version: its traffic, what is known of it, its age, its address."""
    job.target.login()
    versions = job.target.versions()
    if not versions:
        job.console.step("Nothing has been delivered yet.")
        return ""
    known = _record(job)
    good = {name for name, _ in known.known_good()}
    newest_first = sorted(versions, key=lambda version: (version.created, version.id), reverse=True)
    rows = [("", "VERSION", "TRAFFIC", "KNOWN", "AGE", "URL")] + [
        (
            "*" if version.share else "",
            version.id,
            f"{version.share:g} %" if version.share else "-",
            _known(known, version.id, good),
            age((job.now() - version.created).total_seconds()),
            version.url,
        )
        for version in newest_first
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        job.console.result(" ".join(cells).rstrip())
    serving = split_of(versions)
    pending = known.pending
    if pending:
        job.console.warn(
            f"A {pending.verb} by {pending.by} to {describe(pending.after)} was begun "
            f"{age((job.now() - pending.at).total_seconds())} ago, and its end is not recorded."
        )
    elif known.moves and not known.matches(serving):
        job.console.warn(
            f"The traffic was moved without these commands: the record says "
            f"{describe(known.serving or {})}."
        )
    _compare(job, main_version(serving))
    return job.target.url()


def _record(job: Job) -> Record:
    try:
        return job.ledger.read()[0]
    except DeliveryError as error:
        job.console.warn(f"The record of deliveries cannot be read: {error.why or error.what}")
        return Record()


def _known(known: Record, version: str, good: set[str]) -> str:
    if version in known.held:
        return "rolled back"
    if known.failed(version):
        return "failed"
    return "worked" if version in good else "-"


def _compare(job: Job, serving: str | None) -> None:
    """List the commits that the checked-out commit has and production has not."""
    try:
        here = job.commits.version()
    except DeliveryError:  # not in a clone
        return
    commits = job.commits.between(serving, here) if serving else []
    if commits:
        job.console.step("Not in production yet:")
        for commit in commits:
            job.console.step(f"  {commit}")
