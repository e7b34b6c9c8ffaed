"""Asks a URL, for the verbs, whether it is healthy and runs the right revision."""

import json
import math
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from io import BufferedIOBase
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from delivery.backoff import pauses
from delivery.console import Console
from delivery.splits import ALL, Split

REQUEST_TIMEOUT = 10.0  # seconds
SHORTEST_TIMEOUT = 0.1  # when no time is left
SHORT = 0.5  # pauses below are too short to ask what else may be wrong
MOST_BYTES = 64 * 1024
MOST_REDIRECTS = 5

# A version that crashes answers each request with the same error, at once. When it has done so
# for this long, and this often, waiting longer would not help. A version that is slow to start
# keeps its visitors waiting, or is "unavailable" (503, 504): that is no such answer.
BROKEN_AFTER = 20.0
BROKEN_ANSWERS = 5

# A canary must be seen among the public answers: a sample in which a version with this share is
# missing has a chance of about 1 in 100 (e**-4.6).
SURE = 4.6
LARGEST_SAMPLE = 150
VISITORS = 6


@dataclass(frozen=True)
class Finding:
    """The result of a probe."""

    healthy: bool
    why: str = ""
    reached: bool = True  # False when nothing at all was reached: the fault may be on our side


class Probe(Protocol):
    """What the verbs need of a probe."""

    def version(self, url: str, revision: str, timeout: float) -> Finding:
        """Wait until a version's own address is healthy and runs this revision."""

    def public(self, url: str, split: Split, timeout: float) -> Finding:
        """Wait until the public address is healthy, with every version of the split behind it."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; the body is empty where it was not asked for."""

    status: int
    body: bytes = b""
    location: str = ""


class UnreachableError(Exception):
    """No connection: no such name, no route, nothing listening, or no trusted certificate."""


class NoReplyError(Exception):
    """Connected, but no proper answer came."""


Fetch = Callable[[str, float], Reply]


@dataclass(frozen=True)
class _Answer:
    """What one request found; `why` says what is wrong, if anything is."""

    revision: str = ""
    why: str = ""
    reached: bool = True
    stubborn: bool = False  # an answer that a broken version gives, not a slow or an absent one


@dataclass(frozen=True)
class _Look:
    """What one look found, and the answer that a broken version would repeat, if it was one."""

    finding: Finding
    broken: str = ""


