"""Cloud Run's API in memory, for one service: what the target asks of it, and what can go wrong."""

import json
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from delivery.google.rest import Answer, ApiError

from tests.delivery.machine import Google

Json = dict[str, Any]
HELLO = "us-docker.pkg.dev/cloudrun/container/hello@sha256:" + "0" * 64
NEW, OLD = "2026-11-01T12:00:00.000000Z", "2020-01-01T00:00:00.000000Z"


@dataclass
class Knative(Google):
    """Answers for the service `demo`; every other request as `script` says."""

    there: bool = True
    traffic: list[Json] = field(default_factory=list)  # as it is
    asked_for: list[Json] = field(default_factory=list)
    revisions: dict[str, tuple[str, str]] = field(default_factory=dict)  # when made, of which image
    latest: str = ""
    version: int = 1
    lag: int = 0  # so many looks see the old status after a change
    refusal: str = ""  # why traffic does not move, if it does not
    faults: list[ApiError] = field(default_factory=list)  # of the next replacements
    applied: bool = False  # whether a replacement with a fault takes effect
    _left: int = 0

    def serve(self, shares: dict[str, int], tags: dict[str, str], made: str = NEW) -> None:
        """Be a service with these shares by revision, and these tags."""
        names = {**shares, **dict.fromkeys(tags.values())}
        self.revisions = dict.fromkeys(names, (made, "app@sha256:" + "1" * 64))
        self.latest = [*names][-1]
        self.traffic = [
            *({"revisionName": name, "percent": share} for name, share in shares.items()),
            *({"revisionName": name, "tag": tag} for tag, name in tags.items()),
        ]
        self.asked_for = self.traffic

    def send(self, request: urllib.request.Request, timeout: float) -> Answer:
        path = request.full_url.partition("/apis/serving.knative.dev/v1/")[2]
        if not path:
            return super().send(request, timeout)
        self.asked.append(f"{request.get_method()} {request.full_url}")
        self.requests.append(request)
        if "/revisions" in path:
            return answer(self._revisions(request.get_method(), path.partition("/revisions")[2]))
        if not self.there:
            raise ApiError(404, "Resource 'demo' of kind 'SERVICE' does not exist")
        if request.get_method() == "PUT":
            self._replace(request)
        return answer(self._service())

    def _replace(self, request: urllib.request.Request) -> None:
        assert isinstance(request.data, bytes)
        body = json.loads(request.data)
        fault = self.faults.pop(0) if self.faults else None
        if fault is None and body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict for resource 'demo'")
        if fault is None or self.applied:
            self.asked_for = body["spec"]["traffic"]
            self.version += 1
            self._left = self.lag
        if fault is not None:
            raise fault

    def _service(self) -> Json:
        ready = self.asked_for == self.traffic
        if not ready and self._left:
            self._left -= 1
        elif not ready and not self.refusal:
            self.traffic, ready = self.asked_for, True
        failed = not ready and bool(self.refusal) and not self._left
        routes = {"type": "RoutesReady", "status": "True" if ready else "Unknown"}
        if failed:
            routes |= {"status": "False", "message": self.refusal}
        tagged = [
            each | ({"url": f"https://{each['tag']}---demo.a.run.app"} if "tag" in each else {})
            for each in self.traffic
        ]
        return {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {
                "name": "demo",
                "resourceVersion": str(self.version),
                "generation": self.version,
            },
            "spec": {"template": {}, "traffic": self.asked_for},
            "status": {
                "url": "https://demo.a.run.app",
                "observedGeneration": self.version if ready or failed else self.version - 1,
                "latestCreatedRevisionName": self.latest,
                "latestReadyRevisionName": self.latest,
                "conditions": [{"type": "Ready", "status": "True"}, routes],
                "traffic": tagged,
            },
        }

    def _revisions(self, method: str, rest: str) -> Json:
        if rest.startswith("/"):
            name = rest[1:]
            if name not in self.revisions:
                raise ApiError(404, f"Revision {name} does not exist")
            if method == "DELETE":
                del self.revisions[name]
                return {}
            return {"spec": {"containers": [{"image": self.revisions[name][1]}]}}
        items = [
            {"metadata": {"name": name, "creationTimestamp": made}}
            for name, (made, _) in self.revisions.items()
        ]
        page = 1 if "continue=" in rest else 0
        halves = (items[: len(items) // 2], items[len(items) // 2 :])
        metadata = {} if page else {"continue": "more"}
        return {"items": halves[page], "metadata": metadata}


def answer(body: Json) -> Answer:
    """Return what Google would send."""
    return Answer(200, json.dumps(body).encode())
