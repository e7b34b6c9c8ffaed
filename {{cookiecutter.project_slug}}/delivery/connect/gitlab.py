"""A small client for GitLab's REST API, and the way from a git remote to a project there."""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from delivery.backoff import pauses
from delivery.errors import CommandError

PAGE = 100
RETRY_FOR = 60.0  # seconds
TIMEOUT = 30.0
TRANSIENT = {0, 429, 500, 502, 503, 504}
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


class GitLabError(CommandError):
    """An answer that is an error, or none at all (`status` 0)."""

    def __init__(self, status: int, message: str, doing: str) -> None:
        what = f"HTTP {status}" if status else "no answer"
        super().__init__(f"GitLab, {doing}: {what}", why=message, then=_then(status, message))
        self.status = status


def _then(status: int, message: str) -> str:
    """Say what to do about an error that a token causes."""
    if status == UNAUTHORIZED:
        return "it is wrong, or has expired: make one with the scope api, and set GITLAB_TOKEN"
    if "insufficient_scope" in message:
        return "the token lacks the scope api: make one that has it, and set GITLAB_TOKEN"
    if status == FORBIDDEN:
        return "the token's owner must be Maintainer of the project: its owner can change that"
    return ""


@dataclass(frozen=True)
class Place:
    """A project in a GitLab: where that is, and the project's path."""

    url: str
    project: str


def place(remote: str) -> Place | None:
    """Read the address of a git remote, of any of git's forms; None where it names no host.

    Whatever credentials the address carries are left out.
    """
    scp = re.fullmatch(r"(?:[^@/]+@)?([^:/@]+):(?!//)/*(.+)", remote)
    if scp:
        host, path, url = scp[1], scp[2], f"https://{scp[1]}"
    else:
        parts = urlsplit(remote)
        host, path = parts.hostname or "", parts.path
        port = f":{parts.port}" if parts.port and parts.scheme in {"http", "https"} else ""
        url = f"{'http' if parts.scheme == 'http' else 'https'}://{host}{port}"
    path = path.strip("/").removesuffix(".git")
    return Place(url, path) if host and "/" in path else None


class GitLab:
    """Sends requests as the owner of a token, which goes to this GitLab and nowhere else."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        # OAuth's tokens, which `glab auth login` gets in a browser, are no PRIVATE-TOKEN.
        oauth = re.fullmatch(r"[0-9a-f]{64}", token)
        self._header = {"Authorization": f"Bearer {token}"} if oauth else {"PRIVATE-TOKEN": token}
        self._clock = clock
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, path: str, doing: str) -> Any:
        """Return an answer, parsed; raise GitLabError for any other than 2xx."""
        return self.send("GET", path, doing)

    def list(self, path: str, doing: str) -> list[Any]:
        """Return a list, however many pages it has."""
        found: list[Any] = []
        for page in range(1, PAGE):
            rows = self.get(f"{path}?{urlencode({'per_page': PAGE, 'page': page})}", doing)
            found += rows
            if len(rows) < PAGE:
                break
        return found

    def send(self, method: str, path: str, doing: str, body: Any = None) -> Any:
        """Send a request and return its answer, parsed; what passes is tried again for a minute."""
        request = urllib.request.Request(  # noqa: S310 - the address of a GitLab
            f"{self.url}/api/v4/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self._header},
            method=method,
        )
        deadline = self._clock() + RETRY_FOR
        for pause in pauses(0.5, longest=10):
            try:
                return self._open(request, doing)
            except GitLabError as error:
                if error.status not in TRANSIENT or self._clock() + pause > deadline:
                    raise
            self._sleep(pause)
        return None

    def _open(self, request: urllib.request.Request, doing: str) -> Any:
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise GitLabError(error.code, _message(error.read()), doing) from None
        except urllib.error.URLError as error:
            raise GitLabError(0, f"no connection to {self.url}: {error.reason}", doing) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise GitLabError(0, f"{self.url}: {error or type(error).__name__}", doing) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token would go along, to whatever host it leads to."""

    def redirect_request(self, *_: Any) -> None:
        """Leave the redirect an error."""


def project_path(project: str) -> str:
    """Return the path of a project in the API, for its number or its name."""
    return f"projects/{quote(project, safe='')}"


def _message(body: bytes) -> str:
    """Read an error in one of GitLab's forms: https://docs.gitlab.com/api/rest/troubleshooting"""
    try:
        answer = json.loads(body)
        words = answer.get("message") or answer.get("error")
        described = answer.get("error_description", "")
    except (ValueError, AttributeError):
        return body[:200].decode("utf-8", "replace").strip()
    text = words if isinstance(words, str) else json.dumps(words)
    return f"{text}: {described}" if described else text
