"""The long-running operations of the Admin API, and the pages of its lists.

Modelled after:

- https://cloud.google.com/appengine/docs/admin-api/reference/rest/v1/apps.operations and
  googlecloudsdk.api_lib.app.operations_util, with `filter=done:false` as
  `gcloud app operations list --pending` sends it;
- https://github.com/nytimes/drone-gae/issues/67 for a second operation on the same resource (409).

The newest operation comes first in a list; that is an assumption.
"""

import re
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .builder import BuildError
from .wire import Answer, ApiError, Request

TYPE = "type.googleapis.com/google.appengine.v1"
PAGE_SIZE = 20


class Operations:
    """Every operation of one application; one at a time on a resource."""

    def __init__(self, project: str, latency: float):
        self.latency = latency
        self._project = project
        self._operations: dict[str, dict[str, Any]] = {}
        self._busy: dict[str, str] = {}
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []

    def join(self) -> None:
        """Wait for those that still run."""
        for worker in self._workers:
            worker.join()

    def get(self, operation: str) -> Answer:
        """Return an operation as it stands."""
        with self._lock:
            found = self._operations.get(operation)
            if found is None:
                raise ApiError(404, f"Operation not found: {operation}")
            return Answer.of(found)

    def list(self, request: Request) -> Answer:
        """List the newest first, all of them or those that are `done:false` or `done:true`."""
        wanted = request.query.get("filter", "")
        if wanted and not (match := re.fullmatch(r"done[:=](true|false)", wanted)):
            raise ApiError(400, f"Invalid filter: {wanted}")
        with self._lock:
            found = list(reversed(self._operations.values()))
        if wanted and match:
            found = [o for o in found if ("done" in o) is (match[1] == "true")]
        return Answer.of(page(request, "operations", found))

    def start(
        self, target: str, method: str, work: Callable[[], dict[str, Any]], account: str
    ) -> Answer:
        """Do `work` as an operation: at once, or `latency` seconds later while the client polls."""
        identity = str(uuid.uuid4())
        operation: dict[str, Any] = {
            "name": f"apps/{self._project}/operations/{identity}",
            "metadata": {
                "@type": f"{TYPE}.OperationMetadataV1",
                "method": f"google.appengine.v1.{method}",
                "insertTime": _now(),
                "user": account,
                "target": target,
            },
            # As in every answer of Google's, a field that is false is left out: here, `done`.
        }
        with self._lock:
            if running := self._busy.get(target):
                raise ApiError(
                    409,
                    f"Cannot operate on {target} because an operation is already in progress "
                    f"for {target} by {running}.",
                )
            self._busy[target] = identity
            self._operations[identity] = operation

        def run() -> None:
            threading.Event().wait(self.latency)
            outcome = _outcome(work)
            with self._lock:
                del self._busy[target]
                metadata = operation["metadata"] | {"endTime": _now()}
                ended = {"metadata": metadata, "done": True}
                self._operations[identity] = operation | outcome | ended

        if not self.latency:
            run()
            return Answer.of(self._operations[identity])
        worker = threading.Thread(target=run, daemon=True)
        self._workers.append(worker)
        worker.start()
        return Answer.of(operation)


def page(request: Request, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one page of a list, with a token for the next one; without a list when it is empty."""
    try:
        size = int(request.query.get("pageSize", 0)) or PAGE_SIZE
        start = int(request.query.get("pageToken", 0))
    except ValueError as error:
        raise ApiError(400, "Invalid value at 'page_size' or 'page_token'.") from error
    if size < 0 or start < 0:
        raise ApiError(400, "Invalid value at 'page_size' or 'page_token'.")
    shown: dict[str, Any] = {name: found[start : start + size]} if found[start:] else {}
    return shown | ({"nextPageToken": str(start + size)} if found[start + size :] else {})


def _outcome(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the work; return what an operation ends with, an error with google.rpc's code."""
    try:
        return {"response": work()}
    except BuildError as error:
        build = uuid.uuid4()
        message = f"Cloud build {build} status: FAILURE\n{error}"
        return {"error": {"code": 9, "message": message}}
    except ApiError as error:
        return {"error": {"code": 9, "message": error.message}}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
