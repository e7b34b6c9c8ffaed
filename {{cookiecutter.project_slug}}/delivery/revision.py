"""Names versions, for the verbs: after a commit (laptop and pipeline agree) or a merge request."""

import re
from datetime import UTC, datetime

from delivery.errors import CommandError, MisuseError, RefusedError
from delivery.process import Runner

_OURS = re.compile(r"v(\d{8}t\d{6})-[0-9a-f]{8}")
_STAMP = "%Y%m%dt%H%M%S"


def commit_time(version: str) -> datetime | None:
    """When the commit that a version is named after was made; None for a name we did not give."""
    match = _OURS.fullmatch(version)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:  # digits, but no date
        return None


def of_commit(runner: Runner) -> str:
    """Name the version of the checked-out commit."""
    seconds, sha = _git(
        runner, "show", "--no-patch", "--no-show-signature", "--format=%ct %H", "HEAD"
    ).split()
    stamp = datetime.fromtimestamp(int(seconds), UTC).strftime(_STAMP)
    return f"v{stamp}-{sha[:8]}"


def of_merge_request(iid: str) -> str:
    """Name the version that a merge request's review app runs."""
    if not re.fullmatch(r"[1-9]\d{0,9}", iid):
        raise MisuseError(
            f"{iid!r} is not the number of a merge request", then="give it as in `review 7`"
        )
    return f"mr-{iid}"


def is_review(version: str) -> bool:
    """Tell whether a version is a review app."""
    return re.fullmatch(r"mr-\d+", version) is not None


def refuse_uncommitted(runner: Runner) -> None:
    """Stop when files differ from the commit: the version's name would lie about its content."""
    changes = _git(runner, "status", "--porcelain", "--untracked-files=no", "--", ".").rstrip()
    # A new file of the application would be uploaded; one elsewhere, or a hidden one, would not.
    if not changes and (runner.root / "app").is_dir():
        where = ("app", ":(exclude,glob)app/**/.*")
        changes = _git(runner, "status", "--porcelain", "--untracked-files=all", "--", *where)
    if changes:
        raise RefusedError(
            "there are changes that are not committed, and a version is named after its commit",
            why=changes,
            then="commit them, or give the version a name of its own: deploy --version NAME",
        )


def _git(runner: Runner, *args: str) -> str:
    # In a job the checkout often belongs to another user, which git takes for an attack.
    # Inside a git hook, GIT_DIR and the like point git elsewhere.
    environ = {name: value for name, value in runner.environ.items() if not name.startswith("GIT_")}
    argv = ["git", "-c", "safe.directory=*", *args]
    try:
        return runner.read(argv, doing="reading the commit", timeout=30, environ=environ)
    except CommandError as error:
        raise MisuseError(
            error.what,
            why=error.why,
            then="run this in a clone that has a commit, or name the VERSION",
        ) from error
