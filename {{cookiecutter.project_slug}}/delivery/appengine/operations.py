"""Waits for what App Engine does after it has answered; for appengine.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from delivery.backoff import pauses
from delivery.errors import CommandError, UnsettledError
from delivery.google.rest import Rest, call
from delivery.process import Runner

PATIENCE = 90.0  # seconds; a change of traffic usually takes a few


@dataclass(frozen=True)
class Operations:
    """The long-running operations of one application."""

    api: Rest
    runner: Runner
    app: str  # as in v1/apps/PROJECT
    role: str

    def wait(
        self, operation: Any, doing: str, happened: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until an operation has ended; raise CommandError if it ended in an error.

        Whatever becomes of a question, the operation goes on: so it is asked for until there is
        an answer. `happened` may see for itself that it took effect.
        """
        clock, console = self.runner.clock, self.runner.console
        start = last_word = clock()
        trouble = ""
        waits = pauses(0.2, longest=5)
        while not operation.get("done"):
            now = clock()
            if now - start > PATIENCE:
                raise UnsettledError(
                    f"{doing}: it is still under way after {now - start:.0f} s", why=trouble
                )
            if now - last_word >= console.beat:
                last_word = now
                console.waiting(trouble or doing, now - start)
            try:
                operation = self._read(f"v1/{operation['name']}", doing)
                trouble = ""
            except CommandError as error:
                trouble = error.why or error.what
                if happened():
                    return
            if not operation.get("done"):
                self.runner.sleep(next(waits))
        failure = operation.get("error")
        if failure:
            raise CommandError(doing, why=str(failure.get("message", "it failed")))

    def settle(self, resource: str) -> None:
        """Wait until no operation on this very resource is under way."""
        deadline = self.runner.clock() + PATIENCE
        waits = pauses(0.5, longest=5)
        while self._under_way(resource):
            pause = next(waits)
            if self.runner.clock() + pause > deadline:
                raise UnsettledError(
                    f"a change of {resource} is still under way after {PATIENCE:.0f} s",
                    then="wait a minute, then run this again",
                )
            self.runner.sleep(pause)

    def _under_way(self, resource: str) -> bool:
        query = {"filter": "done:false", "pageSize": "100"}
        answer = self._read(f"{self.app}/operations", "looking at what is under way", query)
        return any(
            (each.get("metadata") or {}).get("target") == resource and not each.get("done")
            for each in answer.get("operations") or []
        )

    def _read(self, path: str, doing: str, query: dict[str, str] | None = None) -> Any:
        return call(
            lambda: self.api.request("GET", "appengine", path, query=query).json, doing, self.role
        )
