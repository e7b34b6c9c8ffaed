"""What visitors meet: addresses with TLS, who may come in, and the split between revisions.

Modelled after:

- https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration for the split, and for a
  tag's own address, which stays the same for a tag of the same name;
- https://cloud.google.com/run/docs/authenticating/public and troubleshooting#unauthorized-client
  for 403;
- https://cloud.google.com/run/docs/container-contract for X-Forwarded-Proto, and
  https://cloud.google.com/run/docs/known-issues for reserved paths that end in z.

An address is a port of 127.0.0.1 here, and https://TAG---SERVICE-HASH-REGION.a.run.app at Google's.
How long a change of the split takes to reach every front end is documented nowhere: `propagation`
is for trying what happens meanwhile.
"""

import bisect
import itertools
import math
import random
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.message import Message

from emulators.appengine.faults import Faults
from emulators.appengine.frontend import NOT_FOUND, OWN_HEADERS, RESERVED_PATHS
from emulators.appengine.wire import Answer, Request, Server

from .resources import Revision, Service

FORBIDDEN = (
    b"<html><head>\n<title>403 Forbidden</title>\n</head>\n<body>\n<h1>Error: Forbidden</h1>\n"
    b"<h2>Your client does not have permission to get URL <code>%s</code> from this server.</h2>\n"
    b"</body></html>\n"
)


class FrontEnd:
    """Every address of every service."""

    def __init__(
        self,
        find: Callable[[str], Service | None],
        tls: ssl.SSLContext,
        seed: int,
    ):
        self.faults = Faults()
        self.propagation = 0.0  # seconds
        self._find = find
        self._tls = tls
        self._rng = random.Random(seed)  # noqa: S311 - tests repeat it
        self._servers: dict[tuple[str, str], Server] = {}
        self._before: dict[str, dict[str, int]] = {}  # by service: the split that was
        self._now: dict[str, dict[str, int]] = {}
        self._moved: dict[str, float] = {}
        self._lock = threading.Lock()

    def url(self, service: str, tag: str = "") -> str:
        """Return an address, which from now on answers."""
        with self._lock:
            key = (service, tag)
            if key not in self._servers:
                self._servers[key] = Server(
                    lambda request: self._answer(request, service, tag), tls=self._tls
                )
            return f"https://127.0.0.1:{self._servers[key].port}"

    def close(self) -> None:
        """Close every address."""
        self.faults.clear()
        for server in self._servers.values():
            server.stop()

    def _answer(self, request: Request, service: str, tag: str) -> Answer:
        fault = None if tag else self.faults.take(request)
        planted = fault.strike() if fault else None
        if planted is not None:
            return planted
        found = self._find(service)
        if found is None or request.path in RESERVED_PATHS:
            return _not_found()
        if not found.is_public:
            body = FORBIDDEN % request.path.encode()
            return Answer(403, body, [("Content-Type", "text/html; charset=UTF-8")])
        revision = found.revisions.get(found.tags.get(tag, "")) if tag else self._pick(found)
        if revision is None:
            return _not_found()
        # From here on the request belongs to that revision, wherever traffic moves meanwhile.
        return revision.instance.ask(_forwarded(request))

    def _pick(self, service: Service) -> Revision | None:
        """Return the revision for one request.

        For `propagation` seconds after a change, a share of requests that falls from all to none
        is still answered by the split that was before.
        """
        shares: Mapping[str, int] = service.shares
        with self._lock:
            if self._now.get(service.name) != shares:
                self._before[service.name] = self._now.get(service.name, dict(shares))
                self._now[service.name] = dict(shares)
                self._moved[service.name] = time.monotonic()
            age = time.monotonic() - self._moved.get(service.name, -math.inf)
            if age < self.propagation and self._rng.random() >= age / self.propagation:
                known = self._before[service.name]
                # A revision that was deleted meanwhile answers nothing any more.
                shares = {k: v for k, v in known.items() if k in service.revisions} or shares
            point = self._rng.random() * sum(shares.values())
        if not shares:
            return None
        limits = list(itertools.accumulate(shares.values()))[:-1]
        return service.revisions.get(list(shares)[bisect.bisect_right(limits, point)])


def _forwarded(request: Request) -> Request:
    message = Message()
    hops = request.headers.get_all("X-Forwarded-For", [])
    for name, value in request.headers.items():
        if not name.lower().startswith(OWN_HEADERS):
            message[name] = value
    message["X-Forwarded-For"] = ", ".join([*hops, request.client])
    message["X-Forwarded-Proto"] = "https" if request.secure else "http"
    message["X-Cloud-Trace-Context"] = f"{secrets.token_hex(16)}/{secrets.randbits(63)};o=1"
    return replace(request, headers=message)


def _not_found() -> Answer:
    return Answer(404, NOT_FOUND, [("Content-Type", "text/html")])
