"""deploy: uploads the commit as a version beside what serves, without traffic."""

from delivery.errors import RefusedError
from delivery.job import Job, Production, State


def deploy(job: Job, given: str | None, *, force: bool = False) -> str:
    """Upload the checked-out commit; traffic stays where it is. Return the version's address.

    A version that serves, or has served, is left alone. `force` deploys one that was rolled back
    from.
    """
    job.target.login()
    job.commits.refuse_uncommitted()
    name = job.version(given)
    job.target.accept(name)
    known, _ = job.ledger.read()
    there = {version.id: version for version in job.target.versions()}
    if name in there and there[name].share:
        job.console.done(
            f"{name} is live already ({there[name].share:g} % of the traffic): left alone, with the"
            " settings that it has."
        )
        return there[name].url
    hold = known.held.get(name)
    if hold and not force:
        raise RefusedError(
            f"{name} is not delivered again: {hold.why}",
            then="deliver a new commit; or, if you are sure: deploy --force, then promote --force",
        )
    if name in there and name in known.served():
        job.console.done(f"{name} is there already, and has served: left alone.")
        return there[name].url
    if name in there:
        job.console.step(f"{name} exists without traffic, from an earlier run: deploying over it.")
    return upload(job, name)


def upload(job: Job, name: str) -> str:
    """Upload the checked-out commit under a name; return the version's address."""
    job.console.step(f"Deploying {name} without traffic; this takes a few minutes.")
    source = job.folder("source")
    job.commits.export(source)
    job.target.deploy(name, source)
    if job.dry_run:
        return ""
    version = job.find(name)
    job.console.done(f"Deployed {name}.")
    if version.share:
        job.production = Production(
            State.CHANGED, f"{name} is the first version, so it has all traffic"
        )
        job.console.warn(f"{name} is the first version here, so it has all traffic from the start.")
    return version.url
