"""Asks a URL, for the verbs, whether it is healthy and runs the right revision."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Set
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from io import BufferedIOBase
from typing import Any, Protocol

from delivery.console import Console

REQUEST_TIMEOUT = 10.0
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Finding:
    """What a check ended with."""

    healthy: bool
    why: str = ""
    reached: bool = True  # False when nothing at all was reached: the fault may be on our side


class Check(Protocol):
    """What the verbs need of a check."""

    def __call__(self, url: str, revisions: Set[str], timeout: float) -> Finding:
        """Wait until the URL is healthy and runs one of these revisions."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; the body is empty where it was not asked for."""

    status: int
    body: bytes = b""
    location: str = ""


class UnreachableError(Exception):
    """No connection came about: no name, no route, nobody listening, no trusted certificate."""


class NoReplyError(Exception):
    """Connected, but no proper answer came."""


Fetch = Callable[[str, float], Reply]


@dataclass
class Checker:
    """Checks over the network; the clock and the network can be replaced."""

    console: Console
    fetch: Fetch
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, url: str, revisions: Set[str], timeout: float) -> Finding:
        """Ask for /health, then for /, with growing pauses until the time is up."""
        if not url:
            return Finding(healthy=False, why="it has no address", reached=False)
        start = last_word = self.clock()
        pause = FIRST_PAUSE
        reached = False
        while True:
            left = start + timeout - self.clock()
            finding, final = self._once(url, revisions, min(REQUEST_TIMEOUT, max(left, 0.1)))
            reached = reached or finding.reached
            if finding.healthy or final:
                return finding
            elapsed = self.clock() - start
            if elapsed + pause >= timeout:
                return Finding(
                    healthy=False, why=f"after {elapsed:.0f} s: {finding.why}", reached=reached
                )
            if self.clock() - last_word >= self.console.beat:
                last_word = self.clock()
                self.console.waiting(finding.why, elapsed)
            self.sleep(pause)
            pause = min(pause * 1.6, LONGEST_PAUSE)

    def _once(self, url: str, revisions: Set[str], timeout: float) -> tuple[Finding, bool]:
        """Look once; the second value says that looking again is of no use."""
        base = url.rstrip("/")
        for where, expected in ((f"{base}/health", revisions), (f"{base}/", None)):
            try:
                reply = self.fetch(where, timeout)
            except UnreachableError as error:
                why = f"{where} is out of reach: {error}"
                return Finding(healthy=False, why=why, reached=False), False
            except NoReplyError as error:
                return Finding(healthy=False, why=f"{where} does not answer: {error}"), False
            why = _judge(reply, expected)
            if why:
                return Finding(healthy=False, why=f"{where} {why}"), bool(reply.location)
        return Finding(healthy=True), True


def _judge(reply: Reply, revisions: Set[str] | None) -> str:
    """Say what is wrong with an answer, or nothing."""
    if reply.location:
        return f"redirects ({reply.status}) to {reply.location}"
    if reply.status != HTTPStatus.OK:
        return f"answers {reply.status} instead of 200"
    if revisions is None:
        return ""
    try:
        answer: Any = json.loads(reply.body)
    except ValueError:
        return "answers no JSON"
    revision = answer.get("revision") if isinstance(answer, dict) else None
    if isinstance(revision, str) and revision in revisions:
        return ""
    return f"runs revision {revision!r} instead of {' or '.join(sorted(revisions))}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: a version that sends its visitors elsewhere is not the one to look at."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Give no request to follow the redirect with."""


def fetch(url: str, timeout: float) -> Reply:
    """GET a URL: TLS verified (SSL_CERT_FILE works), proxies used, no redirect followed."""
    context = ssl.create_default_context()
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(  # noqa: S310 - the URL comes from the target, not from a user
        url, headers={"User-Agent": "delivery", "Cache-Control": "no-cache"}
    )
    deadline = time.monotonic() + timeout
    try:
        with opener.open(request, timeout=timeout) as response:
            return Reply(response.status, _read(response, deadline))
    except urllib.error.HTTPError as error:
        with error:
            redirect = 300 <= error.code < 400
            return Reply(
                error.code, location=error.headers.get("Location", "?") if redirect else ""
            )
    except urllib.error.URLError as error:
        raise UnreachableError(str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise NoReplyError(str(error) or type(error).__name__) from error


def _read(response: BufferedIOBase, deadline: float) -> bytes:
    """Read the start of a body; a server that drips it byte by byte runs into the deadline."""
    body = b""
    while len(body) < MOST_BYTES and (chunk := response.read1(MOST_BYTES)):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return body
