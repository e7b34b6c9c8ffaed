"""Runs gcloud, for what only it can do: sign in as a person, and upload an application."""

import re
from collections.abc import Mapping
from pathlib import Path

from delivery.backoff import pauses
from delivery.errors import CommandError
from delivery.google import advice
from delivery.process import Runner

RETRY_FOR = 120.0  # seconds; gcloud itself has tried for half a minute before it reports a 5xx

# gcloud's names and numbers for 409, 429 and 5xx, and how it words a lost connection.
_TRANSIENT = re.compile(
    r"ABORTED|RESOURCE_EXHAUSTED|INTERNAL:|UNAVAILABLE|DEADLINE_EXCEEDED"
    r"|'status': '(?:409|429|50\d)'|operation is already in progress"
    r"|Connection (?:reset|aborted)|RemoteDisconnected|timed out",
)
# An operation that ended in an error carries a code; only these may end otherwise next time. The
# text after it may be a build log, with any word in it. https://grpc.io/docs/guides/status-codes/
_OPERATION = re.compile(r"Error Response: \[(\d+)\]")
_TRANSIENT_CODES = {"8", "10", "14"}


def run(
    runner: Runner,
    *args: str,
    environ: Mapping[str, str],
    doing: str,
    role: str,
    timeout: float = 90,
    changes_in: Path | None = None,
) -> str:
    """Run a gcloud command and return what it printed; what passes is tried again.

    `changes_in` is the folder to run it in, for a command that changes something: a dry run prints
    it. `role` is what it needs, for the case that it is missing.
    """
    argv = ["gcloud", *args]

    def attempt() -> str:
        if changes_in is None:
            return runner.read(argv, doing=doing, timeout=timeout, environ=environ, quiet=True)
        return runner.change(argv, doing=doing, timeout=timeout, environ=environ, cwd=changes_in)

    deadline = runner.clock() + min(RETRY_FOR, timeout)
    for pause in pauses():
        try:
            return attempt()
        except CommandError as error:
            told = CommandError(
                error.what, why=advice.trim(error.why), then=advice.what_next(error.why, role)
            )
            told.forbidden = advice.is_forbidden(error.why)
            told.timed_out = error.timed_out
            told.transient = not error.timed_out and is_transient(error.why)
            if not told.transient or runner.clock() + pause > deadline:
                raise told from error
            last = told.why.splitlines()[-1]
            runner.console.warn(f"  {doing}: {last}; trying again in {pause:.0f} s")
            runner.sleep(pause)
    raise AssertionError("pauses() never ends")


def is_transient(words: str) -> bool:
    """Whether the same command may succeed in a moment."""
    operation = _OPERATION.search(words)
    if operation:
        return operation[1] in _TRANSIENT_CODES
    return not advice.is_forbidden(words) and bool(_TRANSIENT.search(words))
