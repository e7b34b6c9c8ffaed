"""What Google does on real days, as a table, at random moments."""

import random
from collections.abc import Callable

import pytest
from delivery import record

from tests.end_to_end.product import Product
from tests.support.clone import wait_until
from tests.support.sample import scenarios, seeded

pytestmark = [
    pytest.mark.delivery,
    pytest.mark.scenario,
    pytest.mark.xdist_group("delivery-1"),
]

Scenario = Callable[[Product, random.Random], None]


def late(status: int, *, lost: bool) -> Scenario:
    """Let the traffic move late, and the question how it goes fail: no wrong word is said of it."""

    def scenario(product: Product, moments: random.Random) -> None:
        version = product.copy(5)
        product.gae.admin.latency = moments.uniform(0.5, 4)
        if lost:
            product.gae.drop_next("PATCH", "/services/default", applied=True)
        product.gae.fail_next("GET", "/operations/", status, times=moments.randint(1, 3))
        outcome = product.deliver("promote", version, "--timeout", "20")
        assert outcome.code in (0, 5), outcome.said
        if outcome.code == 5:
            assert "not known" in outcome.err
        wait_until(lambda: product.gae.traffic == {version: 1.0})
        product.must("promote", version)
        agree(product)

    return scenario


def crash_in_production() -> Scenario:
    """Let production fail after the move, while visitors come: the traffic is moved back."""

    def scenario(product: Product, moments: random.Random) -> None:
        version = product.copy(5)
        product.gae.front.faults.fail_next("GET", "/health", 500, times=10_000)
        arguments = ["--canary", "20"] if moments.random() < 0.5 else []
        restored = product.deliver("promote", version, *arguments, "--timeout", "2")
        product.gae.heal()
        assert restored.code == 4, restored.said
        assert product.gae.traffic == {product.first: 1.0}
        agree(product)

    return scenario


SCENARIOS: dict[str, Scenario] = {
    **{f"late, {status}": late(status, lost=False) for status in (429, 400, 403, 404)},
    "late, answer lost": late(503, lost=True),
    "production crashes": crash_in_production(),
}


@scenarios(SCENARIOS, 4)
def test_scenario(product: Product, name: str, seed: str) -> None:
    SCENARIOS[name](product, seeded(f"{name} {seed}"))


def agree(product: Product) -> None:
    """See that the record says what serves, and that `status` and `log` read it."""
    known = product.record()
    assert known.pending is None, record.dump(known)
    serving = {version: share * 100 for version, share in product.gae.traffic.items()}
    assert known.serving is not None
    assert {v: pytest.approx(s) for v, s in known.serving.items()} == serving, record.dump(known)
    assert "without these commands" not in product.must("status").err
