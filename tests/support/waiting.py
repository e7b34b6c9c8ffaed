"""Waits for what announces itself by no event."""

import time
from collections.abc import Callable

PATIENCE = 30.0  # seconds


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail, saying what did not come, when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.02)
