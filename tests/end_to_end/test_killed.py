"""Killed at each step, and run again."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.product import Product, a_job, kill_at
from tests.support.clone import FAILS

pytestmark = pytest.mark.delivery


@pytest.mark.xdist_group("delivery-2")
class TestKilled:
    """By SIGKILL, at each step that changes something, before and after it took effect."""

    @pytest.mark.parametrize(
        ("request_", "verb", "applied"),
        [
            pytest.param(("POST", "/upload/"), "deploy", True, id="uploading"),
            pytest.param(("POST", "/versions"), "deploy", False, id="before deploying"),
            pytest.param(("POST", "/versions"), "deploy", True, id="deploying"),
            pytest.param(("PATCH", "/services/default"), "promote", False, id="before promoting"),
            pytest.param(("PATCH", "/services/default"), "promote", True, id="promoting"),
            pytest.param(("PATCH", "/services/default"), "rollback", True, id="rolling back"),
            pytest.param(("DELETE", "/versions/"), "prune", True, id="pruning"),
            pytest.param(("DELETE", "/versions/"), "stop", True, id="stopping a review"),
            pytest.param(("DELETE", "/versions/"), "verify", False, id="before deleting"),
            pytest.param(("DELETE", "/versions/"), "verify", True, id="deleting what failed"),
        ],
    )
    def test_the_same_command_finishes_the_work(
        self, product: Product, request_: tuple[str, str], verb: str, applied: bool
    ) -> None:
        command, done = prepare(product, verb)
        gate = product.gae.hold_next(*request_, applied=applied)
        kill_at(product, gate, *command)
        assert sum(product.gae.traffic.values()) == pytest.approx(1)
        outcome = product.deliver(*command, **a_job(product))
        # Repeated, `verify` finds that the failed version is gone, and must not call that success.
        gone = {3} if verb == "verify" and applied else {1} if verb == "verify" else {0}
        assert outcome.code in gone, outcome.said
        assert done()

    def test_a_build_that_google_still_runs_is_no_obstacle(self, product: Product) -> None:
        version = product.commit()
        product.gae.admin.latency = 4
        gate = product.gae.hold_next("GET", "/operations/")
        kill_at(product, gate, "deploy")
        product.must("deploy")
        assert version in product.gae.versions
        assert product.gae.traffic == {product.first: 1.0}

    def test_politely_it_ends_with_the_state_of_production(self, product: Product) -> None:
        version = product.copy(5)
        gate = product.gae.hold_next("PATCH", "/services/default")
        with product.start("promote", version, **a_job(product)) as process:
            assert gate.reached()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
        gate.release()
        assert process.returncode == 128 + signal.SIGTERM
        assert "production:" in err
        product.expect_no_credential(err)
        assert product.left_over() == []


def prepare(product: Product, verb: str) -> tuple[list[str], Callable[[], bool]]:
    """Bring about what a verb can work on; give the command, and what is true once it is done."""
    gae, first = product.gae, product.first
    if verb == "deploy":
        version = product.commit({"app/static/new.txt": f"never uploaded: {time.time_ns()}"})
        return ["deploy"], lambda: gae.versions == [first, version] and gae.traffic == {first: 1}
    if verb == "promote":
        version = product.copy(5)
        return ["promote", version], lambda: gae.traffic == {version: 1}
    if verb == "rollback":
        bad = product.copy(5)
        oldest = product.copy(-5)
        gae.admin.reset({bad: 1.0}, {oldest, first, bad})
        product.remember(*(("promote", {v: 100.0}, "healthy") for v in (oldest, first, bad)))
        return ["rollback"], lambda: gae.traffic == {first: 1}
    if verb == "prune":
        older = [product.copy(minutes) for minutes in (-3, -2, -1)]
        product.remember(*(("promote", {v: 100.0}, "healthy") for v in (*older, first)))
        return ["prune", "--keep", "1"], lambda: gae.versions == [first, older[2]]
    if verb == "stop":
        gae.copy_version(first, "mr-7")
        return ["stop", "7"], lambda: gae.versions == [first]
    broken = product.copy(5, **FAILS)
    return ["verify", broken, "--timeout", "1"], lambda: gae.versions == [first]
