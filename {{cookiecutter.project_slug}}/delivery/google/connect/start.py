"""Finds out what connect and doctor work on: options first, then what is set, then a person."""

import argparse
import getpass
import re
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

from delivery.errors import CommandError, MisuseError
from delivery.gitlab import GitLab, Place, place
from delivery.google import login
from delivery.google.connect.cloud import Cloud
from delivery.google.connect.resource import Context
from delivery.google.connect.wish import GITLAB, Wish
from delivery.google.rest import Rest
from delivery.process import Runner

LOOKS_AT_ONCE = 24
# A person connects, with the rights of a person: not with those of the account that delivers.
_DELIVERS = (
    "GAE_KEY",
    "GCP_WORKLOAD_IDENTITY_PROVIDER",
    "GCP_SERVICE_ACCOUNT",
    "GITLAB_OIDC_TOKEN",
    "CI",
)


@contextmanager
def begin(
    runner: Runner, options: argparse.Namespace, *, ask: bool
) -> Iterator[tuple[Context, Executor]]:
    """Settle who and what, and start to look. Without `ask`, GitLab is left out if need be."""
    environ = {k: v for k, v in runner.environ.items() if k not in _DELIVERS}
    account = login.Account(runner, login.login(environ, runner.private, runner.console))
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        found = _place(runner, options, ask=ask)
        secret = _token(runner, found, ask=ask) if found else ""
        project = _project(runner, options, account, ask=ask)
        wish = Wish(
            project=project,
            gitlab_url=found.url if found else GITLAB,
            gitlab_project=found.project if found else "",
            region=getattr(options, "region", None) or "",
            with_key=getattr(options, "with_key", False),
            reviews=getattr(options, "reviews", False),
        )
        account.token()  # one start of gcloud, before many threads ask for it
        api = Rest(account.token, runner.environ, clock=runner.clock, sleep=runner.sleep)
        cloud = Cloud(api, runner.console, runner.clock, runner.sleep)
        gitlab = GitLab(wish.gitlab_url, secret, clock=runner.clock, sleep=runner.sleep)
        yield Context(wish, cloud, gitlab if secret else None, pool), pool


def _project(
    runner: Runner, options: argparse.Namespace, account: login.Account, *, ask: bool
) -> str:
    """Return the Google Cloud project: the option, GAE_PROJECT, gcloud's, or what is typed."""
    given = login.project({"GAE_PROJECT": options.project or runner.environ.get("GAE_PROJECT", "")})
    if given:
        return given
    try:
        return account.project()
    except MisuseError:
        if not ask or not sys.stdin.isatty():
            raise
    return login.project({"GAE_PROJECT": answer(runner, "Id of the Google Cloud project")})


def _place(runner: Runner, options: argparse.Namespace, *, ask: bool) -> Place | None:
    """Return the project in GitLab: the options, the git remote, or what is typed."""
    try:
        remote = runner.read(
            ["git", "remote", "get-url", "origin"], doing="asking git", timeout=10, quiet=True
        )
    except CommandError:
        remote = ""  # none yet
    known = place(remote.strip())
    url = (options.gitlab_url or (known.url if known else GITLAB)).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise MisuseError("--gitlab-url is no address", then="its form is https://HOST")
    project = options.gitlab_project or (known.project if known else "")
    if not project and ask and sys.stdin.isatty():
        project = answer(runner, f"Project on {url}, as GROUP/NAME")
    project = project.strip().removeprefix(f"{url}/").strip("/").removesuffix(".git")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)+", project):
        return Place(url, project)
    if project or ask:
        raise MisuseError(
            f"{project!r} names no project in GitLab" if project else "no GitLab project is known",
            then="--gitlab-project GROUP/NAME, or: git remote add origin ADDRESS",
        )
    return None


def _token(runner: Runner, place: Place, *, ask: bool) -> str:
    """Return a GitLab token: GITLAB_TOKEN, glab's, or what is typed, unseen."""
    if token := runner.environ.get("GITLAB_TOKEN", "").strip():
        return token
    host = urlsplit(place.url).netloc
    try:
        told = runner.read(
            ["glab", "config", "get", "token", "--host", host],
            doing="asking glab",
            timeout=10,
            quiet=True,
        )
    except (CommandError, MisuseError):
        told = ""  # no glab, or it is not signed in
    if token := told.strip():
        return token
    if ask and sys.stdin.isatty():
        token = getpass.getpass(f"Token for {host} (scope api; it is not shown): ").strip()
    if not token and ask:
        raise MisuseError(
            "there is no GitLab token",
            then="set GITLAB_TOKEN, or: glab auth login\nmake one with the scope api: "
            f"{place.url}/-/user_settings/personal_access_tokens?scopes=api",
        )
    return token


def answer(runner: Runner, question: str) -> str:
    """Ask a person; nobody there is an empty answer."""
    runner.console.step(f"{question}:")
    return sys.stdin.readline().strip()
