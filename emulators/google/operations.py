"""Operations that take their time.

Source: https://cloud.google.com/apis/design/design_patterns#long_running_operations; each API
names its own in its own way, as in recorded calls of gcloud 528.
"""

import time
from typing import Any

from emulators.appengine.googleapi import SIGNED_IN, Route, route
from emulators.appengine.wire import Answer, ApiError


class Operations:
    """Every operation of one project, App Engine's aside; each takes `latency` seconds."""

    def __init__(self, latency: float):
        self.latency = latency
        self._begun: dict[str, tuple[float, dict[str, Any]]] = {}

    def routes(self) -> list[Route]:
        """Return what answers a client that waits."""
        name = r"(?P<name>(?:projects/.+/)?operations/[^/]+)"
        return [route("GET", rf"/v\d/{name}", SIGNED_IN, self.get)]

    def begin(self, prefix: str, response: dict[str, Any]) -> Answer:
        """Begin one that ends with `response`; `prefix` is its name but for the number."""
        name = f"{prefix}{len(self._begun) + 50}"
        self._begun[name] = (time.monotonic() + self.latency, dict(response))
        return self.get(name)

    def get(self, name: str) -> Answer:
        """Return an operation as it stands."""
        if name not in self._begun:
            raise ApiError(404, f"Operation not found: {name}")
        ends, response = self._begun[name]
        done = {"done": True, "response": response} if time.monotonic() >= ends else {}
        return Answer.of({"name": name, "metadata": {}} | done)
