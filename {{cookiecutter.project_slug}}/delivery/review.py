"""review: deploys and checks a merge request's version, which never gets traffic."""

from delivery import names
from delivery.deploy import upload
from delivery.errors import RefusedError
from delivery.job import ROLLBACK, STATUS, Job, split_of
from delivery.verify import verify_version


def review(job: Job, iid: str) -> str:
    """Deploy and check; in CI, leave the address for GitLab in `review.env`. Return it."""
    job.target.login()
    name = names.of_merge_request(iid)
    job.target.accept(name)
    serving = split_of(job.target.versions())
    if job.target.FIRST_SERVES and not serving:
        raise RefusedError(
            "nothing has been delivered yet, so this review app would become production",
            then="deliver the default branch first",
        )
    refuse_traffic(name, serving.get(name))
    url = upload(job, name)
    if job.dry_run:
        return url
    url = verify_version(job, name)
    job.leave_url("REVIEW_URL", url)
    return url


def refuse_traffic(name: str, share: float | None) -> None:
    """Raise RefusedError for a review app that has traffic: somebody moved it there by hand."""
    if share:
        raise RefusedError(
            f"{name} has {share:g} % of the traffic, which a review app must never have",
            then=f"{ROLLBACK}, and find out who moved it there: {STATUS}",
        )
