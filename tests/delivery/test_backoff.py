"""How long to wait before each new attempt."""

from itertools import islice

from delivery.backoff import pauses


def test_pauses_grow_up_to_a_limit_and_never_end() -> None:
    assert list(islice(pauses(), 7)) == [1, 2, 4, 8, 16, 20, 20]
    assert list(islice(pauses(0.5, longest=2, factor=3), 4)) == [0.5, 1.5, 2, 2]
