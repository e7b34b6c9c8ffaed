"""The names of versions: after a commit, the same from a laptop and the pipeline, or a review."""

import re
from datetime import UTC, datetime

from delivery.errors import MisuseError

_COMMIT = re.compile(r"v(\d{8}t\d{6})-([0-9a-f]{8})")
_STAMP = "%Y%m%dt%H%M%S"


def of_commit(seconds: int, sha: str) -> str:
    """Name the version of a commit; `seconds` is its committer date since 1970."""
    return f"v{datetime.fromtimestamp(seconds, UTC).strftime(_STAMP)}-{sha[:8]}"


def of_merge_request(iid: str) -> str:
    """Name the version that a merge request's review app runs."""
    if not re.fullmatch(r"[1-9]\d{0,9}", iid):
        raise MisuseError(
            f"{iid!r} is not the number of a merge request", then="write it as in: review 7"
        )
    return f"mr-{iid}"


def commit_time(version: str) -> datetime | None:
    """Return when the commit was made, or None for a name that is not made after a commit."""
    match = _COMMIT.fullmatch(version)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:  # digits, but no date
        return None


def commit_of(version: str) -> str | None:
    """Return the abbreviated commit, or None for a name that is not made after a commit."""
    match = _COMMIT.fullmatch(version)
    return match[2] if match else None


def is_review(version: str) -> bool:
    """Whether a version is a review app."""
    return re.fullmatch(r"mr-\d+", version) is not None
