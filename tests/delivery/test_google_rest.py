"""Requests to Google's REST APIs."""

import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from delivery.google import rest
from delivery.google.rest import Answer, ApiError, Rest, call

from tests.delivery.machine import Clock, Google, lost, refused

TOKEN = "ya29.s3cr3t"
GOOGLES = {
    "error": {
        "code": 403,
        "message": "You may not.",
        "status": "PERMISSION_DENIED",
        "details": [{"@type": "x"}, {"@type": "y", "reason": "SERVICE_DISABLED"}],
    }
}


def client(**environ: str) -> tuple[Rest, Clock]:
    clock = Clock()
    return Rest(lambda: TOKEN, environ, clock=clock, sleep=clock.sleep), clock


def test_a_request_carries_the_token_and_json(google: Google) -> None:
    google.script(("", {"done": True}))
    api, _ = client()
    answer = api.request(
        "PATCH", "appengine", "v1/apps/x", query={"updateMask": "split"}, body={"a": 1}
    )
    assert answer.json == {"done": True}
    assert google.asked == ["PATCH https://appengine.googleapis.com/v1/apps/x?updateMask=split"]
    assert google.body() == {"a": 1}
    headers = google.requests[0].headers
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-type"] == "application/json"


def test_bytes_are_sent_as_they_are_with_headers_of_their_own(google: Google) -> None:
    google.script(("", {}))
    api, _ = client()
    api.request("POST", "storage-upload", "b", body=b"\x00", headers={"Content-Type": "text/plain"})
    assert google.requests[0].data == b"\x00"
    assert google.requests[0].headers["Content-type"] == "text/plain"
    api.request("GET", "storage", "b")
    assert google.requests[1].data is None


@pytest.mark.parametrize(
    ("service", "environ", "url"),
    [
        ("appengine", {}, "https://appengine.googleapis.com/x"),
        ("logging", {}, "https://logging.googleapis.com/x"),
        ("storage", {}, "https://storage.googleapis.com/storage/v1/x"),
        ("storage-upload", {}, "https://storage.googleapis.com/upload/storage/v1/x"),
        ("appengine", {"APPENGINE": "http://h:1"}, "http://h:1/x"),
        ("storage", {"STORAGE": "http://h:1/storage/v1/"}, "http://h:1/storage/v1/x"),
        ("storage-upload", {"STORAGE": "http://h:1/storage/v1"}, "http://h:1/upload/storage/v1/x"),
        ("logging", {"STORAGE": "http://h:1/"}, "https://logging.googleapis.com/x"),
        ("logging", {"LOGGING": ""}, "https://logging.googleapis.com/x"),
    ],
)
def test_gclouds_own_variables_choose_other_endpoints(
    google: Google, service: str, environ: dict[str, str], url: str
) -> None:
    google.script(("", {}))
    named = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": where for name, where in environ.items()}
    client(**named)[0].request("GET", service, "x")
    assert google.asked == [f"GET {url}"]


@pytest.mark.parametrize(
    "failure", [lost(), *map(refused, (408, 409, 429, 500, 502, 503, 504))], ids=str
)
def test_what_passes_is_tried_again(google: Google, failure: ApiError) -> None:
    google.script(("GET", failure), ("GET", failure), ("GET", {"id": "x"}))
    api, clock = client()
    assert api.request("GET", "appengine", "x").json == {"id": "x"}
    assert clock.pauses == [0.5, 1]


def test_trying_again_comes_to_an_end(google: Google) -> None:
    google.script(("GET", refused(503)))
    api, clock = client()
    with pytest.raises(ApiError) as caught:
        api.request("GET", "appengine", "x")
    assert caught.value.transient
    assert 45 < clock.now - 1000 <= rest.RETRY_FOR
    assert max(clock.pauses) == 10


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 302])
def test_what_does_not_pass_is_not_tried_again(google: Google, status: int) -> None:
    google.script(("GET", refused(status)))
    api, clock = client()
    with pytest.raises(ApiError) as caught:
        api.request("GET", "appengine", "x")
    assert not caught.value.transient
    assert caught.value.status == status
    assert clock.pauses == []


@pytest.mark.parametrize("failure", [lost(), refused(503), refused(409)], ids=str)
def test_a_change_is_asked_for_once_where_that_is_wanted(google: Google, failure: ApiError) -> None:
    google.script(("PATCH", failure))
    api, clock = client()
    with pytest.raises(ApiError) as caught:
        api.request("PATCH", "appengine", "x", retry=False)
    assert caught.value.transient, "whoever knows better may still repeat it"
    assert len(google.asked) == 1
    assert clock.pauses == []


