"""Moving traffic: promote and rollback."""

import pytest
from delivery import traffic
from delivery.errors import (
    AlarmError,
    CommandError,
    DeliveryError,
    MisuseError,
    RefusedError,
    RestoredError,
)
from delivery.target import Split

from tests.delivery.fakes import (
    AWAY,
    NEW,
    NEWEST,
    OLD,
    OLDEST,
    PUBLIC,
    FakeTarget,
    bench,
    failure,
    url_of,
)


def target(*idle: str, serving: Split) -> FakeTarget:
    """Give a target with these versions, deployed in the order of their names."""
    made = FakeTarget()
    for name in sorted({*idle, *serving}):
        made._add(name, serving.get(name, 0))
    return made


def test_promote_checks_then_moves_all_traffic_then_checks_production() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    assert traffic.promote(b.job, None) == PUBLIC
    assert b.check.asked == [(url_of(NEW), frozenset({NEW})), (PUBLIC, frozenset({NEW}))]
    assert b.target.done == [f"traffic {NEW}=100"]


def test_promoting_what_has_all_traffic_does_nothing() -> None:
    b = bench(target(OLD, serving={NEW: 100}))
    assert traffic.promote(b.job, None) == PUBLIC
    assert b.target.done == []
    assert b.check.asked == []
    assert "Nothing to do" in b.said


def test_a_failing_check_leaves_traffic_where_it_was() -> None:
    b = bench(target(NEW, serving={OLD: 100}), ill=[NEW])
    with pytest.raises(RefusedError) as caught:
        traffic.promote(b.job, None)
    assert caught.value.why == "/health answers 500"
    assert b.target.done == []
    assert b.job.production == "unchanged"


def test_a_version_out_of_reach_is_not_promoted() -> None:
    b = bench(target(NEW, serving={OLD: 100}), findings={url_of(NEW): AWAY})
    with pytest.raises(RefusedError):
        traffic.promote(b.job, None)
    assert b.target.done == []


def test_an_overtaken_pipeline_does_not_undo_the_newer_one() -> None:
    b = bench(target(OLD, serving={NEW: 100}))
    with pytest.raises(RefusedError, match=f"older than {NEW}"):
        traffic.promote(b.job, OLD)
    assert b.target.done == []
    assert b.check.asked == []


def test_a_canary_of_a_newer_version_also_keeps_an_older_one_from_being_promoted() -> None:
    b = bench(target(OLD, serving={OLDEST: 90, NEW: 10}))
    with pytest.raises(RefusedError, match="older"):
        traffic.promote(b.job, OLD)


def test_force_goes_back_in_time() -> None:
    b = bench(target(OLD, serving={NEW: 100}))
    traffic.promote(b.job, OLD, force=True)
    assert b.target.done == [f"traffic {OLD}=100"]
    assert (PUBLIC, frozenset({OLD})) in b.check.asked


def test_force_promotes_an_unhealthy_version_and_does_not_take_it_back() -> None:
    b = bench(target(NEW, serving={OLD: 100}), ill=[NEW, PUBLIC])
    assert traffic.promote(b.job, None, force=True) == PUBLIC
    assert b.target.done == [f"traffic {NEW}=100"]
    assert "promoted by force" in b.said


def test_a_version_named_by_hand_is_compared_by_when_it_was_deployed() -> None:
    made = FakeTarget().having("by-hand", **{NEW.replace("-", "_"): 100})
    with pytest.raises(RefusedError, match="older"):
        traffic.promote(bench(made).job, "by-hand")
    made = FakeTarget().having(**{NEW.replace("-", "_"): 100}).having("by-hand")
    traffic.promote(bench(made).job, "by-hand")
    assert made.done == ["traffic by-hand=100"]


@pytest.mark.parametrize("move", [traffic.promote, traffic.rollback])
def test_a_review_app_never_gets_traffic(move: object) -> None:
    b = bench(target("mr-7", serving={OLD: 100}))
    assert callable(move)
    with pytest.raises(RefusedError, match="review app"):
        move(b.job, "mr-7")
    assert b.target.done == []


def test_a_version_that_is_not_there_cannot_be_promoted() -> None:
    with pytest.raises(RefusedError, match="there is no version"):
        traffic.promote(bench(target(serving={OLD: 100})).job, None)


def test_a_split_that_someone_else_changed_is_not_overwritten() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.splits = [{NEWEST: 100}]
    with pytest.raises(RefusedError, match="someone else") as caught:
        traffic.promote(b.job, None)
    assert NEWEST in caught.value.why
    assert b.target.done == []


