"""Turns the signals that ask for an end into an exception, but not in the middle of a start."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from delivery.errors import Interrupted

_state = {"deferring": 0, "waiting": 0}


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raise Interrupted at the first SIGINT, SIGTERM or SIGHUP, so that everything is put away."""
    named = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    # What is ignored from the start stays so: under nohup, say, SIGHUP is to have no effect.
    signals = [each for each in named if each and signal.getsignal(each) != signal.SIG_IGN]

    def end(signum: int, _frame: FrameType | None) -> None:
        for each in signals:  # once is enough: a second one must not cut the tidying up short
            signal.signal(each, _ignore)
        if _state["deferring"]:
            _state["waiting"] = signum
        else:
            raise Interrupted(signum)

    before = {each: signal.signal(each, end) for each in signals}
    _state.update(deferring=0, waiting=0)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let a signal wait until the end of this block.

    Between the moment that a program has started and the one in which we know its number, an
    exception would leave it running with nobody to stop it.
    """
    _state["deferring"] += 1
    try:
        yield
    finally:
        _state["deferring"] -= 1
        if _state["waiting"] and not _state["deferring"]:
            signum, _state["waiting"] = _state["waiting"], 0
            raise Interrupted(signum)


def _ignore(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN, a program that is started now does not inherit it."""
