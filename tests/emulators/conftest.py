"""The emulator that most of these tests share."""

from collections.abc import Iterator

import pytest

from emulators.appengine import AppEngine
from tests.emulators.clients import call, deploy


@pytest.fixture(scope="module")
def served() -> Iterator[AppEngine]:
    """Start one emulator for a module, with the versions `one` (all traffic) and `two`."""
    with AppEngine(deadline=5) as emulator:
        assert deploy(emulator, "one")[0] == 200
        assert deploy(emulator, "two")[0] == 200
        yield emulator


@pytest.fixture
def gae(served: AppEngine) -> Iterator[AppEngine]:
    """Return the emulator; faults and moves of traffic end with the test."""
    yield served
    served.heal()
    split = {"split": {"allocations": {"one": 1.0}}}
    path = "v1/apps/demo-project/services/default?updateMask=split"
    assert call(served, "PATCH", path, split)[0] == 200
