"""Waiting for what App Engine does after it has answered."""

from typing import Any

import pytest
from delivery.appengine import operations
from delivery.appengine.operations import Operations
from delivery.errors import CommandError, UnsettledError
from delivery.google.rest import ApiError, Rest

from tests.delivery.machine import Google, Machine, lost, refused

NAME = "apps/demo/operations/1"
RUNNING = {"name": NAME}
DONE = {"name": NAME, "done": True}
FAILED = {"name": NAME, "done": True, "error": {"code": 9, "message": "it has traffic"}}
RESOURCE = "apps/demo/services/default"
FAILURES = [refused(400), refused(403), refused(404), refused(429), refused(503), lost()]


@pytest.fixture
def waiting(machine: Machine, google: Google) -> Operations:
    assert google.asked == []
    machine.stop_the_clock()
    api = Rest(str, {}, clock=machine.clock, sleep=machine.clock.sleep)
    return Operations(api, machine.runner, "v1/apps/demo", "roles/x")


def elapsed(machine: Machine) -> float:
    return machine.clock.now - 1000


def test_what_is_done_at_once_is_not_asked_for(waiting: Operations, google: Google) -> None:
    waiting.wait(DONE, "moving")
    assert google.asked == []


def test_an_operation_is_waited_for(waiting: Operations, google: Google, machine: Machine) -> None:
    google.script(*[(NAME, RUNNING)] * 9, (NAME, DONE))
    waiting.wait(RUNNING, "moving")
    assert set(google.asked) == {f"GET https://appengine.googleapis.com/v1/{NAME}"}
    assert machine.clock.pauses[:3] == [0.2, 0.4, 0.8]
    assert max(machine.clock.pauses) == 5
    assert "... moving (" in machine.said


@pytest.mark.parametrize("operation", [RUNNING, FAILED])
def test_an_operation_that_failed_says_why(
    waiting: Operations, google: Google, operation: dict[str, Any]
) -> None:
    google.script((NAME, FAILED))
    with pytest.raises(CommandError) as caught:
        waiting.wait(operation, "moving")
    assert not isinstance(caught.value, UnsettledError)
    assert not caught.value.transient
    assert caught.value.why == "it has traffic"


def test_an_operation_that_failed_in_silence_has_failed(waiting: Operations) -> None:
    with pytest.raises(CommandError, match="moving") as caught:
        waiting.wait({"done": True, "error": {"code": 13}}, "moving")
    assert caught.value.why == "it failed"


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_question_that_fails_does_not_end_the_operation(
    waiting: Operations, google: Google, failure: ApiError
) -> None:
    google.script((NAME, failure), (NAME, failure), (NAME, RUNNING), (NAME, DONE))
    waiting.wait(RUNNING, "moving")
    assert google.answers == [(NAME, DONE)]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_when_every_question_fails_the_end_is_not_known(
    waiting: Operations, google: Google, machine: Machine, failure: ApiError
) -> None:
    google.script((NAME, failure))
    with pytest.raises(UnsettledError) as caught:
        waiting.wait(RUNNING, "moving")
    assert caught.value.why == failure.message
    assert elapsed(machine) < operations.PATIENCE + 70, "the last question has its own patience"
    assert failure.message in machine.said


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_when_every_question_fails_one_may_see_for_oneself(
    waiting: Operations, google: Google, failure: ApiError
) -> None:
    google.script((NAME, failure))
    looks = iter([False, True])
    waiting.wait(RUNNING, "moving", happened=lambda: next(looks))
    assert list(looks) == []


def test_an_operation_without_an_end_is_not_known_to_have_ended(
    waiting: Operations, google: Google, machine: Machine
) -> None:
    google.script((NAME, refused(400)), (NAME, RUNNING))
    with pytest.raises(UnsettledError, match="moving: it is still under way after") as caught:
        waiting.wait(RUNNING, "moving")
    assert caught.value.why == "", "the trouble has passed"
    assert operations.PATIENCE < elapsed(machine) < operations.PATIENCE + 10


def listed(*targets: str, **more: object) -> dict[str, Any]:
    return {"operations": [{"name": NAME, "metadata": {"target": t}} | more for t in targets]}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"operations": []},
        {"operations": [{"name": NAME}]},
        listed("apps/demo/services/web"),
        listed(f"{RESOURCE}/versions/v1"),
        listed(RESOURCE, done=True),
    ],
)
def test_what_concerns_others_is_not_waited_for(
    waiting: Operations, google: Google, answer: dict[str, Any]
) -> None:
    google.script(("/operations", answer))
    waiting.settle(RESOURCE)
    assert google.asked == [
        (
            "GET https://appengine.googleapis.com/v1/apps/demo/operations"
            "?filter=done%3Afalse&pageSize=100"
        )
    ]


def test_what_is_under_way_is_waited_for(
    waiting: Operations, google: Google, machine: Machine
) -> None:
    busy = listed("apps/demo/services/web", RESOURCE)
    google.script(*[("/operations", busy)] * 5, ("/operations", {}))
    waiting.settle(RESOURCE)
    assert len(google.asked) == 6
    assert machine.clock.pauses == [0.5, 1, 2, 4, 5]


def test_what_never_settles_is_not_known(
    waiting: Operations, google: Google, machine: Machine
) -> None:
    google.script(("/operations", listed(RESOURCE)))
    with pytest.raises(UnsettledError, match="still under way") as caught:
        waiting.settle(RESOURCE)
    assert "run this again" in caught.value.then
    assert 80 < elapsed(machine) <= operations.PATIENCE


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_look_at_what_is_under_way_that_fails_says_so(
    waiting: Operations, google: Google, failure: ApiError
) -> None:
    google.script(("/operations", failure))
    with pytest.raises(CommandError) as caught:
        waiting.settle(RESOURCE)
    assert "looking at what is under way" in caught.value.what
    google.script(("/operations", lost()), ("/operations", refused(429)), ("/operations", {}))
    waiting.settle(RESOURCE)
