"""Logging: readable lines in development, one JSON object a line in production.

Google Cloud Logging reads `severity`, `time`, `message`, `stack_trace` and the trace out of that
object, so that all lines of one request stand together in its log explorer.
"""

import logging
import logging.config
import os
import re
from typing import Any

from flask import has_request_context, request
from flask.helpers import get_debug_flag

TRACE_FIELD = "logging.googleapis.com/trace"
TRACE_ID = re.compile(r"[0-9a-f]{32}(?=/|$)")

CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"trace": {"()": "app.logs.TraceFilter"}},
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)-8s %(name)s: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": ["levelname", "name", "message"],
            "rename_fields": {
                "levelname": "severity",
                "name": "logger",
                "exc_info": "stack_trace",
            },
            "timestamp": "time",
            "json_ensure_ascii": False,
        },
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["trace"]}
    },
    "root": {"level": "INFO", "handlers": ["console"]},
}


def configure() -> None:
    """Set up the root logger: text while debugging, JSON otherwise, from LOG_LEVEL (INFO) up."""
    logging.config.dictConfig(config())


def config() -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig` that suits this process.

    Raises ValueError when LOG_LEVEL is not a level.
    """
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise ValueError(f"LOG_LEVEL is {level!r}: make it DEBUG, INFO, WARNING or ERROR")
    formatter = "text" if get_debug_flag() else "json"
    return CONFIG | {
        "handlers": {"console": CONFIG["handlers"]["console"] | {"formatter": formatter}},
        "root": CONFIG["root"] | {"level": level},
    }


class TraceFilter(logging.Filter):
    """Marks each record with the trace of the request that it belongs to; drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the trace that Google's front end names in X-Cloud-Trace-Context."""
        project = os.environ.get("GOOGLE_CLOUD_PROJECT")
        if project and has_request_context():
            trace = TRACE_ID.match(request.headers.get("X-Cloud-Trace-Context", ""))
            if trace:
                record.__dict__[TRACE_FIELD] = f"projects/{project}/traces/{trace.group()}"
        return True
