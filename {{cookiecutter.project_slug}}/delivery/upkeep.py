"""The verbs that look after what is deployed: status shows it, prune removes what nobody needs."""

from collections.abc import Sequence
from datetime import UTC, datetime

from delivery import revision
from delivery.errors import MisuseError
from delivery.job import Job
from delivery.target import Version

MINUTE, HOUR, DAY = 60, 3600, 86400


def prune(job: Job, *, keep: int) -> str:
    """Delete versions that are older than the ones to roll back to."""
    if keep < 1:
        raise MisuseError(
            "--keep must be at least 1", why="without an older version there is no rollback"
        )
    job.target.login()
    surplus = surplus_versions(job.target.versions(), keep)
    for version in surplus:
        job.target.delete(version.id)
        if not job.dry_run:
            job.console.done(f"Deleted {version.id}.")
    if not surplus:
        job.console.done("Nothing to prune.")
    return ""


def surplus_versions(versions: Sequence[Version], keep: int) -> list[Version]:
    """Choose the versions named after commits that are older than all that serves, but `keep`."""
    serving = [version for version in versions if version.share]
    older = [
        version
        for version in versions
        if not version.share
        and revision.commit_time(version.id)
        and serving
        and all(other.is_newer_than(version) for other in serving)
    ]
    older.sort(key=lambda version: version.id, reverse=True)  # such names sort by age
    return older[keep:]


def status(job: Job, now: datetime | None = None) -> str:
    """Show every version: its traffic, its age, its address."""
    job.target.login()
    versions = job.target.versions()
    if not versions:
        job.console.step("Nothing has been delivered yet.")
        return ""
    now = now or datetime.now(UTC)
    newest_first = sorted(versions, key=lambda version: (version.created, version.id), reverse=True)
    rows = [("", "VERSION", "TRAFFIC", "AGE", "URL")] + [
        (
            "*" if version.share else "",
            version.id,
            f"{version.share:g} %" if version.share else "-",
            _age((now - version.created).total_seconds()),
            version.url,
        )
        for version in newest_first
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        job.console.result(" ".join(cells).rstrip())
    return job.target.url()


def _age(seconds: float) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return "now"
