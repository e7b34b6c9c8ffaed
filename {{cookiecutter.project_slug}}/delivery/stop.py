"""stop: deletes a merge request's version."""

from delivery import names
from delivery.job import Job
from delivery.review import refuse_traffic


def stop(job: Job, iid: str) -> str:
    """Delete the version of a merge request; gone already is fine."""
    job.target.login()
    name = names.of_merge_request(iid)
    found = {version.id: version for version in job.target.versions()}.get(name)
    if found is None:
        job.console.done(f"{name} is gone already.")
        return ""
    refuse_traffic(name, found.share)
    job.target.delete([name])
    if not job.dry_run:
        job.console.done(f"Deleted {name}.")
    return ""
