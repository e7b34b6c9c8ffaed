"""Fixtures for tests of deliveries."""

from collections.abc import Iterator

import pytest

from emulators.appengine import AppEngine
from tests.end_to_end.product import Product, new_product


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A project after its first delivery, for all tests that one worker runs."""
    with AppEngine(deadline=5) as gae:
        product = new_product(tmp_path_factory.mktemp("product"), gae)
        for verb in ("deploy", "verify", "promote"):
            product.must(verb)
        yield product


@pytest.fixture
def product(delivered: Product) -> Iterator[Product]:
    """The project as it was after its first delivery: one version, all traffic, no fault."""
    delivered.gae.reset(delivered.first)
    delivered.remember(("promote", {delivered.first: 100}, "healthy"))
    delivered.git(
        "reset", "--quiet", "--hard", delivered.git("rev-list", "--max-parents=0", "HEAD")
    )
    delivered.git("clean", "--quiet", "-dfx", "--exclude=__pycache__")
    yield delivered
    delivered.gae.heal()
    assert delivered.gae.unmodelled == [], "delivery asks for more than the emulator models"
