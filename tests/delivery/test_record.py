"""The record: what it remembers, and what follows from it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from delivery import record
from delivery.errors import RecordError
from delivery.record import Hold, Move, Record
from delivery.splits import Split

from tests.delivery.bench import A, B, C

AT = datetime(2026, 11, 10, 12, tzinfo=UTC)


def move(after: Split, outcome: str = record.HEALTHY, *, verb: str = record.PROMOTE) -> Move:
    return Move(verb, {A: 100}, after, "ada", AT, outcome)


def of(*moves: Move) -> Record:
    return Record(moves)


def names(known: Record) -> list[str]:
    return [version for version, _ in known.known_good()]


def test_it_is_read_as_it_was_written() -> None:
    known = of(move({B: 100}), move({B: 90, C: 10.5}, record.MOVING))
    known = known.holding({A}, Hold("it was slow", AT))
    assert record.load(record.dump(known)) == known


def test_empty_text_is_an_empty_record() -> None:
    assert record.load("\n") == Record()


def test_it_is_text_that_a_person_can_read() -> None:
    text = record.dump(of(move({B: 100})))
    assert '"at": "2026-11-10T12:00:00Z"' in text
    assert text.endswith("}\n")


GOOD = json.loads(record.dump(of(move({B: 100})).holding({A}, Hold("why", AT))))
GOOD["moves"][0]["id"] = "0d7a1b3c"  # all workers of pytest-xdist must give a test the same name


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        "[" * 100_000,
        "[]",
        "null",
        "{}",
        json.dumps(GOOD | {"format": 2}),
        json.dumps(GOOD | {"moves": None}),
        json.dumps(GOOD | {"held": []}),
        json.dumps(GOOD | {"moves": [GOOD["moves"][0] | {"outcome": "marvellous"}]}),
        json.dumps(GOOD | {"moves": [GOOD["moves"][0] | {"outcome": []}]}),
        json.dumps(GOOD | {"moves": [GOOD["moves"][0] | {"at": "yesterday"}]}),
        json.dumps(GOOD | {"moves": [GOOD["moves"][0] | {"after": {A: "all"}}]}),
        json.dumps(GOOD | {"moves": [GOOD["moves"][0] | {"after": {A: 10**400}}]}),
    ],
)
def test_anything_else_is_refused_with_a_way_on(broken: str) -> None:
    with pytest.raises(RecordError, match="cannot be read") as caught:
        record.load(broken)
    assert "rollback VERSION" in caught.value.then


def test_a_format_of_the_future_is_named() -> None:
    with pytest.raises(RecordError) as caught:
        record.load(json.dumps(GOOD | {"format": 2}))
    assert "format 2 is not known" in caught.value.why


def test_it_forgets_the_oldest_moves() -> None:
    known = Record()
    for number in range(record.LONGEST + 5):
        known = known.having(move({f"v{number}": 100}))
    assert len(known.moves) == record.LONGEST
    assert known.moves[0].after == {"v5": 100}


@pytest.mark.parametrize(
    ("outcome", "serving"),
    [
        (record.HEALTHY, {B: 100}),
        (record.UNCHECKED, {B: 100}),
        (record.FAILED, {B: 100}),
        (record.RESTORED, {A: 100}),
        (record.NEVER, {C: 100}),
        (record.MOVING, None),
        (record.RESTORING, None),
    ],
)
def test_what_serves_follows_from_how_the_newest_move_ended(
    outcome: str, serving: Split | None
) -> None:
    known = of(move({C: 100}), move({B: 100}, outcome))
    assert known.serving == serving
    assert known.matches(serving or {}) == (serving is not None)
    assert (known.pending is None) == (serving is not None)


def test_of_nothing_it_says_nothing() -> None:
    assert Record().serving is None
    assert Record().pending is None
    assert Record().last is None
    assert not Record().matches({})


def test_known_to_have_worked_is_what_had_all_traffic_the_latest_first() -> None:
    known = of(move({A: 100}), move({B: 100}), move({B: 50, C: 50}), move({A: 100}))
    assert names(known) == [A, B]
    assert known.served() == {A, B}


@pytest.mark.parametrize("outcome", [record.FAILED, record.RESTORING, record.RESTORED])
def test_the_newest_move_of_a_version_says_whether_it_worked(outcome: str) -> None:
    assert names(of(move({B: 100}), move({B: 100}, outcome))) == []
    assert names(of(move({B: 100}, outcome), move({B: 100}))) == [B]


@pytest.mark.parametrize("outcome", [record.MOVING, record.NEVER])
def test_a_move_that_may_not_have_happened_says_nothing(outcome: str) -> None:
    assert names(of(move({B: 100}), move({B: 100}, outcome))) == [B]
    assert of(move({C: 100}, outcome)).served() == set()


def test_what_is_on_hold_is_not_known_to_work_though_it_served() -> None:
    known = of(move({A: 100}), move({B: 100})).holding({B}, Hold("slow", AT))
    assert names(known) == [A]
    assert known.served() == {A, B}
    assert names(known.releasing(B)) == [B, A]


def test_of_a_canary_that_failed_the_canary_is_to_blame() -> None:
    known = of(move({A: 100}), move({A: 90, C: 10}, record.RESTORED))
    assert known.failed(C) == known.moves[1]
    assert known.failed(A) is None
    assert known.failed(B) is None
    assert of(*known.moves, move({C: 100})).failed(C) is None


def test_a_canary_is_one_until_it_has_all_traffic() -> None:
    canary = move({A: 90, C: 10}, verb=record.CANARY)
    assert of(canary).canary_of(C) == canary
    assert of(canary, move({A: 100})).canary_of(C) == canary
    assert of(canary, move({C: 100})).canary_of(C) is None
    assert of(canary).canary_of(B) is None


def test_a_move_of_nothing_is_for_no_version() -> None:
    assert move({}).version is None


def test_a_rollback_has_no_way_back() -> None:
    assert move({B: 100}).way_back == {A: 100}
    assert move({B: 100}, verb=record.ROLLBACK).way_back == {}


ALL_OUTCOMES = [
    record.MOVING, record.UNCHECKED, record.HEALTHY, record.RESTORING,
    record.FAILED, record.RESTORED, record.NEVER,
]  # fmt: skip


@pytest.mark.parametrize(
    ("was", "may_become"),
    [
        (record.MOVING, set(ALL_OUTCOMES)),
        (record.UNCHECKED, {record.HEALTHY, record.RESTORING, record.FAILED, record.RESTORED}),
        (record.HEALTHY, {record.RESTORING, record.FAILED, record.RESTORED}),
        (record.RESTORING, {record.HEALTHY, record.FAILED, record.RESTORED}),
        (record.FAILED, {record.RESTORED}),
        (record.RESTORED, set[str]()),
        (record.NEVER, set[str]()),
    ],
)
def test_who_knows_less_does_not_overwrite_how_a_move_ended(was: str, may_become: set[str]) -> None:
    this, other = move({B: 100}, was), move({C: 100}, record.MOVING)
    for outcome in ALL_OUTCOMES:
        ended = of(this, other).ended(this, outcome)
        assert ended.moves[0].outcome == (outcome if outcome in may_become else was)
        assert ended.moves[1] == other


def test_times_are_kept_in_utc() -> None:
    local = AT.astimezone(tz=None) + timedelta(0)
    known = of(Move(record.PROMOTE, {}, {A: 100}, "ada", local))
    assert record.load(record.dump(known)).moves[0].at == AT
