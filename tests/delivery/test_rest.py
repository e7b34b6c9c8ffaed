"""The client for Google's APIs: where it sends, what it tries again, what it says of an error."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from delivery.google.rest import ApiError, Rest

from emulators.appengine.wire import Answer, Request, Server

pytestmark = pytest.mark.fast

TOKEN = "ya29.a-secret-token"


@contextmanager
def google(*answers: Answer) -> Iterator[tuple[Rest, list[Request], list[float]]]:
    """Run a server that gives these answers, and a client for it whose pauses take no time."""
    requests: list[Request] = []
    slept: list[float] = []
    left = list(answers)

    def respond(request: Request) -> Answer:
        requests.append(request)
        return left.pop(0)

    server = Server(respond)
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM": f"http://127.0.0.1:{server.port}/"}
    try:
        yield (
            Rest(lambda: TOKEN, environ, clock=lambda: sum(slept), sleep=slept.append),
            requests,
            slept,
        )
    finally:
        server.stop()


def refusal(code: int, **error: object) -> Answer:
    return Answer.of({"error": {"code": code, **error}}, code)


def test_a_request_goes_where_gcloud_is_turned_to() -> None:
    with google(Answer.of({"name": "x"})) as (rest, requests, _):
        answer = rest.request("PATCH", "iam", "v1/pools/x", query={"a": "b c"}, body={"c": 1})
    assert answer.json == {"name": "x"}
    (sent,) = requests
    assert (sent.method, sent.target, sent.json()) == ("PATCH", "/v1/pools/x?a=b+c", {"c": 1})
    assert sent.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_what_passes_is_tried_again(status: int) -> None:
    with google(refusal(status), Answer(close=True), Answer.of({})) as (rest, requests, slept):
        rest.request("GET", "iam", "v1/x")
    assert len(requests) == 3
    assert slept == [0.5, 1.0]


def test_what_the_caller_settles_is_not_tried_again() -> None:
    with google(refusal(409)) as (rest, _, slept), pytest.raises(ApiError) as caught:
        rest.request("POST", "iam", "v1/x", final={409})
    assert (caught.value.status, slept) == (409, [])


def test_it_gives_up_after_a_minute() -> None:
    with google(*[refusal(503)] * 30) as (rest, _, slept), pytest.raises(ApiError):
        rest.request("GET", "iam", "v1/x")
    assert 45 < sum(slept) <= 60


def test_an_error_tells_google_s_reason_and_not_the_token() -> None:
    details = [{"@type": "…/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]
    answer = refusal(403, status="PERMISSION_DENIED", message="It is disabled.", details=details)
    with google(answer) as (rest, _, _), pytest.raises(ApiError) as caught:
        rest.request("GET", "iam", "v1/x")
    error = caught.value
    assert (error.status, error.reason) == (403, "SERVICE_DISABLED")
    assert "It is disabled." in error.message
    assert TOKEN not in json.dumps([error.what, error.why, error.then, str(error)])
