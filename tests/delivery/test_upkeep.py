"""Looking after what is deployed: prune and status."""

from datetime import timedelta

import pytest
from delivery import upkeep
from delivery.errors import MisuseError

from tests.delivery.fakes import (
    DEPLOYED,
    NEW,
    NEWEST,
    OLD,
    OLDEST,
    PUBLIC,
    FakeTarget,
    bench,
    url_of,
)

MANY = [f"v202610{day:02}t100000-aaaaaaaa" for day in range(1, 9)]


def serving(name: str, *idle: str) -> FakeTarget:
    return FakeTarget().having(*idle, **{name.replace("-", "_"): 100})


def test_prune_deletes_what_is_older_than_the_newest_rollback_candidates() -> None:
    b = bench(serving(NEW, *MANY))
    upkeep.prune(b.job, keep=5)
    assert b.target.done == [f"delete {name}" for name in reversed(MANY[:3])]


def test_prune_can_be_repeated() -> None:
    b = bench(serving(NEW, *MANY))
    upkeep.prune(b.job, keep=5)
    b.target.done.clear()
    upkeep.prune(b.job, keep=5)
    assert b.target.done == []
    assert "Nothing to prune" in b.said


def test_prune_keeps_review_apps_foreign_versions_and_newer_ones() -> None:
    b = bench(serving(OLD, "mr-7", "by-hand", NEW, NEWEST, OLDEST, *MANY))
    upkeep.prune(b.job, keep=1)
    assert b.target.done == [f"delete {name}" for name in reversed(MANY)]


def test_prune_keeps_what_has_traffic_and_all_that_lies_between() -> None:
    target = FakeTarget().having(*MANY, **{OLDEST.replace("-", "_"): 90, NEW.replace("-", "_"): 10})
    b = bench(target.having(OLD))
    upkeep.prune(b.job, keep=8)
    assert b.target.done == []


def test_prune_deletes_nothing_while_nothing_serves() -> None:
    b = bench(FakeTarget().having(*MANY))
    upkeep.prune(b.job, keep=1)
    assert b.target.done == []


def test_prune_keeps_at_least_one_version_to_roll_back_to() -> None:
    with pytest.raises(MisuseError):
        upkeep.prune(bench(serving(NEW, *MANY)).job, keep=0)


def test_a_dry_prune_does_not_claim_to_have_deleted() -> None:
    b = bench(serving(NEW, *MANY), dry_run=True)
    upkeep.prune(b.job, keep=5)
    assert "Deleted" not in b.said


def test_status_marks_what_serves_and_ends_with_the_public_address() -> None:
    target = FakeTarget().having(OLDEST, "mr-7", **{OLD.replace("-", "_"): 90})
    target.having(**{NEW.replace("-", "_"): 10})
    b = bench(target)
    assert upkeep.status(b.job, DEPLOYED + timedelta(hours=3, seconds=30)) == PUBLIC
    lines = [line.split() for line in b.results.getvalue().splitlines()]
    assert lines == [
        ["VERSION", "TRAFFIC", "AGE", "URL"],
        ["*", NEW, "10", "%", "now", url_of(NEW)],
        ["*", OLD, "90", "%", "1", "h", url_of(OLD)],
        ["mr-7", "-", "2", "h", url_of("mr-7")],
        [OLDEST, "-", "3", "h", url_of(OLDEST)],
    ]


def test_status_counts_days_and_minutes_too() -> None:
    b = bench(FakeTarget().having(OLD, NEW))
    upkeep.status(b.job, DEPLOYED + timedelta(days=2, minutes=90))
    assert "2 d" in b.results.getvalue()
    b = bench(FakeTarget().having(OLD))
    upkeep.status(b.job, DEPLOYED + timedelta(minutes=5))
    assert "5 min" in b.results.getvalue()


def test_status_of_a_project_that_never_delivered_says_so() -> None:
    b = bench()
    assert upkeep.status(b.job) == ""
    assert "Nothing has been delivered yet" in b.said


def test_status_knows_what_time_it_is() -> None:
    b = bench(serving(NEW))
    assert upkeep.status(b.job) == PUBLIC
