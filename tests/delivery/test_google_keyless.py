"""A job's token of GitLab, exchanged for one of Google's."""

import json
import urllib.request
from urllib.parse import parse_qs

import pytest
from delivery.appengine.target import NAMES
from delivery.google import rest
from delivery.google.login import Account, login
from delivery.google.rest import Answer, ApiError

from tests.delivery.machine import Machine
from tests.delivery.test_google_login import ACCOUNT, KEYLESS, PROVIDER

FEDERATED, OURS = "ya29.of-the-job", "ya29.of-the-account"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[urllib.request.Request]:
    """Answer both requests well; return those that were made."""
    made: list[urllib.request.Request] = []

    def send(request: urllib.request.Request, timeout: float) -> Answer:
        assert timeout > 0
        made.append(request)
        answer = {"accessToken": OURS} if request.host.startswith("iam") else {}
        return Answer(200, json.dumps({"access_token": FEDERATED, **answer}).encode())

    monkeypatch.setattr(rest, "_send", send)
    return made


def account(machine: Machine, **more: str) -> Account:
    """Sign in as a job; a gcloud that is started says so."""
    machine.stop_the_clock()
    machine.install("gcloud", f"touch {machine.project.parent / 'started'}")
    environ = dict(machine.runner.environ) | KEYLESS | {"CI": "true"} | more
    machine.runner.environ = environ
    runner = machine.runner
    return Account(runner, login(environ, runner.private, runner.console, NAMES), NAMES)


def test_two_requests_and_no_start_of_gcloud(
    machine: Machine, sent: list[urllib.request.Request]
) -> None:
    job = account(machine)
    assert [job.token(), job.token()] == [OURS, OURS]
    exchange, impersonation = sent
    assert exchange.full_url == "https://sts.googleapis.com/v1/token"
    assert exchange.get_header("Authorization") is None
    assert isinstance(exchange.data, bytes)
    form = {name: value for name, (value,) in parse_qs(exchange.data.decode()).items()}
    assert form["audience"] == f"//iam.googleapis.com/{PROVIDER}"
    assert form["subject_token"] == KEYLESS["GITLAB_OIDC_TOKEN"]
    assert form["subject_token_type"].endswith(":jwt")
    assert impersonation.full_url == (
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        f"{ACCOUNT}:generateAccessToken"
    )
    assert impersonation.get_header("Authorization") == f"Bearer {FEDERATED}"
    assert not (machine.project.parent / "started").exists()


@pytest.mark.parametrize(
    ("error", "then"),
    [
        (ApiError(400, "invalid_grant: ID Token issued has expired."), "audience in id_tokens"),
        (
            ApiError(
                403, "PERMISSION_DENIED: Permission 'iam.serviceAccounts.getAccessToken' denied"
            ),
            "roles/iam.workloadIdentityUser",
        ),
    ],
)
def test_a_job_that_is_not_let_in_is_told_why(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: ApiError, then: str
) -> None:
    def refuse(*_: object) -> Answer:
        raise error

    monkeypatch.setattr(rest, "_send", refuse)
    with pytest.raises(ApiError) as caught:
        account(machine).token()
    assert caught.value.what == f"signing in: HTTP {error.status}"
    assert then in caught.value.then
    assert KEYLESS["GITLAB_OIDC_TOKEN"] not in str(caught.value.__dict__)


def test_what_passes_is_tried_again(
    machine: Machine, sent: list[urllib.request.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    send, left = rest._send, [ApiError(503, "UNAVAILABLE: try again")] * 2

    def now_and_then(request: urllib.request.Request, timeout: float) -> Answer:
        if left:
            raise left.pop()
        return send(request, timeout)

    monkeypatch.setattr(rest, "_send", now_and_then)
    assert account(machine).token() == OURS
    assert len(sent) == 2


@pytest.mark.parametrize("answer", [b"{}", b'{"access_token": 1, "accessToken": "a b"}'])
def test_an_answer_without_a_token_is_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(rest, "_send", lambda *_: Answer(200, answer))
    with pytest.raises(ApiError, match="the answer has no access"):
        account(machine).token()


def test_a_key_is_for_gcloud(machine: Machine, sent: list[urllib.request.Request]) -> None:
    key = {"type": "service_account", "client_email": ACCOUNT, "private_key": "x"}
    key |= {"private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token"}
    said = json.dumps({"credential": {"access_token": "ya29.of-gcloud"}})
    job = account(machine, GAE_KEY=json.dumps(key), **dict.fromkeys([*KEYLESS][1:], ""))
    machine.install("gcloud", f"echo '{said}'")
    assert job.token() == "ya29.of-gcloud"
    assert sent == []
