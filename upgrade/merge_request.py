"""Opens one merge request for an upgrade, or refreshes it: for a scheduled job in GitLab.

The job has CI_API_V4_URL, CI_PROJECT_ID and the like from GitLab, and UPGRADE_TOKEN from the
project's owner: a project access token with the role Developer and the scopes api and
write_repository. A job's own token may do neither.
"""

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from upgrade.errors import RefusedError
from upgrade.git import Git
from upgrade.plan import Plan

BRANCH = "upgrade/newest"  # one branch, so that there is one merge request
AUTHOR = "bin/upgrade"  # whose commits may be replaced
SECONDS = 30
NEEDED = (
    "UPGRADE_TOKEN",
    "CI_API_V4_URL",
    "CI_PROJECT_ID",
    "CI_DEFAULT_BRANCH",
    "CI_REPOSITORY_URL",
)


def identity() -> dict[str, str]:
    """Return the variables that make a job's commit known as one of ours."""
    email = f"upgrade@{os.environ.get('CI_SERVER_HOST', 'localhost')}"
    return {
        "GIT_AUTHOR_NAME": AUTHOR,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": AUTHOR,
        "GIT_COMMITTER_EMAIL": email,
    }


def refuse_unready() -> None:
    """Raise RefusedError where the job lacks a variable."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise RefusedError(
            f"{', '.join(missing)} must be set. UPGRADE_TOKEN is a project access token (Developer;"
            " scopes api and write_repository), or where there are none, a personal one:"
            " Settings > CI/CD > Variables, masked and protected"
        )


def propose(project: Git, plan: Plan, failed: str | None) -> None:
    """Push the branch, then open its merge request or bring its text up to date; say which."""
    remote = project.using(**_credentials())
    address = _plain(os.environ["CI_REPOSITORY_URL"])
    theirs = remote.line("ls-remote", address, f"refs/heads/{BRANCH}").partition("\t")[0]
    if theirs:
        remote("fetch", "--quiet", address, theirs)
        if project.line("log", "-1", "--format=%cn", theirs) != AUTHOR:
            raise RefusedError(
                f"the branch {BRANCH} has commits of a person: merge it, or remove it, first"
            )
    lease = f"--force-with-lease=refs/heads/{BRANCH}:{theirs}"
    remote("push", "--quiet", "--no-verify", lease, address, f"{plan.branch}:refs/heads/{BRANCH}")
    title, _, body = plan.message.strip().partition("\n\n")
    if failed:
        title, body = f"Draft: {title}", f"`{failed}` fails: the job's log says why.\n\n{body}"
    text = {"title": title, "description": body}
    target = os.environ["CI_DEFAULT_BRANCH"]
    query = urllib.parse.urlencode(
        {"state": "opened", "source_branch": BRANCH, "target_branch": target}
    )
    opened = _call("GET", f"merge_requests?{query}")
    if opened:
        made = _call("PUT", f"merge_requests/{opened[0]['iid']}", **text)
    else:
        branches = {"source_branch": BRANCH, "target_branch": target, "remove_source_branch": True}
        made = _call("POST", "merge_requests", **branches, **text)
    print(f"{'Refreshed' if opened else 'Opened'} the merge request: {made['web_url']}")


def _call(method: str, path: str, **data: Any) -> Any:
    """Call GitLab's API for this project; RefusedError has its answer when it refuses."""
    address = f"{os.environ['CI_API_V4_URL']}/projects/{os.environ['CI_PROJECT_ID']}/{path}"
    request = urllib.request.Request(  # noqa: S310 - GitLab names its own address
        address,
        data=json.dumps(data).encode() if data else None,
        headers={
            "PRIVATE-TOKEN": os.environ["UPGRADE_TOKEN"],
            "Content-Type": "application/json",
        },
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace")
        raise RefusedError(f"GitLab refused {method} {path}: {error.code} {said}") from error
    except (OSError, ValueError) as error:
        raise RefusedError(f"GitLab did not answer {method} {path}: {error}") from error


def _credentials() -> dict[str, str]:
    """Return the variables with which git sends the token; on a command line all could read it."""
    login = base64.b64encode(f"oauth2:{os.environ['UPGRADE_TOKEN']}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}",
    }


def _plain(address: str) -> str:
    """Return the address without the job's own token, which may not push."""
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
