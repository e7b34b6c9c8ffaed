"""Traffic splits."""

import pytest
from delivery.errors import DeliveryError
from delivery.splits import Split, describe, main_version, sole, with_canary

from tests.delivery.bench import A, B, C


def test_a_split_is_described_with_the_largest_share_first() -> None:
    assert describe({A: 10, B: 89.5, C: 0.5}) == f"{B} 89.5 %, {A} 10 %, {C} 0.5 %"
    assert describe({}) == "nothing"


def test_the_sole_version_has_all_traffic() -> None:
    assert sole({A: 100}) == A
    assert sole({A: 99, B: 1}) is None
    assert sole({}) is None


def test_the_main_version_has_the_largest_share() -> None:
    assert main_version({A: 60, B: 40}) == A
    assert main_version({A: 50, B: 50}) == B
    assert main_version({}) is None


@pytest.mark.parametrize(
    ("serving", "share", "expected"),
    [
        ({B: 60.0, A: 40.0}, 10, {C: 10, B: 54, A: 36}),
        ({B: 33.3, A: 33.3, "x": 33.4}, 1, {C: 1, B: 33, A: 33, "x": 33}),
        ({B: 99.9, A: 0.1}, 99, {C: 99, B: 1}),
        ({B: 90.0, C: 10.0}, 50, {C: 50, B: 50}),
        ({C: 100.0}, 10, {C: 100}),
        ({}, 10, {C: 100}),
    ],
)
def test_the_others_share_what_a_canary_leaves_in_their_proportions(
    serving: Split, share: int, expected: Split
) -> None:
    split = with_canary(serving, C, share, 0.1)
    assert split == pytest.approx(expected, abs=0.11)
    assert sum(split.values()) == pytest.approx(100)
    assert min(split.values()) > 0


def test_shares_are_whole_steps() -> None:
    assert with_canary({A: 55.0, B: 45.0}, C, 50, 1) == {C: 50, A: 27, B: 23}


def test_traffic_cannot_be_split_without_end() -> None:
    serving = {f"v{number}": 5.0 for number in range(20)}
    with pytest.raises(DeliveryError, match="cannot be split any further"):
        with_canary(serving, C, 99, 0.1)
