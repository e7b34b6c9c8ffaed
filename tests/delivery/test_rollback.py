"""rollback: back to what worked, never to what did not, and never by guessing."""

import pytest
from delivery import record
from delivery.errors import (
    AlarmError,
    CommandError,
    ConflictError,
    DeliveryError,
    RecordError,
    RefusedError,
    RestoredError,
)
from delivery.job import State
from delivery.promote import promote
from delivery.rollback import rollback

from tests.delivery.bench import PUBLIC, A, B, C, D, KilledError, Site, Taps, url_of


def test_it_returns_to_the_version_that_served_before(site: Site) -> None:
    site.deliver(A, B)
    assert rollback(site.job(), None) == PUBLIC
    assert site.serving == {A: 100}
    assert site.story[-1] == ("rollback", {A: 100}, record.HEALTHY)


def test_a_version_that_failed_in_production_is_not_returned_to(site: Site) -> None:
    site.deliver(A)
    site.deploy(B)
    site.broken.add(B)
    with pytest.raises(RestoredError):
        promote(site.job(B), None)
    site.deliver(C)
    rollback(site.job(), None)
    assert site.serving == {A: 100}


def test_a_version_that_never_served_is_not_chosen(site: Site) -> None:
    site.deliver(A)
    site.deploy(B)
    site.deliver(C)
    rollback(site.job(), None)
    assert site.serving == {A: 100}


def test_a_version_with_a_name_of_its_own_is_chosen_if_it_served(site: Site) -> None:
    site.deliver(A, "hotfix", C)
    rollback(site.job(), None)
    assert site.serving == {"hotfix": 100}


def test_from_a_split_it_returns_to_the_version_that_had_all_traffic(site: Site) -> None:
    site.deliver(A)
    site.deploy(B, C)
    promote(site.job(B), None, canary=10)
    promote(site.job(C), None, canary=10)
    assert site.serving == {A: 81, B: 9, C: 10}
    rollback(site.job(), None)
    assert site.serving == {A: 100}
    assert set(site.record.held) == {B, C}


def test_a_second_rollback_goes_one_version_further(site: Site) -> None:
    site.deliver(A, B, C)
    rollback(site.job(), None)
    site.sleep(301)
    rollback(site.job(), None)
    assert site.serving == {A: 100}


def test_repeated_within_five_minutes_it_is_taken_for_the_same(site: Site) -> None:
    site.deliver(A, B, C)
    rollback(site.job(), None)
    site.sleep(299)
    assert rollback(site.job(), None) == PUBLIC
    assert site.serving == {B: 100}
    assert f"To go back further: python -m delivery rollback {A}" in site.said


def test_a_clock_that_is_behind_does_not_stop_it(site: Site) -> None:
    site.deliver(A, B, C)
    rollback(site.job(), None)
    site.sleep(-3600)
    rollback(site.job(), None)
    assert site.serving == {A: 100}


def test_there_is_nothing_further_to_name_where_nothing_else_worked(site: Site) -> None:
    site.deliver(A, B)
    rollback(site.job(), None)
    rollback(site.job(), None)
    assert "Nothing to do" in site.said
    assert "To go back further" not in site.said


def test_a_version_that_is_named_is_gone_to_whatever_served_before(site: Site) -> None:
    site.deliver(A, B, C)
    rollback(site.job(), A)
    assert site.serving == {A: 100}
    rollback(site.job(), C)
    assert site.serving == {C: 100}
    assert set(site.record.held) == {A}  # a person insisted on C


def test_going_to_what_serves_does_nothing(site: Site) -> None:
    site.deliver(A, B)
    assert rollback(site.job(), B) == PUBLIC
    assert site.record.held == {}


def test_a_version_that_is_not_there_is_refused(site: Site) -> None:
    site.deliver(A, B)
    with pytest.raises(RefusedError, match="there is no version v9"):
        rollback(site.job(), "v9")


def test_a_review_app_is_refused(site: Site) -> None:
    site.deliver(A)
    with pytest.raises(RefusedError, match="review app"):
        rollback(site.job(), "mr-7")


