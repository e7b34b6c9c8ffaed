"""Two verbs at once: whatever the moment, one end is right and the record tells the truth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from delivery import record
from delivery.errors import DeliveryError, RefusedError
from delivery.promote import promote
from delivery.rollback import rollback

from tests.delivery.bench import A, B, C, D, KilledError, Site, Taps, Verb


def promotion(version: str, canary: int | None = None) -> Verb:
    return lambda job: promote(job, version, canary=canary)


def going_back(version: str | None = None) -> Verb:
    return lambda job: rollback(job, version)


@pytest.fixture
def delivered(site: Site) -> Site:
    """Return a site on which A and B served, B serves, and C and D wait."""
    site.deliver(A, B)
    site.deploy(C, D)
    return site


def interleaved(
    delivered: Site, first: Verb, second: Verb
) -> Iterator[tuple[str, Site, list[DeliveryError | None]]]:
    """Run the second verb to its end at each moment of the first; yield what came of it."""
    moment = 1
    while True:
        site = delivered.copy()
        step_in = StepIn(moment, site, second)
        end = outcome(site, first, Taps(step_in))
        if not step_in.where:
            return
        yield f"{moment}, {step_in.where}", site, [step_in.end, end]
        moment += 1


@dataclass
class StepIn:
    """Runs a verb to its end at one moment of another verb."""

    moment: int
    site: Site
    verb: Verb
    where: str = ""
    end: DeliveryError | None = None

    def __call__(self, moment: int, call: str) -> None:
        if moment == self.moment:
            self.where = call
            self.end = outcome(self.site, self.verb)


def outcome(site: Site, verb: Verb, taps: Taps | None = None) -> DeliveryError | None:
    try:
        verb(site.job(taps=taps, who="bob" if taps else "ada"))
    except DeliveryError as error:
        return error
    return None


def assert_told_truly(site: Site, where: str) -> None:
    assert site.record.serving == site.serving, where
    assert site.record.pending is None, where


@pytest.mark.parametrize(
    ("first", "second"), [(C, D), (D, C)], ids=["older is overtaken", "newer is interfered with"]
)
@pytest.mark.parametrize("canary", [None, 10])
def test_of_two_promotions_the_newer_version_wins(
    delivered: Site, first: str, second: str, canary: int | None
) -> None:
    for where, site, _ in interleaved(delivered, promotion(first), promotion(second, canary)):
        if canary and second == D and D in site.serving and len(site.serving) > 1:
            assert site.serving[D] == 10, where
        elif canary is None or second == C:
            assert site.serving == {D: 100}, where
        assert_told_truly(site, where)


def test_two_promotions_of_one_version_end_well(delivered: Site) -> None:
    for where, site, ends in interleaved(delivered, promotion(C), promotion(C)):
        assert site.serving == {C: 100}, where
        assert all(end is None or isinstance(end, RefusedError) for end in ends), where
        assert_told_truly(site, where)


def test_a_newer_promotion_that_fails_leaves_a_version_that_works(delivered: Site) -> None:
    delivered.broken.add(D)
    for first, second in ((C, D), (D, C)):
        for where, site, _ in interleaved(delivered, promotion(first), promotion(second)):
            assert not {D} & {*site.serving}, where
            assert_told_truly(site, where)


def test_an_older_promotion_that_fails_does_not_take_the_newer_one_back(delivered: Site) -> None:
    delivered.broken.add(C)
    for first, second in ((C, D), (D, C)):
        for where, site, _ in interleaved(delivered, promotion(first), promotion(second)):
            assert site.serving == {D: 100}, where
            assert_told_truly(site, where)


@pytest.mark.parametrize("back", [None, A])
def test_a_promotion_and_a_rollback_do_not_mix(delivered: Site, back: str | None) -> None:
    verbs = promotion(C), going_back(back)
    for first, second in (verbs, verbs[::-1]):
        for where, site, _ in interleaved(delivered, first, second):
            assert len(site.serving) == 1, where
            assert_told_truly(site, where)


def test_two_rollbacks_at_once_go_back_once(delivered: Site) -> None:
    delivered.deliver(C)
    for where, site, _ in interleaved(delivered, going_back(), going_back()):
        assert site.serving == {B: 100}, where
        assert_told_truly(site, where)


def test_who_was_overtaken_is_told_so_and_finds_production_as_the_other_left_it(
    delivered: Site,
) -> None:
    ends = [
        (where, end) for where, _, (_, end) in interleaved(delivered, promotion(C), promotion(D))
    ]
    late = [end for where, end in ends if "before set_traffic" in where]
    assert len(late) == 1
    assert isinstance(late[0], RefusedError)
    assert "someone else is moving the traffic" in late[0].what
    assert ends[-1][1] is None  # by then the first had ended, and had been right
    assert {type(end) for _, end in ends} == {RefusedError, type(None)}


def test_no_move_is_left_open(delivered: Site) -> None:
    for _, site, _ in interleaved(delivered, promotion(C), promotion(D)):
        assert record.MOVING not in {move.outcome for move in site.record.moves}


def stepping_in(call: str, action: Callable[[], object]) -> Taps:
    """Do something the first time that a call is passed."""
    left = [action]

    def at(_: int, now: str) -> None:
        if now == call and left:
            left.pop()()

    return Taps(at)


def killed_before_the_move(site: Site, version: str) -> None:
    def killed() -> None:
        raise KilledError

    with pytest.raises(KilledError):
        promote(site.job(version, taps=stepping_in("before set_traffic", killed)), None)


def test_who_was_overtaken_before_the_move_sends_nothing(delivered: Site) -> None:
    taps = stepping_in("after write_record", lambda: killed_before_the_move(delivered, D))
    with pytest.raises(RefusedError, match="someone else is moving the traffic"):
        promote(delivered.job(taps=taps), None)
    assert delivered.serving == {B: 100}


def test_a_newer_move_that_starts_from_ours_is_left_to_its_run(delivered: Site) -> None:
    taps = stepping_in("after set_traffic", lambda: killed_before_the_move(delivered, D))
    with pytest.raises(RefusedError, match="someone else is moving the traffic"):
        promote(delivered.job(taps=taps), None)
    assert delivered.serving == {C: 100}


def test_a_request_of_an_older_run_that_lands_late_does_not_stop_the_newer_one(
    delivered: Site,
) -> None:
    killed_before_the_move(delivered, C)
    taps = stepping_in("after write_record", lambda: delivered.split(c=100))
    promote(delivered.job(D, taps=taps), None)
    assert delivered.serving == {D: 100}
    assert_told_truly(delivered, "late")
