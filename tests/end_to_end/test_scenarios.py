"""What goes wrong on real days, as a table: each scenario with each target, at random moments.

A run takes a sample; SCENARIOS=all, as every night, takes all of them. The moments come from a
seed, which the name of the test has: `-k seed3` repeats it.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable

import pytest
from delivery import record

from tests.end_to_end.product import Product, a_job
from tests.support.clone import FAILS, ended, wait_until
from tests.support.visitors import Load

pytestmark = [pytest.mark.delivery, pytest.mark.scenario]

SEEDS = range(1, 7)
SAMPLE = 10
Scenario = Callable[[Product, random.Random], None]


def kill_and_repeat(verb: str) -> Scenario:
    """Kill a verb at a random moment, run it again; the end must be that of one clean run."""

    def scenario(product: Product, moments: random.Random) -> None:
        command, expected, codes = prepare(product, verb)
        with Load(product.gae, visitors=2) as load:
            for _ in range(2):
                interrupt(product, moments.uniform(0.05, 2.5), *command)
                assert sum(product.gae.traffic.values()) == pytest.approx(1)
            outcome = product.deliver(*command, **a_job(product))
        assert outcome.code in codes, outcome.said
        assert load.lost == []
        assert state(product) == expected, outcome.said
        agree(product)

    return scenario


def at_once(*verbs: str) -> Scenario:
    """Run verbs at the same time; the record must tell the truth, and the newest commit win."""

    def scenario(product: Product, moments: random.Random) -> None:
        versions = [product.copy(5), product.copy(6)]
        processes = []
        with Load(product.gae, visitors=2) as load:
            for number, verb in enumerate(verbs):
                argument = [versions[number]] if verb == "promote" else []
                processes.append(product.start(verb, *argument))
                pause(moments.uniform(0, 1.2))
            said = [ended(process) for process in processes]
        assert load.lost == []
        assert set(product.gae.traffic.values()) == {1.0}, said
        if set(verbs) == {"promote"}:
            assert product.gae.traffic == {versions[-1]: 1.0}, said
        agree(product)

    return scenario


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
    **{
        f"kill {verb}": kill_and_repeat(verb)
        for verb in ("deploy", "verify", "promote", "canary", "rollback", "prune", "stop")
    },
    "two promotions": at_once("promote", "promote"),
    "promotion and rollback": at_once("promote", "rollback"),
    "two rollbacks": at_once("rollback", "rollback"),
    "promotion and prune": at_once("promote", "prune"),
    **{f"late, {status}": late(status, lost=False) for status in (429, 400, 403, 404)},
    "late, answer lost": late(503, lost=True),
    "production crashes": crash_in_production(),
}


def seeded(text: str) -> random.Random:
    """Return moments that are the same in every run."""
    return random.Random(text)  # noqa: S311 - nothing secret


def rows() -> list[tuple[str, int]]:
    """Return the rows of the table that this run takes."""
    table = [(name, seed) for name in SCENARIOS for seed in SEEDS]
    if os.environ.get("SCENARIOS") == "all":
        return table
    return sorted(seeded("the sample").sample(table, SAMPLE))


@pytest.mark.parametrize("target", ["app-engine"])
@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(*row, id=f"{row[0]}-seed{row[1]}", marks=pytest.mark.xdist_group(group))
        for row, group in zip(rows(), ["delivery-1", "delivery-2"] * 500, strict=False)
    ],
)
def test_scenario(product: Product, name: str, seed: int, target: str) -> None:
    assert target == "app-engine"
    SCENARIOS[name](product, seeded(f"{name} {seed}"))


# Helpers of the scenarios


def prepare(product: Product, verb: str) -> tuple[list[str], object, set[int]]:
    """Bring about what a verb can work on; return the command, the end state, the exit codes."""
    gae, first = product.gae, product.first
    if verb == "deploy":
        version = product.commit({"app/static/new.txt": f"never uploaded: {time.time_ns()}"})
        return ["deploy"], ({first: 1.0}, [first, version]), {0}
    if verb in ("promote", "canary"):
        version = product.copy(5)
        share = ["--canary", "20"] if verb == "canary" else []
        split = {first: 0.8, version: 0.2} if share else {version: 1.0}
        return ["promote", version, *share], (split, sorted([first, version])), {0}
    if verb == "rollback":
        oldest, bad = product.copy(-5), product.copy(5)
        gae.admin.reset({bad: 1.0}, {oldest, first, bad})
        product.remember(*(("promote", {v: 100.0}, "healthy") for v in (oldest, first, bad)))
        return ["rollback"], ({first: 1.0}, sorted([oldest, first, bad])), {0}
    if verb == "prune":
        older = [product.copy(minutes) for minutes in (-3, -2, -1)]
        product.remember(*(("promote", {v: 100.0}, "healthy") for v in (*older, first)))
        return ["prune", "--keep", "1"], ({first: 1.0}, sorted([older[2], first])), {0}
    if verb == "stop":
        gae.copy_version(first, "mr-7")
        return ["stop", "7"], ({first: 1.0}, [first]), {0}
    broken = product.copy(5, **FAILS)
    return ["verify", broken, "--timeout", "1"], ({first: 1.0}, [first]), {1, 3}


def state(product: Product) -> tuple[dict[str, float], list[str]]:
    return product.gae.traffic, sorted(product.gae.versions)


def agree(product: Product) -> None:
    """See that the record says what serves, and that `status` and `log` read it."""
    known = product.record()
    assert known.pending is None, record.dump(known)
    serving = {version: share * 100 for version, share in product.gae.traffic.items()}
    assert known.serving is not None
    assert {v: pytest.approx(s) for v, s in known.serving.items()} == serving, record.dump(known)
    assert "without these commands" not in product.must("status").err


def interrupt(product: Product, seconds: float, *command: str) -> None:
    """Kill a verb after so many seconds, if it has not ended by then; nothing of it may stay."""
    with product.start(*command, **a_job(product)) as process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    wait_until(lambda: product.left_over() == [])


def pause(seconds: float) -> None:
    """Let another run come so far: the moment is what the scenario is about."""
    subprocess.run(["sleep", f"{seconds:.3f}"], check=True)
