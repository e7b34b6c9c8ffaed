"""What several threads need to know, asked once."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """The first thread asks; the others wait for its answer, or get its error."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._answer: Future[T] | None = None

    def __call__(self) -> T:
        """Return the answer."""
        with self._lock:
            if self._answer is None:
                self._answer = Future()
                try:
                    self._answer.set_result(self._ask())
                except Exception as error:  # noqa: BLE001 - whoever asks gets it
                    self._answer.set_exception(error)
            answer = self._answer
        return answer.result()

    def forget(self) -> None:
        """Ask again next time, as it was changed."""
        self._answer = None