def test_a_version_that_no_longer_works_is_passed_over_and_named(site: Site) -> None:
    site.deliver(A, B, C)
    site.ill.add(B)
    rollback(site.job(), None)
    assert site.serving == {A: 100}
    assert f"{B} cannot be rolled back to" in site.said
    assert B in site.versions


def test_without_a_healthy_version_nothing_changes(site: Site) -> None:
    site.deliver(A, B)
    site.ill.add(A)
    with pytest.raises(DeliveryError, match="no healthy version") as caught:
        rollback(site.job(), None)
    assert f"{A} is not healthy" in caught.value.why
    assert site.serving == {B: 100}
    assert site.record.held == {}


def test_after_the_first_delivery_there_is_nothing_to_return_to(site: Site) -> None:
    site.deliver(A)
    with pytest.raises(DeliveryError) as caught:
        rollback(site.job(), None)
    assert "no other version is known to have worked" in caught.value.why


def test_a_rollback_after_which_production_fails_is_not_undone(site: Site) -> None:
    site.deliver(A, B)
    site.broken.add(A)
    job = site.job()
    with pytest.raises(AlarmError, match="production fails its check"):
        rollback(job, None)
    assert site.serving == {A: 100}
    assert job.production.state is State.CHANGED
    assert site.story[-1] == ("rollback", {A: 100}, record.FAILED)


def test_repeated_after_a_failure_it_goes_on_to_the_next(site: Site) -> None:
    site.deliver(A, B, C)
    site.broken.add(B)
    with pytest.raises(AlarmError):
        rollback(site.job(), None)
    rollback(site.job(), None)
    assert site.serving == {A: 100}


def test_without_a_record_it_does_not_guess(site: Site) -> None:
    site.deploy(A, B)
    site.split(b=100)
    with pytest.raises(RefusedError, match="must not guess") as caught:
        rollback(site.job(), None)
    assert "there is no record of deliveries yet" in caught.value.why
    assert "rollback VERSION" in caught.value.then
    assert site.serving == {B: 100}
    rollback(site.job(), A)
    assert site.serving == {A: 100}
    assert [verb for verb, _, _ in site.story] == ["seen", "rollback"]


def test_where_the_record_does_not_match_what_serves_it_does_not_guess(site: Site) -> None:
    site.deliver(A, B)
    site.deploy(C)
    site.split(c=100)
    with pytest.raises(RefusedError, match="must not guess") as caught:
        rollback(site.job(), None)
    assert f"the record says {B} 100 %, and it is {C} 100 %" in caught.value.why
    assert A in caught.value.why
    rollback(site.job(), A)
    assert site.serving == {A: 100}
    assert "The traffic was moved without these commands" in site.said


UNREADABLE = ["{", "[]", '{"format": 2, "moves": [], "held": {}}']


@pytest.mark.parametrize("text", UNREADABLE)
def test_with_an_unreadable_record_it_asks_for_a_version(site: Site, text: str) -> None:
    site.deliver(A, B)
    site.write_record(text)
    with pytest.raises(RecordError, match="cannot be read") as caught:
        rollback(site.job(), None)
    assert "rollback VERSION" in caught.value.then
    assert site.serving == {B: 100}


@pytest.mark.parametrize("text", UNREADABLE)
def test_with_an_unreadable_record_a_named_version_is_gone_to(site: Site, text: str) -> None:
    site.deliver(A, B)
    site.write_record(text)
    assert rollback(site.job(), A) == PUBLIC
    assert site.serving == {A: 100}
    assert "nothing is recorded" in site.said
    assert site.job().target.read_record().text == text


def broken_writes(_: int, call: str) -> None:
    if call == "before write_record":
        raise CommandError("writing failed", why="403")


def test_where_the_record_cannot_be_written_it_asks_for_a_version(site: Site) -> None:
    site.deliver(A, B)
    with pytest.raises(RecordError, match="cannot be written") as caught:
        rollback(site.job(taps=Taps(broken_writes)), None)
    assert "403" in caught.value.why
    assert "rollback VERSION" in caught.value.then
    assert site.serving == {B: 100}


def test_where_the_record_cannot_be_written_a_named_version_is_gone_to(site: Site) -> None:
    site.deliver(A, B)
    assert rollback(site.job(taps=Taps(broken_writes)), A) == PUBLIC
    assert site.serving == {A: 100}


