"""What a test can plant between a client and the emulator."""

import threading
import time

import pytest

from emulators.appengine import AppEngine
from tests.emulators.clients import call, get

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-faults")]


def test_an_error_is_answered_as_often_as_said(gae: AppEngine) -> None:
    gae.fail_next("GET", "/v1/apps", 503, times=2, message="Try again.")
    answers = [call(gae, "GET", "v1/apps/demo-project") for _ in range(3)]
    assert [status for status, _ in answers] == [503, 503, 200]
    assert answers[0][1]["error"]["message"] == "Try again."


def test_a_lost_answer_may_have_taken_effect(gae: AppEngine) -> None:
    gae.drop_next("PATCH", "services/default", applied=True)
    split = {"split": {"allocations": {"two": 1.0}}}
    with pytest.raises(OSError, match="closed connection"):
        call(gae, "PATCH", "v1/apps/demo-project/services/default?updateMask=split", split)
    assert gae.traffic == {"two": 1.0}


def test_a_request_waits_at_a_gate(gae: AppEngine) -> None:
    gate = gae.hold_next("GET", "/v1/apps")
    answers: list[int] = []
    client = threading.Thread(
        target=lambda: answers.append(call(gae, "GET", "v1/apps/demo-project")[0])
    )
    client.start()
    assert gate.reached()
    assert answers == []
    gate.release()
    client.join()
    assert answers == [200]


def test_a_request_lost_at_a_gate_has_no_effect(gae: AppEngine) -> None:
    gate = gae.hold_next("PATCH", "services/default")
    split = {"split": {"allocations": {"two": 1.0}}}
    errors: list[str] = []

    def send() -> None:
        path = "v1/apps/demo-project/services/default?updateMask=split"
        with pytest.raises(OSError, match="closed connection") as lost:
            call(gae, "PATCH", path, split)
        errors.append(str(lost.value))

    client = threading.Thread(target=send)
    client.start()
    assert gate.reached()
    gate.abandon()
    client.join()
    assert errors
    assert gae.traffic == {"one": 1.0}


def test_a_delay_is_a_delay(gae: AppEngine) -> None:
    gae.delay_next("GET", "/v1/apps", 0.3)
    start = time.monotonic()
    assert call(gae, "GET", "v1/apps/demo-project")[0] == 200
    assert time.monotonic() - start >= 0.3


def test_the_public_address_fails_alone(gae: AppEngine) -> None:
    gae.front.faults.fail_next("GET", "/health", 500)
    assert get(gae, gae.version_url("one") + "/health")[0] == 200
    assert get(gae, f"{gae.url}/health")[0] == 500


@pytest.mark.parametrize(
    ("permission", "words"),
    [
        ("appengine.services.list", "Permission 'appengine.services.list' denied on resource"),
        ("storage.objects.list", "does not have storage.objects.list access"),
        ("iam.serviceAccounts.actAs", "Permission 'iam.serviceAccounts.actAs' denied"),
    ],
)
def test_a_missing_permission_is_named(gae: AppEngine, permission: str, words: str) -> None:
    paths = {
        "appengine.services.list": ("GET", "v1/apps/demo-project/services"),
        "storage.objects.list": ("GET", "storage/v1/b/staging.demo-project.appspot.com/o"),
        "iam.serviceAccounts.actAs": ("POST", "v1/apps/demo-project/services/default/versions"),
    }
    with gae.without(permission):
        status, answer = call(gae, *paths[permission])
    assert status == 403
    assert words in answer["error"]["message"]


def test_what_is_not_modelled_is_kept(gae: AppEngine) -> None:
    assert call(gae, "GET", "v1/apps/demo-project/firewall/ingressRules")[0] == 404
    assert gae.unmodelled.pop().path.endswith("ingressRules")
