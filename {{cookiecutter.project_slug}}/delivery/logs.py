"""logs: shows the last lines that a version wrote."""

from delivery.errors import RefusedError
from delivery.job import STATUS, Job, split_of
from delivery.splits import main_version


def logs(job: Job, given: str | None) -> str:
    """Show what a version wrote, the oldest line first; by default the one with most traffic."""
    job.target.login()
    versions = job.target.versions()
    name = given or main_version(split_of(versions))
    if name is None:
        raise RefusedError("nothing serves yet", then=f"name a version: {STATUS}")
    lines = job.target.log(job.find(name, versions).id)
    if not lines:
        job.console.step(f"{name} wrote nothing that is still kept.")
    return "\n".join(lines)
