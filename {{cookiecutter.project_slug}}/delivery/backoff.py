"""How long to wait before each new attempt, for whatever is tried again."""

from collections.abc import Iterator


def pauses(first: float = 1.0, longest: float = 20.0, factor: float = 2.0) -> Iterator[float]:
    """Yield growing pauses, in seconds, without an end: the caller knows when to give up."""
    pause = first
    while True:
        yield pause
        pause = min(pause * factor, longest)
