"""What the token endpoints of the emulator trust, and what they do not."""

from typing import Any
from urllib.parse import urlencode

import pytest

from emulators.appengine import AppEngine
from tests.emulators.clients import call

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-credentials")]


def exchange(gae: AppEngine, **form: str) -> dict[str, Any]:
    usual = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": f"//iam.googleapis.com/{gae.provider}",
        "subject_token": gae.gitlab_token(),
    }
    body = urlencode(usual | form).encode()
    return call(gae, "POST", "v1/token", body)[1]


def test_an_api_call_needs_a_token_that_the_emulator_issued(gae: AppEngine) -> None:
    status, answer = call(gae, "GET", "v1/apps/demo-project", token="ya29.invented")
    assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_a_federated_token_alone_reaches_no_other_account(gae: AppEngine) -> None:
    token = exchange(gae)["access_token"]
    path = "v1/projects/-/serviceAccounts/{}:generateAccessToken"
    assert call(gae, "POST", path.format(gae.service_account), {}, token)[0] == 200
    assert call(gae, "POST", path.format("boss@example.com"), {}, token)[0] == 403
    assert call(gae, "POST", path.format(gae.service_account), {})[0] == 403


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "https://elsewhere.example"}, "does not match the expected audience"),
        ({"project_id": "666"}, "rejected by the attribute condition"),
        ({"exp": 1}, "expired"),
    ],
)
def test_a_token_of_another_job_is_refused(
    gae: AppEngine, claims: dict[str, Any], reason: str
) -> None:
    answer = exchange(gae, subject_token=gae.gitlab_token(**claims))
    assert reason in answer["error_description"]


def test_a_token_that_gitlab_did_not_sign_is_refused(gae: AppEngine) -> None:
    head, claims, _ = gae.gitlab_token().split(".")
    signature = gae.gitlab_token().split(".")[2]
    answer = exchange(gae, subject_token=f"{head}.{claims}x.{signature}")
    assert "signature" in answer["error_description"]


def test_another_audience_is_refused(gae: AppEngine) -> None:
    assert "audience" in exchange(gae, audience="//iam.example/x")["error_description"]