@pytest.mark.parametrize(
    "body",
    [b"<html>Sign in</html>", b"[]", b"\xff\xfe", b'"text"', b"{", b"[" * 100_000],
    ids=range(6),
)
def test_what_is_not_json_is_no_answer(body: bytes) -> None:
    """A proxy between us and Google has answered; what Google did is not known."""
    with pytest.raises(ApiError, match="no answer in JSON") as caught:
        _ = Answer(200, body).json
    assert caught.value.status == 0
    assert Answer(200).json == {}


def test_an_error_says_what_was_being_done_and_what_that_needs() -> None:
    def request(error: ApiError) -> Any:
        def send() -> Any:
            raise error

        return send

    error = ApiError(403, "PERMISSION_DENIED: You may not.", "IAM_PERMISSION_DENIED")
    with pytest.raises(ApiError) as caught:
        call(request(error), "looking", "roles/x")
    assert caught.value is error
    assert error.what == "looking: HTTP 403"
    assert error.why == "PERMISSION_DENIED: You may not."
    assert "grant the deploying account roles/x" in error.then
    with pytest.raises(ApiError) as caught:
        call(request(lost()), "looking", "roles/x")
    assert caught.value.what == "looking: no answer"
    assert "can be repeated" in caught.value.then
    assert call(lambda: 7, "looking", "roles/x") == 7


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers like Google, and like what may stand between."""

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        if kind == "hang-up":
            self.close_connection = True
            return
        status, body = PAGES[kind]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/echo")
        self.send_header("X-Goog-Generation", "7")
        self.send_header("Content-Length", str(len(body) + (50 if "short" in kind else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


PAGES = {
    "fine": (200, b'{"id": "x"}'),
    "empty": (204, b""),
    "google": (403, json.dumps(GOOGLES).encode()),
    "storage": (404, b'{"error": {"code": 404, "message": "No such object: b/o"}}'),
    "oauth": (401, b'{"error": "invalid_grant", "error_description": "no"}'),
    "details": (400, b'{"error": {"status": "INVALID", "message": "", "details": [1]}}'),
    "plain": (502, b"Bad Gateway\n"),
    "page": (500, b"<html>" + b"x" * 10_000),
    "nothing": (503, b""),
    "moved": (302, b""),
    "short": (200, b"{"),
    "short-error": (500, b"{"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def ask(server: str, path: str) -> Answer:
    api, _ = client(CLOUDSDK_API_ENDPOINT_OVERRIDES_APPENGINE=server)
    return api.request("GET", "appengine", path, retry=False, timeout=5)


def test_an_answer_has_status_body_and_headers(server: str) -> None:
    answer = ask(server, "fine")
    assert (answer.status, answer.json) == (200, {"id": "x"})
    assert answer.headers["x-goog-generation"] == "7"
    assert ask(server, "empty").json == {}


@pytest.mark.parametrize(
    ("path", "status", "message", "reason"),
    [
        ("google", 403, "PERMISSION_DENIED: You may not.", "SERVICE_DISABLED"),
        ("storage", 404, "No such object: b/o", ""),
        ("oauth", 401, "invalid_grant: no", ""),
        ("details", 400, '{"error": {"status": "INVALID", "message": "", "details": [1]}}', ""),
        ("plain", 502, "Bad Gateway", ""),
        ("page", 500, "<html>" + "x" * (rest.LONGEST_QUOTE - 6), ""),
        ("nothing", 503, "HTTP 503", ""),
        ("moved", 302, "HTTP 302", ""),
        ("short", 0, "no answer: IncompleteRead(1 bytes read, 50 more expected)", ""),
        ("short-error", 0, "no answer: IncompleteRead(1 bytes read, 50 more expected)", ""),
        ("hang-up", 0, "no answer: Remote end closed connection without response", ""),
    ],
)
def test_every_kind_of_error_is_read(
    server: str, path: str, status: int, message: str, reason: str
) -> None:
    with pytest.raises(ApiError) as caught:
        ask(server, path)
    error = caught.value
    assert (error.status, error.message, error.reason) == (status, message, reason)
    assert TOKEN not in f"{error} {error.what} {error.why} {error.then} {error.message}"


def test_a_port_where_nobody_listens_is_no_connection() -> None:
    with pytest.raises(ApiError, match="no connection") as caught:
        ask("http://127.0.0.1:1", "x")
    assert caught.value.transient
    assert TOKEN not in str(caught.value)


def test_a_silence_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", silent)
    with pytest.raises(ApiError, match="no answer: TimeoutError"):
        ask("http://127.0.0.1:1", "x")
