"""The emulators that most of these tests share."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from emulators.appengine import AppEngine
from emulators.cloudrun import CloudRun, Snapshot
from tests.emulators.clients import call, deploy
from tests.emulators.cloudrun import body_of, create, push, split


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


@dataclass(frozen=True)
class Deployed:
    """Cloud Run with the service `demo`: revision `demo-one`, tag `one`, has all traffic."""

    cloud: CloudRun
    image: str  # by digest
    start: Snapshot


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """Start one emulator for all tests of one worker that need a container."""
    with CloudRun(deadline=5) as emulator:
        image = push(emulator)
        create(emulator, body_of(image, revision="demo-one"))
        split(
            emulator,
            {"revisionName": "demo-one", "percent": 100},
            {"revisionName": "demo-one", "tag": "one"},
        )
        yield Deployed(emulator, image, emulator.snapshot())


@pytest.fixture
def cloud(deployed: Deployed) -> CloudRun:
    """Return that emulator as it was at the start."""
    deployed.cloud.restore(deployed.start)
    deployed.cloud.requests.clear()
    deployed.cloud.unmodelled.clear()
    return deployed.cloud


@pytest.fixture
def image(deployed: Deployed) -> str:
    """Return the image of tests.emulators.cloudrun.APP, by digest."""
    return deployed.image
