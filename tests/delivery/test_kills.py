"""A verb that is killed at any moment, and then repeated, ends as if it had run once."""

from collections.abc import Callable
from typing import Any

import pytest
from delivery import record
from delivery.deploy import deploy
from delivery.errors import DeliveryError
from delivery.promote import promote
from delivery.prune import prune
from delivery.review import review
from delivery.rollback import rollback
from delivery.stop import stop
from delivery.verify import verify

from tests.delivery.bench import A, B, C, D, KilledError, Site, Taps, Verb


def promote_ill(site: Site) -> None:
    site.broken.add(C)


def verify_ill(site: Site) -> None:
    site.ill.add(C)


def canary(site: Site) -> None:
    promote(site.job(), None, canary=10)


def nothing(_: Site) -> None:
    """Leave the site as it is."""


CASES: dict[str, tuple[Callable[[Site], None], Verb]] = {
    "deploy": (nothing, lambda job: deploy(job, D)),
    "verify": (nothing, lambda job: verify(job, None)),
    "verify what is ill": (verify_ill, lambda job: verify(job, None)),
    "promote": (nothing, lambda job: promote(job, None)),
    "promote what fails": (promote_ill, lambda job: promote(job, None)),
    "promote by force": (verify_ill, lambda job: promote(job, None, force=True)),
    "canary": (nothing, lambda job: promote(job, None, canary=10)),
    "canary that fails": (promote_ill, lambda job: promote(job, None, canary=10)),
    "promote after a canary": (canary, lambda job: promote(job, None)),
    "rollback": (nothing, lambda job: rollback(job, None)),
    "rollback from a canary": (canary, lambda job: rollback(job, None)),
    "rollback to a version": (nothing, lambda job: rollback(job, A)),
    "prune": (nothing, lambda job: prune(job, keep=1)),
    "review": (nothing, lambda job: review(job, "7")),
    "stop": (lambda site: site.deploy("mr-7"), lambda job: stop(job, "7")),
}


@pytest.fixture
def delivered(site: Site) -> Site:
    """Return a site on which A and B served, B serves, and C waits."""
    site.deliver("v20261031t100000-00000000", A, B)
    site.deploy(C)
    return site


def end_of(site: Site) -> dict[str, Any]:
    """Describe what a verb leaves behind."""
    known = site.record
    return {
        "serving": site.serving,
        "versions": site.versions,
        "held": set(known.held),
        "according to the record": known.serving,
        "known to have worked": {name for name, _ in known.known_good()},
        "newest move": site.story[-1],
        "open moves": [move for move in known.moves if move.is_open],
    }


def run(site: Site, verb: Verb, taps: Taps | None = None) -> bool:
    """Run a verb as one process would. Return whether it was killed."""
    try:
        verb(site.job(taps=taps))
    except DeliveryError:
        return False
    except KilledError:
        return True
    return False


def killing(moment: int, calls: list[str]) -> Taps:
    def at(now: int, call: str) -> None:
        calls.append(call)
        if now == moment:
            raise KilledError

    return Taps(at)


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_moment_and_repeated_it_ends_as_if_it_had_run_once(
    delivered: Site, case: str
) -> None:
    prepare, verb = CASES[case]
    prepare(delivered)
    once = delivered.copy()
    run(once, verb)
    expected = end_of(once)
    moment, calls = 1, list[str]()
    while run(site := delivered.copy(), verb, killing(moment, calls)):
        assert site.serving, calls[-1]
        run(site, verb)
        if case == "promote by force" and site.story[-1][2] == record.HEALTHY:
            expected["newest move"] = site.story[-1]  # the repeat checks what nobody had checked
        assert end_of(site) == expected, f"killed {calls[-1]}"
        moment, calls = moment + 1, []
    assert moment > 3


def test_killed_twice_a_promotion_still_ends_as_if_it_had_run_once(delivered: Site) -> None:
    def verb(job: Any) -> str:
        return promote(job, None)

    once = delivered.copy()
    run(once, verb)
    for first in range(1, 20, 3):
        for second in range(2, 20, 4):
            site = delivered.copy()
            run(site, verb, killing(first, []))
            run(site, verb, killing(second, []))
            run(site, verb)
            assert end_of(site) == end_of(once), (first, second)


def test_the_first_delivery_killed_at_any_moment_and_repeated_serves(site: Site) -> None:
    for verb in (lambda job: deploy(job, A), lambda job: promote(job, A)):
        moment = 1
        while run(other := site.copy(), verb, killing(moment, [])):
            run(other, verb)
            assert other.serving == {A: 100}
            moment += 1
        run(site, verb)
    assert site.story[-1] == ("promote", {A: 100}, record.HEALTHY)
