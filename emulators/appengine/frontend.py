"""Google's front end: TLS, static handlers, and the traffic split between versions.

Modelled after:

- https://cloud.google.com/appengine/docs/standard/reference/app-yaml#handlers_element for the
  order of handlers, `secure: always` (302) and static files with their ten minutes of caching;
- https://cloud.google.com/appengine/docs/standard/reference/request-headers and dumps of real
  requests for what an app sees: `X-Forwarded-For` ends in the visitor's address and 169.254.1.1,
  after whatever the visitor sent, and the peer is 127.0.0.1;
- https://cloud.google.com/appengine/docs/standard/splitting-traffic for splits by random, cookie
  (GOOGAPPUID) and IP address;
- https://cloud.google.com/run/docs/known-issues for reserved paths that end in z.

How long a change of the split takes to reach every front end is documented nowhere: `propagation`
is for trying what happens meanwhile.
"""

import bisect
import hashlib
import itertools
import math
import mimetypes
import random
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from http.cookies import SimpleCookie
from typing import Any

from .faults import Faults
from .instance import Instance
from .wire import Answer, Request, Server

SPLIT_COOKIE = "GOOGAPPUID"
NOT_FOUND = b"<h1>Error: Not Found</h1>\n<h2>The requested URL was not found.</h2>\n"
LINK_LOCAL = "169.254.1.1"  # what stands before every app
RESERVED_PATHS = {"/healthz"}
OWN_HEADERS = ("x-forwarded-", "x-cloud-trace-context", "x-appengine-", "forwarded")


@dataclass
class Version:
    """A deployed version: its resource, its files, its instance and its own address."""

    service: str
    id: str
    resource: dict[str, Any]
    files: Mapping[str, bytes]
    instance: Instance
    server: Server | None = None
    served: Counter[int] = field(default_factory=Counter)

    def answer(self, request: Request) -> Answer:
        """Through the handlers of app.yaml, in their order, to a file or to the process."""
        answer = self._handle(request)
        self.served[answer.status] += 1
        return answer

    def _handle(self, request: Request) -> Answer:
        if request.path in RESERVED_PATHS:
            return _not_found()
        for handler in self.resource.get("handlers", []):
            match = re.fullmatch(handler["urlRegex"], request.path)
            if match is None:
                continue
            if handler.get("securityLevel") == "SECURE_ALWAYS" and not request.secure:
                host = request.headers.get("Host", "")
                return Answer(302, b"", [("Location", f"https://{host}{request.target}")])
            if "staticFiles" not in handler:
                break
            static = handler["staticFiles"]
            name = match.expand(static["path"])
            if name not in self.files and static.get("requireMatchingFile"):
                continue
            return self._file(request, name, static)
        # Without a handler that fits, second-generation runtimes ask the entrypoint.
        return self.instance.ask(_forwarded(request))

    def _file(self, request: Request, name: str, static: Mapping[str, Any]) -> Answer:
        allowed = re.fullmatch(static.get("uploadPathRegex", ".*"), name)
        if name not in self.files or allowed is None or request.method not in ("GET", "HEAD"):
            return _not_found()
        kind = static.get("mimeType") or mimetypes.guess_type(name)[0]
        seconds = static.get("expiration", "600s").removesuffix("s")
        headers = {
            "Content-Type": kind or "application/octet-stream",
            "Cache-Control": f"public, max-age={seconds}",
            "ETag": f'"{hashlib.sha1(self.files[name]).hexdigest()[:6]}"',  # noqa: S324 - a name
            **static.get("httpHeaders", {}),
        }
        return Answer(200, self.files[name], list(headers.items()))


@dataclass
class Service:
    """A service: its versions and how traffic is shared among them."""

    id: str
    versions: dict[str, Version] = field(default_factory=dict)
    allocations: dict[str, float] = field(default_factory=dict)
    shard_by: str = "UNSPECIFIED"
    _before: dict[str, float] = field(default_factory=dict)
    _moved: float = -math.inf

    def move(self, allocations: dict[str, float], shard_by: str) -> None:
        """Change the split."""
        self._before, self._moved = self.allocations, time.monotonic()
        self.allocations, self.shard_by = allocations, shard_by

    def pick(
        self, request: Request, rng: random.Random, propagation: float = 0.0
    ) -> tuple[Version, str | None]:
        """Return the version for one request, and the cookie that keeps the choice, if one does.

        For `propagation` seconds after a change, a share of requests that falls from all to none
        is still answered by the split that was before.
        """
        allocations = self.allocations
        age = time.monotonic() - self._moved
        if age < propagation and rng.random() >= age / propagation:
            # A version that was deleted meanwhile answers nothing any more.
            allocations = {k: v for k, v in self._before.items() if k in self.versions}
            allocations = allocations or self.allocations
        point, cookie = rng.random(), None
        if self.shard_by == "IP":
            point = _point(request.client)
        elif self.shard_by == "COOKIE":
            sent = SimpleCookie(request.headers.get("Cookie", "")).get(SPLIT_COOKIE)
            value = sent.value if sent else secrets.token_hex(8)
            point, cookie = _point(value), None if sent else value
        limits = itertools.accumulate(allocations.values())
        chosen = bisect.bisect_right(list(limits)[:-1], point)
        return self.versions[list(allocations)[chosen]], cookie


class FrontEnd:
    """The app's public address: every request goes to one version of the default service."""

    def __init__(self, services: Mapping[str, Service], seed: int):
        self.faults = Faults()
        self.propagation = 0.0  # seconds
        self._services = services
        self._rng = random.Random(seed)  # noqa: S311 - tests repeat it
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        fault = self.faults.take(request)
        planted = fault.strike() if fault else None
        if planted is not None:
            return planted
        with self._lock:
            service = self._services.get("default")
            if service is None:
                return _not_found()
            version, cookie = service.pick(request, self._rng, self.propagation)
        # From here on the request belongs to that version, wherever traffic moves meanwhile.
        answer = version.answer(request)
        if cookie:
            answer.headers.append(("Set-Cookie", f"{SPLIT_COOKIE}={cookie}; path=/"))
        return answer


def _forwarded(request: Request) -> Request:
    def headers() -> Iterator[tuple[str, str]]:
        hops = []
        for name, value in request.headers.items():
            if name.lower() == "x-forwarded-for":
                hops.append(value)
            elif not name.lower().startswith(OWN_HEADERS):
                yield name, value
        scheme = "https" if request.secure else "http"
        trace = f"{secrets.token_hex(16)}/{secrets.randbits(63)};o=1"
        yield "X-Forwarded-For", ", ".join([*hops, request.client, LINK_LOCAL])
        yield "X-Forwarded-Proto", scheme
        yield "Forwarded", f'for="{request.client}";proto={scheme}'
        yield "X-Cloud-Trace-Context", request.headers.get("X-Cloud-Trace-Context", trace)

    message = Message()
    for name, value in headers():
        message[name] = value
    return replace(request, headers=message)


def _point(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def _not_found() -> Answer:
    return Answer(404, NOT_FOUND, [("Content-Type", "text/html")])
