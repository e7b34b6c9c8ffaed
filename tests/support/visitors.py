"""Visitors of a running application: what they are answered, and what they lose."""

import contextlib
import itertools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLContext
from typing import Protocol, Self

# How many requests a visitor makes over one connection: as a page with its parts does, for as
# long as there is one, and anew for each.
REQUESTS = (10, math.inf, 1)


class Site(Protocol):
    """A public address with TLS."""

    @property
    def url(self) -> str:
        """Return the address."""

    def client_tls(self) -> SSLContext:
        """Return what a visitor trusts."""


Where = Site | Callable[[], HTTPConnection] | int


def connect(where: Where) -> "contextlib.closing[HTTPConnection]":
    """Open a connection to a site, or to a port of this machine."""
    if callable(where):
        return contextlib.closing(where())
    if isinstance(where, int):
        return contextlib.closing(HTTPConnection("127.0.0.1", where, timeout=30))
    host = where.url.removeprefix("https://")
    return contextlib.closing(HTTPSConnection(host, timeout=30, context=where.client_tls()))


def ask(connection: HTTPConnection, path: str) -> tuple[int, bytes]:
    """Ask for a page; return status and body."""
    connection.request("GET", path)
    with connection.getresponse() as answer:
        return answer.status, answer.read()


class Load:
    """Visitors who ask for /health, one request after the other, and never try one again.

    `revisions` counts the answers by revision, `lost` has the complaints. They stop after so many
    seconds at the latest.
    """

    def __init__(
        self, where: Where, visitors: int = 3, *, pause: float = 1 / 15, seconds: float = 60
    ) -> None:
        self.revisions: Counter[str] = Counter()
        self.lost: list[str] = []
        self._where = where
        self._pause = pause
        self._until = time.monotonic() + seconds
        self._stop = threading.Event()
        kinds = itertools.islice(itertools.cycle(REQUESTS), visitors)
        self._threads = [threading.Thread(target=self._visit, args=(kind,)) for kind in kinds]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every visitor finish the request that is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, requests: float) -> None:
        while self._goes_on():
            try:
                with connect(self._where) as connection:
                    made = 0
                    while made < requests and self._goes_on():
                        self._count(*ask(connection, "/health"))
                        made += 1
                        self._stop.wait(self._pause)
            except (OSError, HTTPException, ValueError) as error:
                self.lost.append(repr(error))

    def _goes_on(self) -> bool:
        return not self._stop.is_set() and time.monotonic() < self._until

    def _count(self, status: int, body: bytes) -> None:
        if status == 200:
            self.revisions[json.loads(body)["revision"]] += 1
        else:
            self.lost.append(f"{status}: {body[:80]!r}")
