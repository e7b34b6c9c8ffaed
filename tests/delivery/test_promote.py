"""promote: a version gets traffic only while that is right, and loses it if production fails."""

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
    UnsettledError,
)
from delivery.job import State
from delivery.promote import promote
from delivery.rollback import rollback

from tests.delivery.bench import PUBLIC, A, B, C, Commits, D, KilledError, Site, Taps, url_of


@pytest.fixture
def waiting(site: Site) -> Site:
    """Return a site on which B serves, A served before, and C waits."""
    site.deliver(A, B)
    site.deploy(C)
    site.probed.clear()
    return site


def raising(error: BaseException, on: str, times: int = 1) -> Taps:
    """Raise an error at a call, the first so many times."""
    left = [error] * times

    def at(_: int, call: str) -> None:
        if call == on and left:
            raise left.pop()

    return Taps(at)


def transient() -> CommandError:
    error = CommandError("moving the traffic", why="409: another operation is under way")
    error.transient = True
    return error


def test_the_version_is_checked_then_gets_all_traffic_then_production_is_checked(
    waiting: Site,
) -> None:
    job = waiting.job()
    assert promote(job, None) == PUBLIC
    assert waiting.probed == [url_of(C), PUBLIC]
    assert waiting.serving == {C: 100}
    assert waiting.story[-1] == ("promote", {C: 100}, record.HEALTHY)
    assert f"all that is in {C} and not in {B}" in waiting.said


@pytest.mark.parametrize("there", [True, False])
def test_a_version_that_was_deployed_anew_after_its_check_gets_no_traffic(
    waiting: Site, there: bool
) -> None:
    def at(_: int, call: str) -> None:
        if call == "before url" and waiting.serving == {B: 100}:
            waiting.job().target.delete([C])
            if there:
                waiting.sleep(60)
                waiting.deploy(C)

    with pytest.raises(RefusedError, match="deployed anew since it was checked"):
        promote(waiting.job(taps=Taps(at)), None)
    assert waiting.serving == {B: 100}
    if not there:
        waiting.deploy(C)
    promote(waiting.job(), None)
    assert waiting.serving == {C: 100}


def test_the_move_is_recorded_before_it_is_made(waiting: Site) -> None:
    with pytest.raises(KilledError):
        promote(waiting.job(taps=raising(KilledError(), "before set_traffic")), None)
    assert waiting.record.moves[-1].after == {C: 100}
    assert waiting.record.moves[-1].outcome == record.MOVING
    assert waiting.serving == {B: 100}


def test_what_has_all_traffic_and_was_checked_needs_nothing(waiting: Site) -> None:
    before = waiting.record
    assert promote(waiting.job(B), None) == PUBLIC
    assert "Nothing to do" in waiting.said
    assert waiting.probed == []
    assert waiting.record == before


def test_killed_after_the_move_and_repeated_it_checks_production(waiting: Site) -> None:
    with pytest.raises(KilledError):
        promote(waiting.job(taps=raising(KilledError(), "after set_traffic")), None)
    promote(waiting.job(), None)
    assert waiting.probed[-1] == PUBLIC
    assert waiting.story[-1] == ("promote", {C: 100}, record.HEALTHY)


def test_killed_after_the_move_and_repeated_it_takes_back_what_fails(waiting: Site) -> None:
    waiting.broken.add(C)
    with pytest.raises(KilledError):
        promote(waiting.job(taps=raising(KilledError(), "after set_traffic")), None)
    with pytest.raises(RestoredError):
        promote(waiting.job(), None)
    assert waiting.serving == {B: 100}


def test_a_dry_run_after_a_kill_checks_nothing(waiting: Site) -> None:
    with pytest.raises(KilledError):
        promote(waiting.job(taps=raising(KilledError(), "after set_traffic")), None)
    waiting.probed.clear()
    assert promote(waiting.job(dry_run=True), None) == PUBLIC
    assert waiting.probed == []


def test_a_rollback_that_was_killed_is_not_undone_by_promoting_where_it_went(site: Site) -> None:
    site.deliver(A, B)
    with pytest.raises(KilledError):
        rollback(site.job(taps=raising(KilledError(), "after set_traffic")), None)
    site.broken.add(A)
    with pytest.raises(AlarmError):
        promote(site.job(A), None)
    assert site.serving == {A: 100}


def test_the_first_delivery_is_checked_though_it_has_all_traffic(site: Site) -> None:
    site.deploy(A)
    assert promote(site.job(A), None) == PUBLIC
    assert site.probed == [PUBLIC]
    site.probed.clear()
    promote(site.job(A), None)
    assert site.probed == []


