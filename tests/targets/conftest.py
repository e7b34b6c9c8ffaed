"""A target after its first delivery, for the tests of all targets."""

from collections.abc import Iterator

import pytest

from tests.targets.scenes import delivered, start_over
from tests.targets.world import World


@pytest.fixture(scope="session")
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A target of which the first delivery was made, for all tests of a session."""
    with delivered(request.param, tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def world(opened: World) -> World:
    """The target as it was after its first delivery: one version, all traffic, no fault."""
    start_over(opened)
    return opened