def killed_after(call: str, times: int = 1) -> Taps:
    calls = []

    def at(_: int, now: str) -> None:
        calls.append(now)
        if now == f"after {call}" and calls.count(now) == times:
            raise KilledError

    return Taps(at)


def test_killed_after_the_move_and_repeated_it_stays(site: Site) -> None:
    site.deliver(A, B, C)
    with pytest.raises(KilledError):
        rollback(site.job(taps=killed_after("set_traffic")), None)
    site.sleep(3600)
    rollback(site.job(), None)
    assert site.serving == {B: 100}
    assert site.story[-1] == ("rollback", {B: 100}, record.HEALTHY)
    assert "An earlier run (ada) moved the traffic" in site.said


def test_killed_after_the_last_write_and_repeated_it_stays(site: Site) -> None:
    site.deliver(A, B, C)
    with pytest.raises(KilledError):
        rollback(site.job(taps=killed_after("write_record", times=2)), None)
    rollback(site.job(), None)
    assert site.serving == {B: 100}


def test_killed_after_the_move_another_version_can_still_be_named(site: Site) -> None:
    site.deliver(A, B, C)
    with pytest.raises(KilledError):
        rollback(site.job(taps=killed_after("set_traffic")), None)
    rollback(site.job(), A)
    assert site.serving == {A: 100}
    assert site.story[-2:] == [
        ("rollback", {B: 100}, record.UNCHECKED),
        ("rollback", {A: 100}, record.HEALTHY),
    ]


def test_a_promotion_that_was_killed_after_the_move_is_rolled_back_from(site: Site) -> None:
    site.deliver(A, B)
    site.deploy(C)
    with pytest.raises(KilledError):
        promote(site.job(taps=killed_after("set_traffic")), None)
    rollback(site.job(), None)
    assert site.serving == {B: 100}
    assert set(site.record.held) == {C}


def test_a_promotion_that_only_finishes_meanwhile_does_not_stop_it(site: Site) -> None:
    site.deliver(A, B)

    def at(_: int, call: str) -> None:  # the record is written, but by no new move
        if call == "before version":
            ledger = site.job().ledger
            ledger.update(lambda known: known.ended(known.moves[-1], record.FAILED))

    rollback(site.job(taps=Taps(at)), None)
    assert site.serving == {A: 100}


def test_a_promotion_that_moves_traffic_meanwhile_stops_it(site: Site) -> None:
    site.deliver(A, B)
    site.deploy(C)

    def at(_: int, call: str) -> None:
        if call == "before version" and site.serving == {B: 100}:
            promote(site.job(C), None)

    with pytest.raises(RefusedError, match="in the meantime") as caught:
        rollback(site.job(taps=Taps(at)), None)
    assert caught.value.why == f"it was {B} 100 %, and is {C} 100 %"
    assert site.serving == {C: 100}


def test_a_record_that_changes_all_the_time_is_given_up_on(site: Site) -> None:
    site.deliver(A, B)

    def at(_: int, call: str) -> None:
        if call == "before write_record":
            raise ConflictError("again")

    with pytest.raises(RefusedError, match="someone else is moving the traffic"):
        rollback(site.job(taps=Taps(at)), None)
    assert site.serving == {B: 100}


def test_a_dry_run_shows_what_would_be_done(site: Site) -> None:
    site.deliver(A, B)
    job = site.job(dry_run=True)
    assert rollback(job, None) == PUBLIC
    assert site.results.getvalue() == f'split the traffic: {{"{A}": 100.0}}\n'
    assert site.serving == {B: 100}
    assert job.production.state is State.UNCHANGED
    assert site.story[-1] == ("promote", {B: 100}, record.HEALTHY)


def test_the_candidate_is_checked_on_its_own_address_then_production(site: Site) -> None:
    site.deliver(A, B)
    site.probed.clear()
    rollback(site.job(), None)
    assert site.probed == [url_of(A), PUBLIC]


def test_it_never_goes_to_a_newer_version_that_waits(site: Site) -> None:
    site.deliver(A, B)
    site.deploy(C, D)
    rollback(site.job(), None)
    assert site.serving == {A: 100}
