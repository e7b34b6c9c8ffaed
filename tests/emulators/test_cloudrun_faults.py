"""What a test can plant between a client and Cloud Run's emulator."""

from collections.abc import Iterator

import pytest

from emulators.cloudrun import CloudRun, Snapshot
from tests.emulators.cloudrun import (
    DEMO,
    body_of,
    call,
    condition,
    create,
    get,
    replace,
    shown,
    split,
)

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("cloudrun-faults")]

ONE = {"revisionName": "demo-one", "percent": 100}
TWO = {"revisionName": "demo-two", "percent": 100}


@pytest.fixture(scope="module")
def began() -> Iterator[tuple[CloudRun, Snapshot]]:
    """Start one emulator with two revisions of Google's sample image."""
    with CloudRun() as emulator:
        create(emulator, body_of(revision="demo-one"))
        replace(emulator, body_of(revision="demo-two", env={"A": "2"}, traffic=[ONE]))
        yield emulator, emulator.snapshot()


@pytest.fixture
def cloud(began: tuple[CloudRun, Snapshot]) -> CloudRun:
    """Return that emulator, as it was at the start."""
    emulator, start = began
    emulator.restore(start)
    return emulator


def test_the_status_may_lag_behind_the_spec(cloud: CloudRun) -> None:
    gate = cloud.run.hold_next()
    service = split(cloud, TWO, settle=False)
    assert service["spec"]["traffic"] == [TWO]
    assert service["status"]["traffic"] == [ONE]
    assert service["status"]["observedGeneration"] < service["metadata"]["generation"]
    assert gate.reached()
    gate.release()
    cloud.run.settle()
    assert shown(cloud)["status"]["traffic"] == [TWO]


def test_a_change_may_take_a_while(cloud: CloudRun) -> None:
    cloud.run.latency = 0.3
    assert split(cloud, TWO, settle=False)["status"]["traffic"] == [ONE]
    cloud.run.settle()
    assert shown(cloud)["status"]["traffic"] == [TWO]


def test_of_two_changes_the_later_one_comes_about(cloud: CloudRun) -> None:
    gate = cloud.run.hold_next()
    split(cloud, TWO, settle=False)
    half = [{**ONE, "percent": 50}, {**TWO, "percent": 50}]
    split(cloud, *half, settle=False)
    gate.release()
    cloud.run.settle()
    assert cloud.service.shares == {"demo-one": 50, "demo-two": 50}


def test_a_change_may_never_come_about(cloud: CloudRun) -> None:
    cloud.run.refuse_next("Internal error while routing.", "Internal")
    service = split(cloud, TWO)
    assert service["spec"]["traffic"] == [TWO]
    assert service["status"]["traffic"] == [ONE]
    assert condition(service)["message"] == "Internal error while routing."
    assert condition(service, "RoutesReady")["reason"] == "Internal"
    assert condition(service, "ConfigurationsReady")["status"] == "True"
    assert cloud.service.shares == {"demo-one": 100}
    assert condition(split(cloud, TWO))["status"] == "True", "asked for anew, it does"


def test_an_answer_may_be_lost_after_it_took_effect(cloud: CloudRun) -> None:
    cloud.drop_next("PUT", DEMO, applied=True)
    body = shown(cloud)
    body["spec"]["traffic"] = [TWO]
    with pytest.raises(OSError, match="closed connection"):
        call(cloud, "PUT", DEMO, body)
    cloud.run.settle()
    assert cloud.service.shares == {"demo-two": 100}


@pytest.mark.parametrize("status", [409, 500, 503])
def test_an_error_is_answered_once(cloud: CloudRun, status: int) -> None:
    cloud.fail_next("PUT", DEMO, status)
    body = shown(cloud)
    body["spec"]["traffic"] = [TWO]
    assert call(cloud, "PUT", DEMO, body)[0] == status
    assert cloud.service.shares == {"demo-one": 100}
    assert call(cloud, "PUT", DEMO, body)[0] == 200


def test_the_public_address_fails_alone(cloud: CloudRun) -> None:
    split(cloud, ONE, {"revisionName": "demo-one", "tag": "one"})
    cloud.front.faults.fail_next("GET", "/health", 500)
    assert get(cloud, cloud.version_url("one"), "/health")[0] == 200
    assert get(cloud, cloud.url, "/health")[0] == 500


def test_a_restored_emulator_has_no_fault(cloud: CloudRun) -> None:
    start = cloud.snapshot()
    gate = cloud.run.hold_next()
    split(cloud, TWO, settle=False)
    cloud.run.hold_next()
    cloud.run.refuse_next("No.")
    cloud.fail_next("GET", DEMO, 500)
    gate.release()
    cloud.restore(start)
    assert shown(cloud)["spec"]["traffic"] == [ONE]
    assert condition(split(cloud, TWO))["status"] == "True"
    assert cloud.service.shares == {"demo-two": 100}