def test_a_first_delivery_that_fails_calls_for_a_person(site: Site) -> None:
    site.deploy(A)
    site.broken.add(A)
    with pytest.raises(AlarmError, match="nothing served before"):
        promote(site.job(A), None)


def test_a_version_that_is_ill_gets_no_traffic(waiting: Site) -> None:
    waiting.ill.add(C)
    job = waiting.job()
    with pytest.raises(RefusedError, match="is not healthy") as caught:
        promote(job, None)
    assert "answers 500" in caught.value.why
    assert waiting.serving == {B: 100}
    assert job.production.state is State.UNCHANGED


def test_by_force_it_gets_traffic_and_nobody_claims_that_it_is_well(waiting: Site) -> None:
    waiting.ill.add(C)
    waiting.broken.add(C)
    promote(waiting.job(), None, force=True)
    assert waiting.serving == {C: 100}
    assert waiting.story[-1] == ("promote", {C: 100}, record.UNCHECKED)
    assert "was not checked, because of --force" in waiting.said


def test_production_that_fails_gets_back_what_served(waiting: Site) -> None:
    waiting.broken.add(C)
    job = waiting.job()
    with pytest.raises(RestoredError, match="was moved back"):
        promote(job, None)
    assert waiting.serving == {B: 100}
    assert waiting.story[-1] == ("promote", {C: 100}, record.RESTORED)
    assert str(job.production) == f"restored: as before: {B} 100 %"


def test_a_canary_that_fails_gives_back_the_very_split_that_was(waiting: Site) -> None:
    promote(waiting.job(), None, canary=30)
    waiting.deploy(D)
    waiting.broken.add(D)
    with pytest.raises(RestoredError):
        promote(waiting.job(D), None, canary=50)
    assert waiting.serving == {B: 70, C: 30}


def test_a_canary_gets_its_share_can_grow_and_then_takes_all(waiting: Site) -> None:
    promote(waiting.job(), None, canary=10)
    assert waiting.serving == {B: 90, C: 10}
    promote(waiting.job(), None, canary=10)
    assert "Nothing to do" in waiting.said
    promote(waiting.job(), None, canary=50)
    assert waiting.serving == {B: 50, C: 50}
    promote(waiting.job(), None)
    assert waiting.serving == {C: 100}
    assert [verb for verb, _, _ in waiting.story[-3:]] == ["canary", "canary", "promote"]


def test_after_a_canary_it_goes_on_only_while_the_version_has_its_share(waiting: Site) -> None:
    promote(waiting.job(), None, canary=10)
    waiting.split(b=100)
    with pytest.raises(RefusedError, match="its share of the traffic was taken away") as caught:
        promote(waiting.job(), None)
    assert "ada gave it 10 %" in caught.value.why
    promote(waiting.job(), None, force=True)
    assert waiting.serving == {C: 100}


def test_a_canary_that_was_rolled_back_from_stays_away(waiting: Site) -> None:
    promote(waiting.job(), None, canary=10)
    rollback(waiting.job(), None)
    with pytest.raises(RefusedError, match="must not get traffic again"):
        promote(waiting.job(), None)
    assert waiting.serving == {B: 100}


def test_what_was_rolled_back_from_comes_back_by_force_only(site: Site) -> None:
    site.deliver(A, B)
    rollback(site.job(), None)
    with pytest.raises(RefusedError, match="ada rolled back from it") as caught:
        promote(site.job(B), None)
    assert "promote --force" in caught.value.then
    promote(site.job(B), None, force=True)
    assert site.serving == {B: 100}
    assert site.record.held == {}


def test_a_new_commit_goes_through_after_a_rollback(site: Site) -> None:
    site.deliver(A, B)
    rollback(site.job(), None)
    site.deliver(C)
    assert site.serving == {C: 100}
    assert set(site.record.held) == {B}


def test_an_older_version_does_not_undo_a_newer_one_but_by_force(waiting: Site) -> None:
    with pytest.raises(RefusedError, match=f"{A} is older than {B}"):
        promote(waiting.job(A), None)
    promote(waiting.job(A), None, force=True)
    assert waiting.serving == {A: 100}


def test_a_newer_canary_also_counts_as_newer(waiting: Site) -> None:
    promote(waiting.job(), None, canary=10)
    with pytest.raises(RefusedError, match="older"):
        promote(waiting.job(A), None)


def test_a_newer_promotion_that_has_only_begun_counts_too(waiting: Site) -> None:
    waiting.deploy(D)
    with pytest.raises(KilledError):
        promote(waiting.job(D, taps=raising(KilledError(), "before set_traffic")), None)
    with pytest.raises(RefusedError, match=f"older than {D}, which serves, or is about to"):
        promote(waiting.job(), None)


