"""Visitors of production, for tests of deliveries: what they are answered, and what they lose."""

import contextlib
import json
import threading
import time
from collections import Counter
from http.client import HTTPException, HTTPSConnection
from typing import Self

from emulators.appengine import AppEngine


def connect(gae: AppEngine) -> "contextlib.closing[HTTPSConnection]":
    """Open a visitor's connection to production."""
    host = gae.url.removeprefix("https://")
    return contextlib.closing(HTTPSConnection(host, timeout=30, context=gae.client_tls()))


def ask(connection: HTTPSConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


class Load:
    """Visitors who ask without a pause, for so many seconds; `lost` has their complaints."""

    def __init__(self, gae: AppEngine, visitors: int = 3, seconds: float = 60) -> None:
        self.revisions: Counter[str] = Counter()
        self.lost: list[str] = []
        self._gae = gae
        self._pause = 1 / 15
        self._until = time.monotonic() + seconds
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(visitors)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self._stop.is_set() and time.monotonic() < self._until:
            try:
                # A new connection for every few requests, as browsers come and go.
                with connect(self._gae) as connection:
                    for _ in range(10):
                        self._count(*ask(connection, "/health"))
                        if self._stop.wait(self._pause):
                            break
            except (OSError, HTTPException) as error:
                self.lost.append(repr(error))

    def _count(self, status: int, body: bytes) -> None:
        if status == 200:
            self.revisions[json.loads(body)["revision"]] += 1
        else:
            self.lost.append(f"{status}: {body[:80]!r}")
