"""Google's APIs as connect needs them: things that may be absent, operations, delays."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from delivery.backoff import pauses
from delivery.console import Console
from delivery.errors import CommandError
from delivery.google.rest import ApiError, Rest

BAD, FORBIDDEN, NOT_FOUND, CONFLICT, CHANGED = 400, 403, 404, 409, 412
PATIENCE = 300.0  # seconds; App Engine takes a minute or two to create an application
LATE = 180.0  # seconds until what was just made, or switched on, is known everywhere
LOOKS = ("getIamPolicy", "testIamPermissions", "getEffectiveOrgPolicy")
# These count a request for the project that is named in a header, as gcloud does.
COUNTED = {"artifactregistry"}


@dataclass
class Cloud:
    """The client of one run. `patient` once something was made: it may not be known at once."""

    api: Rest
    console: Console
    project: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    patient: bool = False

    def request(self, method: str, service: str, path: str, **request: Any) -> Any:
        """Send a request and return its answer, parsed; raise ApiError.

        An API that was just switched on answers SERVICE_DISABLED for a while.
        """
        headers = {"X-Goog-User-Project": self.project} if service in COUNTED else {}

        def attempt() -> Any:
            return self.api.request(method, service, path, headers=headers, **request).json

        try:
            return self.later(
                attempt,
                lambda error: error.reason == "SERVICE_DISABLED",
                f"{service}.googleapis.com was switched on a moment ago",
            )
        except ApiError as error:
            if error.status == FORBIDDEN and (method == "GET" or path.endswith(LOOKS)):
                error.why = f"you may not look at it: {error.message}"
                error.then = "an owner of the project can look, or grants you roles/viewer"
            raise

    def find(self, service: str, path: str, **request: Any) -> dict[str, Any] | None:
        """Return a resource, or None where there is none, or its API is not switched on."""
        try:
            return dict(self.request("GET", service, path, **request))
        except ApiError as error:
            if absent(error):
                return None
            raise

    def pages(self, service: str, path: str, name: str, **query: str) -> list[Any]:
        """Return a list, however many pages it has; an API that is switched off has nothing."""
        found: list[Any] = []
        while True:
            answer = self.find(service, path, query=query) or {}
            found += answer.get(name, [])
            if not answer.get("nextPageToken"):
                return found
            query["pageToken"] = answer["nextPageToken"]

    def change(self, method: str, service: str, path: str, doing: str, **request: Any) -> None:
        """Send a change and wait for what it began; that it is made, or gone, is no error."""
        settled = {"POST": CONFLICT, "DELETE": NOT_FOUND}.get(method)
        try:
            answer = self.request(method, service, path, final={settled}, **request)
        except ApiError as error:
            if error.status != settled:
                raise
            return
        if "operations/" in answer.get("name", ""):
            self._finish(service, path.partition("/")[0], answer, doing)

    def later(
        self, attempt: Callable[[], Any], is_late: Callable[[ApiError], bool], waiting_for: str
    ) -> Any:
        """Try until what was made a moment ago is known; at once, if nothing was made."""
        start = self.clock()
        for pause in pauses(1, longest=10):
            try:
                return attempt()
            except ApiError as error:
                if not (self.patient and is_late(error)) or self.clock() - start > LATE:
                    raise
            self.console.waiting(waiting_for, self.clock() - start)
            self.sleep(pause)
        raise AssertionError("pauses() never ends")

    def _finish(self, service: str, api: str, operation: dict[str, Any], doing: str) -> None:
        start = self.clock()
        waits = pauses(0.2, longest=5)
        while not operation.get("done"):
            if self.clock() - start > PATIENCE:
                raise CommandError(f"{doing}: still under way after {PATIENCE:.0f} s")
            self.console.waiting(doing, self.clock() - start)
            self.sleep(next(waits))
            operation = self.request("GET", service, f"{api}/{operation['name']}")
        if failure := operation.get("error"):
            raise CommandError(doing, why=str(failure.get("message", "it failed")))


def absent(error: ApiError) -> bool:
    """Whether there is no such thing, or the API that would have it is not switched on."""
    return error.status == NOT_FOUND or error.reason == "SERVICE_DISABLED"