@dataclass
class HttpProbe:
    """Probes over the network; the clock and the network can be replaced."""

    console: Console
    fetch: Fetch
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def version(self, url: str, revision: str, timeout: float) -> Finding:
        """Ask for /health, then for /, until both are well or the version is surely broken.

        The page may redirect within the version, to a login for instance.
        """
        return self._until(url, lambda end: self._look(url, {revision}, end), timeout)

    def public(self, url: str, split: Split, timeout: float) -> Finding:
        """Ask as visitors do; with several versions, often enough to have met each of them."""

        def look(end: float) -> _Look:
            if len(split) > 1:
                return self._sample(url, split, end)
            return self._look(url, split, end)

        return self._until(url, look, timeout)

    def _until(self, url: str, look: Callable[[float], _Look], timeout: float) -> Finding:
        """Look until all is well, the time is over, or the version is surely broken.

        `look` is told when, by the clock, it must have ended.
        """
        if not url:
            return Finding(healthy=False, why="it has no address", reached=False)
        start = last_word = self.clock()
        waits = pauses(0.2, longest=5, factor=1.6)
        reached = False
        broken, since, answers = "", start, 0
        while True:
            seen = look(start + timeout)
            finding = seen.finding
            reached = reached or finding.reached
            if finding.healthy:
                return finding
            now = self.clock()
            if not seen.broken or seen.broken != broken:
                broken, since, answers = seen.broken, now, 0
            answers += 1
            surely = broken and answers >= BROKEN_ANSWERS and now - since >= BROKEN_AFTER
            pause = next(waits)
            elapsed = now - start
            if surely or elapsed + pause >= timeout:
                why = f"after {elapsed:.0f} s: {finding.why}"
                if surely:
                    why += f" ({answers} times in a row)"
                return Finding(healthy=False, why=why, reached=reached)
            if now - last_word >= self.console.beat:
                last_word = now
                self.console.waiting(finding.why, elapsed)
            self.sleep(pause)

    def _look(self, url: str, revisions: Collection[str], deadline: float) -> _Look:
        for path, expected in (("/health", revisions), ("/", None)):
            answer = self._ask(url.rstrip("/") + path, expected, deadline)
            if answer.why:
                finding = Finding(healthy=False, why=answer.why, reached=answer.reached)
                return _Look(finding, answer.why if answer.stubborn else "")
        return _Look(Finding(healthy=True))

    def _sample(self, url: str, split: Split, deadline: float) -> _Look:
        """Ask until every version should be among the answers; all answers must be well."""
        size = min(math.ceil(SURE * ALL / min(split.values())), LARGEST_SAMPLE)
        health, page = (url.rstrip("/") + path for path in ("/health", "/"))
        questions: list[tuple[str, Collection[str] | None]] = [(health, split), (page, None)] * size
        with ThreadPoolExecutor(VISITORS) as visitors:
            try:
                asked = [visitors.submit(self._ask, *each, deadline) for each in questions]
                answers = [each.result() for each in asked]
            except BaseException:  # a signal: ask no more
                visitors.shutdown(cancel_futures=True)
                raise
        wrong = [answer for answer in answers if answer.why]
        if wrong:
            why = f"{len(wrong)} of {len(answers)} requests: {wrong[0].why}"
            reached = any(answer.reached for answer in answers)
            # How many there are varies, and so does the first of them.
            stubborn = all(answer.stubborn for answer in wrong)
            finding = Finding(healthy=False, why=why, reached=reached)
            return _Look(finding, "a share of errors" if stubborn else "")
        missing = sorted(set(split) - {answer.revision for answer in answers})
        if missing:
            why = f"{', '.join(missing)} gave none of {size} answers of {health}"
            return _Look(Finding(healthy=False, why=why))
        return _Look(Finding(healthy=True))

    def _ask(self, where: str, revisions: Collection[str] | None, deadline: float) -> _Answer:
        try:
            reply = self._fetch(where, deadline)
            if revisions is None:
                where, reply = self._follow(where, reply, deadline)
        except ValueError as error:
            return _Answer(why=f"{where} redirects to no address: {error}", stubborn=True)
        except UnreachableError as error:
            return _Answer(why=f"{where} cannot be reached: {error}", reached=False)
        except NoReplyError as error:
            return _Answer(why=f"{where} does not answer: {error}")
        why = _judge(reply, revisions)
        if not why:
            return _Answer(revision_of(reply))
        # Not at once: a front end may still be leading to the version before.
        stubborn = reply.status in {500, 502} or bool(reply.location)
        return _Answer(why=f"{where} {why}", stubborn=stubborn)

    def _fetch(self, where: str, deadline: float) -> Reply:
        left = max(deadline - self.clock(), SHORTEST_TIMEOUT)
        return self.fetch(where, min(left, REQUEST_TIMEOUT))

    def _follow(self, page: str, reply: Reply, deadline: float) -> tuple[str, Reply]:
        """Follow redirects within the version, as to a login: the page may have an address below.

        On a Docker host the version does not know the path that its own address begins with.
        """
        base, site = page.rstrip("/"), urlsplit(page)._replace(path="", query="").geturl()
        inside = "/"  # the page's path as the version sees it
        for _ in range(MOST_REDIRECTS):
            to = urlsplit(urljoin(f"{site}{inside}", reply.location))
            if not reply.location or to._replace(path="", query="", fragment="").geturl() != site:
                break
            inside = to._replace(scheme="", netloc="", fragment="").geturl() or "/"
            reply = self._fetch(base + inside, deadline)
        return base + inside, reply


def _judge(reply: Reply, revisions: Collection[str] | None) -> str:
    """Say what is wrong with an answer, or nothing."""
    if reply.location:
        return f"redirects ({reply.status}) to {reply.location}"
    if reply.status != HTTPStatus.OK:
        return f"answers {reply.status} instead of 200"
    if revisions is None:
        return ""
    revision = revision_of(reply)
    if revision in revisions:
        return ""
    if not revision:
        return "answers no JSON with a revision"
    return f"runs revision {revision!r} instead of {' or '.join(sorted(revisions))}"


def revision_of(reply: Reply) -> str:
    """Return the revision that an answer of /health names, or nothing."""
    try:
        answer: Any = json.loads(reply.body)
    except (ValueError, RecursionError):  # the second: nested too deep
        return ""
    revision = answer.get("revision") if isinstance(answer, dict) else None
    return revision if isinstance(revision, str) else ""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the address that it leads to is not the version that is checked."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Return no request to follow the redirect with."""


def fetch(url: str, timeout: float) -> Reply:
    """GET a URL: TLS verified (SSL_CERT_FILE works), proxies used, no redirect followed."""
    context = ssl.create_default_context()
    opener = urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=context))
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
    """Read the start of a body; raise TimeoutError if it has not come by the deadline."""
    body = b""
    while len(body) < MOST_BYTES and (chunk := response.read1(MOST_BYTES)):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return body