def test_git_knows_better_than_dates_what_is_newer(site: Site) -> None:
    site.deliver(B)
    site.deploy(A)
    job = site.job(A)
    job.commits = Commits(A, parents={A: B})  # dated earlier, and built on it
    promote(job, None)
    assert site.serving == {A: 100}


def test_a_review_app_is_refused(waiting: Site) -> None:
    with pytest.raises(RefusedError, match="review app"):
        promote(waiting.job(), "mr-7")


def test_a_version_that_is_not_there_is_refused(waiting: Site) -> None:
    with pytest.raises(RefusedError, match=f"there is no version {D}"):
        promote(waiting.job(D), None)


def test_a_split_that_someone_changed_by_hand_meanwhile_is_left(waiting: Site) -> None:
    def at(_: int, call: str) -> None:
        if call == "before write_record" and waiting.serving == {B: 100}:
            waiting.split(a=100)

    job = waiting.job(taps=Taps(at))
    with pytest.raises(RefusedError, match="changed by someone else") as caught:
        promote(job, None)
    assert caught.value.why == f"it was {B} 100 %, and is {A} 100 %"
    assert waiting.serving == {A: 100}
    assert waiting.record.moves[-1].outcome == record.NEVER
    assert job.production.state is State.UNCHANGED


def test_what_someone_moved_by_hand_since_is_not_taken_back(waiting: Site) -> None:
    def at(_: int, call: str) -> None:
        if call == "before public":
            waiting.split(a=100)

    job = waiting.job(taps=Taps(at))
    with pytest.raises(AlarmError, match="someone else has moved the traffic"):
        promote(job, None)
    assert waiting.serving == {A: 100}
    assert A in str(job.production)


def test_a_split_that_someone_changes_before_it_is_restored_is_left(waiting: Site) -> None:
    waiting.broken.add(C)

    def at(_: int, call: str) -> None:
        if call == "before write_record" and waiting.serving == {C: 100}:
            waiting.split(a=100)

    with pytest.raises(AlarmError, match="so it was left"):
        promote(waiting.job(taps=Taps(at)), None)
    assert waiting.serving == {A: 100}
    assert waiting.story[-1][2] == record.FAILED


def test_failing_to_move_back_calls_for_a_person(waiting: Site) -> None:
    waiting.broken.add(C)
    seen: list[str] = []

    def at(_: int, call: str) -> None:
        seen.append(call)
        if call == "before set_traffic" and seen.count(call) == 2:
            raise CommandError("moving the traffic", why="no network")

    job = waiting.job(taps=Taps(at))
    with pytest.raises(AlarmError, match="failed too") as caught:
        promote(job, None)
    assert "no network" in caught.value.why
    assert job.production.state is State.CHANGED
    assert waiting.story[-1][2] == record.FAILED


def test_moving_back_that_may_land_later_stays_open_in_the_record(waiting: Site) -> None:
    waiting.broken.add(C)
    seen: list[str] = []

    def at(_: int, call: str) -> None:
        seen.append(call)
        if call == "before set_traffic" and seen.count(call) == 2:
            raise UnsettledError("moving the traffic: it is still under way")

    with pytest.raises(AlarmError, match="failed too"):
        promote(waiting.job(taps=Taps(at)), None)
    assert waiting.record.moves[-1].outcome == record.RESTORING
    waiting.split(b=100)  # it lands
    waiting.deliver(D)
    assert [outcome for _, _, outcome in waiting.story[-2:]] == [record.RESTORED, record.HEALTHY]


def test_a_move_that_was_refused_leaves_production_and_says_so(waiting: Site) -> None:
    job = waiting.job(taps=raising(CommandError("no", why="403"), "before set_traffic"))
    with pytest.raises(CommandError):
        promote(job, None)
    assert job.production.state is State.UNCHANGED
    assert waiting.record.moves[-1].outcome == record.NEVER


def test_a_move_that_met_another_operation_is_tried_again(waiting: Site) -> None:
    promote(waiting.job(taps=raising(transient(), "before set_traffic", 2)), None)
    assert waiting.serving == {C: 100}
    assert "409: another operation is under way; trying again in 2 s" in waiting.said


def test_trying_again_comes_to_an_end(waiting: Site) -> None:
    job = waiting.job(taps=raising(transient(), "before set_traffic", 99))
    with pytest.raises(CommandError):
        promote(job, None)
    assert waiting.serving == {B: 100}
    assert job.production.state is State.UNCHANGED


def test_a_move_that_may_land_later_is_not_called_unchanged(waiting: Site) -> None:
    job = waiting.job(taps=raising(UnsettledError("still under way"), "before set_traffic"))
    with pytest.raises(AlarmError, match="is not known yet") as caught:
        promote(job, None)
    assert caught.value.exit_code == 5
    assert job.production.state is State.UNKNOWN
    assert waiting.record.pending is not None


