"""Faults that a test plants between a client and a server of the emulator."""

import re
import threading
from dataclasses import dataclass, field

from .wire import Answer, ApiError, Request

GATE_SECONDS = 60.0


class Gate:
    """Holds one request in mid-air: wait for it with `reached`, then `release` or `abandon` it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._released = threading.Event()
        self._abandoned = False

    def reached(self, timeout: float = GATE_SECONDS) -> bool:
        """Wait until a request stands at the gate; False when none came in time."""
        return self._reached.wait(timeout)

    def release(self) -> None:
        """Let the request go on."""
        self._released.set()

    def abandon(self) -> None:
        """Lose the request, or only its answer if it has taken effect already."""
        self._abandoned = True
        self._released.set()

    def pass_through(self) -> Answer | None:
        """Stand at the gate; return what is answered instead if it was abandoned."""
        self._reached.set()
        self._released.wait(GATE_SECONDS)
        return Answer(close=True) if self._abandoned else None


@dataclass
class Fault:
    """One planted fault: which requests it meets, how often, and what they suffer."""

    method: str
    path: re.Pattern[str]
    times: int
    applied: bool = False
    delay: Gate | float | None = None
    answer: Answer | None = None

    def meets(self, request: Request) -> bool:
        return (
            self.times > 0
            and self.method in ("*", request.method)
            and self.path.search(request.target) is not None
        )

    def strike(self) -> Answer | None:
        """Delay; return the answer that the client gets instead of the real one, if any."""
        if isinstance(self.delay, Gate):
            return self.delay.pass_through()
        if self.delay is not None:
            threading.Event().wait(self.delay)
        return self.answer


@dataclass
class Faults:
    """The faults planted in front of one server; paths are regular expressions, `*` any method.

    With `applied` the request takes effect first, and only its answer is late or lost.
    """

    _planted: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail_next(  # noqa: PLR0913 - three say where, the others each have a default
        self,
        method: str,
        path: str,
        status: int,
        *,
        times: int = 1,
        message: str = "",
        body: bytes | None = None,
        applied: bool = False,
    ) -> None:
        """Answer the next `times` matching requests with an error in Google's form, or `body`."""
        message = message or f"The emulator was told to answer {status}."
        answer = ApiError(status, message).answer() if body is None else Answer(status, body)
        self._plant(Fault(method, re.compile(path), times, applied, answer=answer))

    def drop_next(self, method: str, path: str, *, times: int = 1, applied: bool = False) -> None:
        """Close the connection instead of answering."""
        answer = Answer(close=True)
        self._plant(Fault(method, re.compile(path), times, applied, answer=answer))

    def delay_next(
        self, method: str, path: str, seconds: float, *, times: int = 1, applied: bool = False
    ) -> None:
        """Answer late."""
        self._plant(Fault(method, re.compile(path), times, applied, delay=seconds))

    def hold_next(self, method: str, path: str, *, applied: bool = False) -> Gate:
        """Hold the next matching request until the gate is released (a minute at most)."""
        gate = Gate()
        self._plant(Fault(method, re.compile(path), 1, applied, delay=gate))
        return gate

    def clear(self) -> None:
        """Forget every fault; requests that stand at a gate go on."""
        with self._lock:
            for fault in self._planted:
                fault.times = 0
                if isinstance(fault.delay, Gate):
                    fault.delay.release()
            self._planted.clear()

    def take(self, request: Request) -> Fault | None:
        """Return the fault that this request meets, counted down; None if it meets none."""
        with self._lock:
            for fault in self._planted:
                if fault.meets(request):
                    fault.times -= 1
                    return fault
        return None

    def _plant(self, fault: Fault) -> None:
        with self._lock:
            self._planted.append(fault)
