"""Cloud Logging: what each version's instance wrote, as entries that a client can list.

Modelled after:

- https://cloud.google.com/appengine/docs/standard/writing-application-logs: a line on stdout or
  stderr becomes an entry of its own, `textPayload`, or `jsonPayload` where it is a JSON object;
- https://cloud.google.com/logging/docs/structured-logging for the fields that are lifted out of
  such an object, and `message` alone becoming `textPayload`;
- https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list and `LogEntry`;
- googlecloudsdk.api_lib.app.logs_util for the names of App Engine's logs and labels, and
  googlecloudsdk.api_lib.logging.common for what `gcloud logging read` sends;
- https://github.com/eggjs/egg/issues/3756 for an entry of a real App Engine as a whole.

A page may be empty although another one follows, says the reference: see `empty_pages`.

Entries outlive their version. Not modelled: other logs (requests, audit, the platform's own words
about an instance), views and buckets of logs, and the seconds until a line can be read: see
`delay`.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from . import logfilter
from .wire import Answer, ApiError, Request

SPECIAL = "logging.googleapis.com/"
LIFTED = {
    "severity": "severity",
    "httpRequest": "httpRequest",
    f"{SPECIAL}insertId": "insertId",
    f"{SPECIAL}labels": "labels",
    f"{SPECIAL}operation": "operation",
    f"{SPECIAL}sourceLocation": "sourceLocation",
    f"{SPECIAL}spanId": "spanId",
    f"{SPECIAL}trace": "trace",
    f"{SPECIAL}trace_sampled": "traceSampled",
}
PAGE_SIZE = 50
LARGEST_PAGE = 1000


class Logs:
    """All entries of a project, in the order in which they came."""

    def __init__(self, project: str, resource: str = "gae_app"):
        self.delay = 0.0  # seconds until an entry can be read
        self.empty_pages = 0  # before the first entry: Google's search may take several requests
        self._project = project
        self._resource = resource  # the type of what writes here
        self._entries: list[tuple[float, dict[str, Any]]] = []
        self._lock = threading.Lock()

    def write(self, labels: Mapping[str, str], stream: str, line: str) -> None:
        """Keep a line that an instance wrote on `stream`; `labels` are the resource's."""
        now = time.time()
        entry = {
            **_payload(line),
            "logName": f"projects/{self._project}/logs/{stream}",
            "resource": {"type": self._resource, "labels": {"project_id": self._project, **labels}},
        }
        entry.setdefault("timestamp", _stamp(datetime.fromtimestamp(now, UTC)))
        with self._lock:
            entry.setdefault("insertId", f"{int(now):08x}{len(self._entries):08x}")
            self._entries.append((now, entry))

    def forget(self) -> None:
        """Remove every entry."""
        with self._lock:
            self._entries.clear()

    def list_entries(self, request: Request) -> Answer:
        """POST /v2/entries:list."""
        asked = request.json()
        names = asked.get("resourceNames", [])
        if not names:
            raise ApiError(400, "Must specify at least one resource name.")
        if any(name.split("/")[:2] != ["projects", self._project] for name in names):
            raise ApiError(403, "The caller does not have permission")
        newest_first = _newest_first(str(asked.get("orderBy", "")))
        matches = logfilter.parse(str(asked.get("filter", "")))
        until = time.time() - self.delay
        with self._lock:
            found = [entry for came, entry in self._entries if came <= until and matches(entry)]
        found.sort(key=lambda entry: logfilter.time_of(entry["timestamp"]), reverse=newest_first)
        size = min(int(asked.get("pageSize", 0)) or PAGE_SIZE, LARGEST_PAGE)
        token = str(asked.get("pageToken") or f"{self.empty_pages}:0")
        if not re.fullmatch(r"\d+:\d+", token):
            raise ApiError(400, f"page_token is invalid: {token}")
        still_empty, start = map(int, token.split(":"))
        if still_empty:
            return Answer.of({"nextPageToken": f"{still_empty - 1}:{start}"})
        page = {"entries": found[start : start + size]} if found[start:] else {}
        more = {"nextPageToken": f"0:{start + size}"} if found[start + size :] else {}
        return Answer.of({**page, **more})


def _payload(line: str) -> dict[str, Any]:
    """Return an entry's payload, and what a JSON line says of the entry itself."""
    try:
        written = json.loads(line) if line.startswith("{") else None
    except ValueError:
        written = None
    if not isinstance(written, dict):
        return {"textPayload": line}
    entry = {LIFTED[name]: written.pop(name) for name in LIFTED if name in written}
    with contextlib.suppress(KeyError, ValueError, TypeError):
        entry["timestamp"] = _stamp(datetime.fromisoformat(written["time"]))
        del written["time"]
    severity = str(entry.get("severity", "DEFAULT")).upper()
    entry["severity"] = severity if severity in logfilter.SEVERITIES else "DEFAULT"
    if entry["severity"] == "DEFAULT":
        del entry["severity"]
    if list(written) == ["message"]:
        return entry | {"textPayload": str(written["message"])}
    return entry | {"jsonPayload": written}


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _newest_first(order: str) -> bool:
    if order in ("", "timestamp asc", "timestamp"):
        return False
    if order == "timestamp desc":
        return True
    raise ApiError(400, f"Invalid order_by: {order}")