def test_once_it_has_landed_a_repeat_settles_it(waiting: Site) -> None:
    with pytest.raises(AlarmError):
        promote(waiting.job(taps=raising(UnsettledError("under way"), "after set_traffic")), None)
    job = waiting.job(taps=raising(UnsettledError("under way"), "before settle"))
    with pytest.raises(AlarmError, match="not known yet"):
        promote(job, None)
    assert job.production.state is State.UNKNOWN
    promote(waiting.job(), None)
    assert waiting.story[-1] == ("promote", {C: 100}, record.HEALTHY)


def test_a_record_that_cannot_be_written_before_the_move_stops_it(waiting: Site) -> None:
    with pytest.raises(RecordError):
        promote(waiting.job(taps=raising(CommandError("503"), "before write_record")), None)
    assert waiting.serving == {B: 100}


def out_of_order_after_the_move() -> Taps:
    moved: list[str] = []

    def at(_: int, call: str) -> None:
        if call == "after set_traffic":
            moved.append(call)
        if moved and call in {"before write_record", "before read_record"}:
            raise CommandError("the record is out of order")

    return Taps(at)


def test_a_record_that_cannot_be_written_after_the_move_only_warns(waiting: Site) -> None:
    assert promote(waiting.job(taps=out_of_order_after_the_move()), None) == PUBLIC
    assert "The record could not be written" in waiting.said
    promote(waiting.job(), None)
    assert waiting.story[-1] == ("promote", {C: 100}, record.HEALTHY)


def test_production_that_fails_is_restored_without_the_record_too(waiting: Site) -> None:
    waiting.broken.add(C)
    with pytest.raises(RestoredError):
        promote(waiting.job(taps=out_of_order_after_the_move()), None)
    assert waiting.serving == {B: 100}


def test_production_that_cannot_be_looked_at_after_the_move_calls_for_a_person(
    waiting: Site,
) -> None:
    waiting.broken.add(C)

    def at(_: int, call: str) -> None:
        if call == "before serving" and waiting.serving == {C: 100}:
            raise CommandError("looking at the traffic", why="no network")

    job = waiting.job(taps=Taps(at))
    with pytest.raises(AlarmError, match="could not be looked after") as caught:
        promote(job, None)
    assert "no network" in caught.value.why
    assert job.production.state is State.CHANGED


def test_a_record_that_changes_all_the_time_is_given_up_on(waiting: Site) -> None:
    taps = raising(ConflictError("again"), "before write_record", 99)
    with pytest.raises(RefusedError, match="someone else is moving the traffic"):
        promote(waiting.job(taps=taps), None)
    assert waiting.serving == {B: 100}


@pytest.mark.parametrize("error", [CommandError("403"), UnsettledError("slow")])
def test_a_newer_move_that_was_overwritten_and_stays_so_calls_for_a_person(
    waiting: Site, error: CommandError
) -> None:
    waiting.deploy(D)
    seen: list[str] = []

    def at(_: int, call: str) -> None:
        seen.append(call)
        if call == "before set_traffic":
            if seen.count(call) == 1:
                promote(waiting.job(D), None)
            else:
                raise error

    job = waiting.job(taps=Taps(at))
    with pytest.raises(AlarmError, match="could not be put right"):
        promote(job, None)
    assert job.production.state is State.CHANGED


@pytest.mark.parametrize("busy", [1, 99])
def test_putting_a_newer_move_right_is_tried_again_but_not_for_ever(
    waiting: Site, busy: int
) -> None:
    waiting.deploy(D)
    seen: list[str] = []

    def at(_: int, call: str) -> None:
        seen.append(call)
        if call == "before set_traffic":
            if seen.count(call) == 1:
                promote(waiting.job(D), None)
            elif seen.count(call) < 2 + busy:
                raise transient()

    expected = RefusedError if busy == 1 else AlarmError
    with pytest.raises(expected):
        promote(waiting.job(taps=Taps(at)), None)
    assert waiting.serving == ({D: 100} if busy == 1 else {C: 100})


def test_a_dry_run_shows_the_move_and_records_nothing(waiting: Site) -> None:
    before = waiting.record
    job = waiting.job(dry_run=True)
    assert promote(job, None) == PUBLIC
    assert waiting.results.getvalue() == f'split the traffic: {{"{C}": 100.0}}\n'
    assert (waiting.serving, waiting.record) == ({B: 100}, before)
    assert job.production.state is State.UNCHANGED


def test_an_unreadable_record_stops_it(waiting: Site) -> None:
    waiting.write_record("not a record")
    with pytest.raises(DeliveryError, match="the record of deliveries cannot be read"):
        promote(waiting.job(), None)
    assert waiting.serving == {B: 100}
