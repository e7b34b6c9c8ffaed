"""Asking a URL whether it is healthy."""

import http.server
import io
import json
import threading
from collections.abc import Iterator

import pytest
from delivery import check
from delivery.check import Checker, Finding, NoReplyError, Reply, UnreachableError, fetch
from delivery.console import Console

from tests.delivery.fakes import Clock

URL = "https://v1.test"


def health(revision: object = "v1") -> Reply:
    return Reply(200, json.dumps({"status": "ok", "revision": revision}).encode())


class Network:
    """Answers from a list, the last answer for ever; an exception is raised."""

    def __init__(self, *answers: Reply | Exception, root: Reply | None = None) -> None:
        self.answers = list(answers)
        self.root = root or Reply(200)
        self.asked: list[tuple[str, float]] = []

    def __call__(self, url: str, timeout: float) -> Reply:
        self.asked.append((url, timeout))
        if not url.endswith("/health"):
            return self.root
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def checked(network: Network, timeout: float = 120) -> tuple[Finding, Clock, str]:
    clock, stream = Clock(), io.StringIO()
    checker = Checker(Console({}, progress=stream), network, clock=clock, sleep=clock.sleep)
    return checker(URL, {"v1"}, timeout), clock, stream.getvalue()


def test_a_healthy_version_is_found_healthy_without_a_pause() -> None:
    network = Network(health())
    finding, clock, _ = checked(network)
    assert finding.healthy
    assert clock.pauses == []
    assert [url for url, _ in network.asked] == [f"{URL}/health", f"{URL}/"]


@pytest.mark.parametrize(
    "first",
    [Reply(503), Reply(404), health("v0"), NoReplyError("slow"), UnreachableError("no host")],
)
def test_what_may_pass_is_waited_for(first: Reply | Exception) -> None:
    finding, clock, _ = checked(Network(first, first, health()))
    assert finding.healthy
    assert len(clock.pauses) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Reply(500), "answers 500 instead of 200"),
        (health("v0"), "runs revision 'v0' instead of v1"),
        (health(["v1"]), "runs revision ['v1'] instead of v1"),
        (Reply(200, b"[]"), "runs revision None instead of v1"),
        (Reply(200, b"<html>"), "answers no JSON"),
        (Reply(200, b"\xff\xfe\xfa"), "answers no JSON"),
        (NoReplyError("timed out"), "does not answer: timed out"),
    ],
)
def test_what_does_not_pass_in_time_has_failed(answer: Reply | Exception, why: str) -> None:
    finding, clock, said = checked(Network(answer))
    assert not finding.healthy
    assert finding.reached
    assert why in finding.why
    assert 100 < clock.now - 1000 <= 120
    assert said.count("...") >= 5


def test_pauses_grow_and_stay_bounded() -> None:
    _, clock, _ = checked(Network(Reply(500)))
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[0] < 0.5
    assert clock.pauses[-1] == check.LONGEST_PAUSE


def test_a_redirect_is_a_failure_at_once() -> None:
    finding, clock, _ = checked(Network(Reply(302, location="https://login.test")))
    assert not finding.healthy
    assert "redirects (302) to https://login.test" in finding.why
    assert clock.pauses == []


def test_the_start_page_must_work_too() -> None:
    finding, _, _ = checked(Network(health(), root=Reply(500)))
    assert not finding.healthy
    assert f"{URL}/ answers 500" in finding.why


def test_only_an_address_that_was_never_reached_may_be_our_own_fault() -> None:
    assert not checked(Network(UnreachableError("no such host")))[0].reached
    assert checked(Network(Reply(500), UnreachableError("no such host")))[0].reached


def test_no_request_gets_more_time_than_is_left() -> None:
    network = Network(Reply(500))
    checked(network, timeout=3)
    assert all(timeout <= 3 for _, timeout in network.asked)
    assert network.asked[-1][1] < 3


def test_a_version_without_an_address_cannot_be_healthy() -> None:
    checker = Checker(Console({}, progress=io.StringIO()), Network(health()))
    assert checker("", {"v1"}, 1) == Finding(healthy=False, why="it has no address", reached=False)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one page of each kind."""

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.close_connection = True
            return
        if self.path == "/moved":
            self.send_response(301)
            self.send_header("Location", "/fine")
            self.end_headers()
            return
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()
        self.wfile.write(b"x" * (100_000 if self.path == "/long" else 2))

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


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


def test_fetch_gives_status_and_body(server: str) -> None:
    assert fetch(f"{server}/fine", 5) == Reply(200, b"xx")
    assert fetch(f"{server}/broken", 5) == Reply(500)


def test_fetch_follows_no_redirect(server: str) -> None:
    assert fetch(f"{server}/moved", 5) == Reply(301, location="/fine")


def test_fetch_reads_no_more_of_a_body_than_it_needs(server: str) -> None:
    assert check.MOST_BYTES <= len(fetch(f"{server}/long", 5).body) < 2 * check.MOST_BYTES


def test_a_server_that_hangs_up_was_reached(server: str) -> None:
    with pytest.raises(NoReplyError):
        fetch(f"{server}/silent", 5)


def test_an_answer_that_drips_runs_into_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="too long"):
        check._read(io.BytesIO(b"x"), deadline=0)


def test_a_port_where_nobody_listens_is_out_of_reach() -> None:
    with pytest.raises(UnreachableError):
        fetch("http://127.0.0.1:1", 5)
