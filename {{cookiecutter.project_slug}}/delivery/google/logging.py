"""Reads from Cloud Logging what a version wrote.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from delivery.google.rest import Rest, call

LINES = 20
PAGES = 10
AGE = timedelta(hours=1)


def last_lines(api: Rest, project: str, query: str) -> list[str]:
    """Return the last lines that match a query, the oldest first; none is older than an hour."""
    body = {
        "resourceNames": [f"projects/{project}"],
        "filter": f'{query} AND timestamp>="{datetime.now(UTC) - AGE:%Y-%m-%dT%H:%M:%SZ}"',
        "orderBy": "timestamp desc",
        "pageSize": LINES,
    }
    entries: list[dict[str, Any]] = []
    for _ in range(PAGES):  # a page may be empty, and yet not the last one
        answer = call(
            lambda: api.request("POST", "logging", "v2/entries:list", body=body).json,
            "reading the log",
            "roles/logging.viewer",
        )
        entries += answer.get("entries") or []
        page = answer.get("nextPageToken")
        if len(entries) >= LINES or not page:
            break
        body["pageToken"] = page
    return [_line(entry) for entry in reversed(entries[:LINES])]


def _line(entry: dict[str, Any]) -> str:
    text = entry.get("textPayload")
    if text is None:
        fields = entry.get("jsonPayload", {})
        text = fields.get("stack_trace") or fields.get("message") or json.dumps(fields)
    return str(text).rstrip()