def test_traffic_moves_back_when_production_fails() -> None:
    b = bench(target(NEW, serving={OLD: 100}), ill=[PUBLIC])
    with pytest.raises(RestoredError) as caught:
        traffic.promote(b.job, None)
    assert caught.value.exit_code == 4
    assert b.target.done == [f"traffic {NEW}=100", f"traffic {OLD}=100"]
    assert b.job.production == f"restored, as before: {OLD} 100 %"


def test_a_canary_moves_back_to_the_very_split_that_was() -> None:
    b = bench(target(NEWEST, serving={OLD: 70, NEW: 30}), ill=[PUBLIC])
    with pytest.raises(RestoredError):
        traffic.promote(b.job, NEWEST, canary=50)
    assert b.target.serving() == {OLD: 70, NEW: 30}


def test_traffic_that_someone_moved_since_is_not_moved_back() -> None:
    b = bench(target(NEW, serving={OLD: 100}), ill=[PUBLIC])
    b.target.splits = [{OLD: 100}, {NEWEST: 100}]
    with pytest.raises(AlarmError, match="someone else"):
        traffic.promote(b.job, None)
    assert b.target.done == [f"traffic {NEW}=100"]
    assert NEWEST in b.job.production


def test_failing_to_move_back_calls_for_a_person() -> None:
    b = bench(target(NEW, serving={OLD: 100}), ill=[PUBLIC])
    b.target.failures["serving"] = [None, DeliveryError("gone", why="no network")]
    with pytest.raises(AlarmError, match="failed too") as caught:
        traffic.promote(b.job, None)
    assert caught.value.exit_code == 5
    assert "no network" in caught.value.why
    assert "CHANGED" in b.job.production


def test_a_target_without_anything_to_move_back_to_calls_for_a_person() -> None:
    b = bench(target(NEW, serving={}), ill=[PUBLIC])
    with pytest.raises(AlarmError, match="nothing served before"):
        traffic.promote(b.job, None)


def test_a_move_that_was_refused_leaves_production_unchanged() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures["set_traffic"] = [failure("403")]
    with pytest.raises(CommandError, match="the tool failed"):
        traffic.promote(b.job, None)
    assert b.job.production == "unchanged"


def test_a_move_that_was_reported_as_failed_but_happened_is_carried_on_with() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures["set_traffic"] = [failure("lost connection", timed_out=True)]
    b.target.moves_anyway = True
    assert traffic.promote(b.job, None) == PUBLIC
    assert "the traffic has moved" in b.said


def test_a_move_that_took_too_long_may_still_happen_so_a_person_must_look() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures["set_traffic"] = [failure("too slow", timed_out=True)]
    with pytest.raises(AlarmError, match="not certain"):
        traffic.promote(b.job, None)
    assert b.job.production == f"{OLD} 100 % when last seen"


def test_a_failed_move_after_which_nothing_can_be_seen_calls_for_a_person() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures = {
        "set_traffic": [failure("lost")],
        "serving": [None, failure("lost too")],
    }
    with pytest.raises(AlarmError):
        traffic.promote(b.job, None)
    assert b.job.production == "UNKNOWN"


def test_a_move_that_met_another_operation_is_tried_again() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures["set_traffic"] = [failure("409", transient=True)] * 2
    assert traffic.promote(b.job, None) == PUBLIC
    assert b.target.done == [f"traffic {NEW}=100"]
    assert "trying again in 2 s" in b.said


def test_the_other_operation_may_have_moved_traffic_and_is_not_overwritten() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures["set_traffic"] = [failure("409", transient=True)]
    b.target.splits = [{OLD: 100}, {OLD: 100}, {NEWEST: 100}]
    with pytest.raises(RefusedError, match="someone else"):
        traffic.promote(b.job, None)
    assert b.target.done == []
    assert b.job.production == "unchanged"


def test_trying_to_move_traffic_comes_to_an_end() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    b.target.failures["set_traffic"] = [failure("503", transient=True)] * 6
    with pytest.raises(CommandError):
        traffic.promote(b.job, None)
    assert b.target.done == []
    assert b.job.production == "unchanged"


def test_moving_back_is_tried_again_too() -> None:
    b = bench(target(NEW, serving={OLD: 100}), ill=[PUBLIC])
    b.target.failures["set_traffic"] = [None, failure("503", transient=True)]
    with pytest.raises(RestoredError):
        traffic.promote(b.job, None)
    assert b.target.serving() == {OLD: 100}


def test_a_canary_gets_its_share_and_production_may_answer_with_either() -> None:
    b = bench(target(NEW, serving={OLD: 100}))
    traffic.promote(b.job, None, canary=10)
    assert b.target.done == [f"traffic {OLD}=90 {NEW}=10"]
    assert b.check.asked[-1] == (PUBLIC, frozenset({OLD, NEW}))


