"""prune: deletes the versions that nobody will go back to."""

from collections.abc import Sequence

from delivery import names
from delivery.errors import MisuseError
from delivery.job import Job, split_of
from delivery.record import Record
from delivery.target import Version


def prune(job: Job, *, keep: int) -> str:
    """Delete old versions, except the `keep` newest that are known to have worked."""
    if keep < 1:
        raise MisuseError(
            f"--keep is {keep}, and must be at least 1",
            why="without an older version there is no rollback",
        )
    job.target.login()
    known, _ = job.ledger.read()
    versions = job.target.versions()
    if not known.moves:
        job.console.done("Nothing to prune: there is no record yet of what has served.")
        return ""
    surplus = surplus_versions(job, versions, known, keep)
    if not surplus:
        job.console.done("Nothing to prune.")
        return ""
    job.console.step(f"Deleting {len(surplus)} of {len(versions)} versions.")
    job.target.delete([version.id for version in surplus])
    if not job.dry_run:
        for version in surplus:
            job.console.done(f"Deleted {version.id}.")
    return ""


def surplus_versions(
    job: Job, versions: Sequence[Version], known: Record, keep: int
) -> list[Version]:
    """Choose the versions to delete, the oldest first.

    Kept are: what has traffic, or is about to; the `keep` newest known to have worked; what is
    newer than all that serves, as it may be waiting to be promoted; review apps, which `stop`
    deletes; and every name that was chosen by hand.
    """
    serving = split_of(versions)
    there = {version.id for version in versions}
    good = [name for name, _ in known.known_good() if name in there and name not in serving]
    kept = {*serving, *good[:keep]}
    if known.pending:
        kept |= {*known.pending.before, *known.pending.after}
    surplus = [
        version
        for version in versions
        if version.id not in kept
        and names.commit_of(version.id)
        and serving
        and all(job.is_newer(name, version.id) for name in serving)
    ]
    return sorted(surplus, key=lambda version: version.id)