def test_a_repeated_canary_does_nothing() -> None:
    b = bench(target(serving={OLD: 90, NEW: 10}))
    traffic.promote(b.job, None, canary=10)
    assert b.target.done == []


def test_a_canary_can_grow_and_then_take_everything() -> None:
    b = bench(target(serving={OLD: 90, NEW: 10}))
    traffic.promote(b.job, None, canary=50)
    traffic.promote(b.job, None)
    assert b.target.done == [f"traffic {OLD}=50 {NEW}=50", f"traffic {NEW}=100"]


@pytest.mark.parametrize(
    ("serving", "share", "expected"),
    [
        ({OLD: 60.0, OLDEST: 40.0}, 10, {NEW: 10, OLD: 54, OLDEST: 36}),
        ({OLD: 33.3, OLDEST: 33.3, "x": 33.4}, 1, {NEW: 1, OLD: 33, OLDEST: 33, "x": 33}),
        ({OLD: 99.9, OLDEST: 0.1}, 99, {NEW: 99, OLD: 1}),
        ({NEW: 100.0}, 10, {NEW: 100}),
    ],
)
def test_the_others_share_what_a_canary_leaves_in_their_proportions(
    serving: Split, share: int, expected: Split
) -> None:
    split = traffic.with_canary(serving, NEW, share)
    assert split == pytest.approx(expected, abs=0.11)
    assert sum(split.values()) == pytest.approx(100)


def test_a_canary_needs_something_to_share_traffic_with() -> None:
    with pytest.raises(MisuseError):
        traffic.promote(bench(target(NEW, serving={})).job, None, canary=10)


def test_a_dry_promote_says_what_it_would_do_and_checks_no_outcome() -> None:
    b = bench(target(NEW, serving={OLD: 100}), dry_run=True)
    traffic.promote(b.job, None)
    assert [url for url, _ in b.check.asked] == [url_of(NEW)]
    assert b.job.production == "unchanged"


def test_rollback_goes_to_the_newest_older_version() -> None:
    b = bench(target(OLDEST, OLD, serving={NEW: 100}))
    assert traffic.rollback(b.job, None) == PUBLIC
    assert b.target.done == [f"traffic {OLD}=100"]


def test_rollback_passes_over_a_version_that_no_longer_works_and_names_it() -> None:
    b = bench(target(OLDEST, OLD, serving={NEW: 100}), ill=[OLD])
    traffic.rollback(b.job, None)
    assert b.target.done == [f"traffic {OLDEST}=100"]
    assert f"{OLD} cannot be rolled back to: /health answers 500" in b.said
    assert OLD in b.target.deployed


def test_rollback_from_a_canary_returns_to_what_served_not_to_what_waited() -> None:
    b = bench(target(OLD, serving={OLDEST: 90, NEW: 10}))
    traffic.rollback(b.job, None)
    assert b.target.done == [f"traffic {OLDEST}=100"]


def test_rollback_never_picks_newer_foreign_or_review_versions() -> None:
    b = bench(target(NEWEST, "mr-7", "by-hand", serving={NEW: 100}))
    with pytest.raises(DeliveryError, match="no healthy version") as caught:
        traffic.rollback(b.job, None)
    assert "no version is older" in caught.value.why
    assert b.target.done == []


def test_a_rollback_without_a_healthy_candidate_changes_nothing() -> None:
    b = bench(target(OLDEST, OLD, serving={NEW: 100}), ill=[OLD, OLDEST])
    with pytest.raises(DeliveryError) as caught:
        traffic.rollback(b.job, None)
    assert f"{OLDEST} is not healthy" in caught.value.why
    assert b.target.done == []


def test_rollback_goes_to_the_version_that_is_named() -> None:
    b = bench(target(OLDEST, OLD, serving={NEW: 100}))
    traffic.rollback(b.job, OLDEST)
    assert b.target.done == [f"traffic {OLDEST}=100"]


def test_rolling_back_to_what_serves_does_nothing() -> None:
    b = bench(target(OLDEST, serving={OLD: 100}))
    assert traffic.rollback(b.job, OLD) == PUBLIC
    assert b.target.done == []


def test_a_rollback_after_which_production_fails_is_not_undone() -> None:
    b = bench(target(OLD, serving={NEW: 100}), ill=[PUBLIC])
    with pytest.raises(AlarmError, match="production fails"):
        traffic.rollback(b.job, None)
    assert b.target.done == [f"traffic {OLD}=100"]


def test_a_dry_rollback_checks_no_outcome() -> None:
    b = bench(target(OLD, serving={NEW: 100}), dry_run=True)
    assert traffic.rollback(b.job, None) == PUBLIC
    assert b.job.production == "unchanged"
