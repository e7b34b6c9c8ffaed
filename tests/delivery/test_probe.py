"""Asking a URL whether it is healthy."""

import http.server
import io
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from delivery import probe, signals
from delivery.console import Console
from delivery.errors import Interrupted
from delivery.probe import Finding, HttpProbe, NoReplyError, Reply, UnreachableError, fetch

from tests.delivery.machine import Clock

URL = "https://v1.test"


def health(revision: object = "v1") -> Reply:
    return Reply(200, json.dumps({"status": "ok", "revision": revision}).encode())


class Network:
    """Answers from a list, the last answer for ever; an exception is raised.

    Each request takes `seconds`, and one that is not answered as long as it may.
    """

    def __init__(
        self, *answers: Reply | Exception, root: Reply | None = None, seconds: float = 0
    ) -> None:
        self.answers = list(answers)
        self.root = root or Reply(200)
        self.seconds = seconds
        self.clock = Clock()
        self.asked: list[tuple[str, float]] = []

    def __call__(self, url: str, timeout: float) -> Reply:
        self.asked.append((url, timeout))
        answer = self._choose(url)
        self.clock.now += timeout if isinstance(answer, NoReplyError) else self.seconds
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _choose(self, url: str) -> Reply | Exception:
        if not url.endswith("/health"):
            return self.root
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def probe(self, stream: io.StringIO | None = None) -> HttpProbe:
        console = Console({}, progress=stream or io.StringIO())
        return HttpProbe(console, self, clock=self.clock, sleep=self.clock.sleep)

    @property
    def elapsed(self) -> float:
        return self.clock.now - 1000


def checked(network: Network, timeout: float = 120) -> Finding:
    return network.probe().version(URL, "v1", timeout)


# One version


def test_a_healthy_version_is_found_healthy_without_a_pause() -> None:
    network = Network(health())
    assert checked(network) == Finding(healthy=True)
    assert network.clock.pauses == []
    assert [url for url, _ in network.asked] == [f"{URL}/health", f"{URL}/"]


def test_a_slash_at_the_end_of_an_address_is_not_doubled() -> None:
    network = Network(health())
    assert network.probe().version(f"{URL}/", "v1", 9).healthy
    assert [url for url, _ in network.asked] == [f"{URL}/health", f"{URL}/"]


@pytest.mark.parametrize(
    "first",
    [
        Reply(500),
        Reply(503),
        Reply(404),
        Reply(302, location="https://old.test"),
        health("v0"),
        NoReplyError("slow"),
        UnreachableError("no host"),
    ],
)
def test_what_may_pass_is_waited_for(first: Reply | Exception) -> None:
    network = Network(first, first, health())
    assert checked(network).healthy
    assert len(network.clock.pauses) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Reply(503), "answers 503 instead of 200"),
        (Reply(504), "answers 504 instead of 200"),
        (Reply(404), "answers 404 instead of 200"),
        (health("v0"), "runs revision 'v0' instead of v1"),
        (health(["v1"]), "answers no JSON with a revision"),
        (Reply(200, b"[]"), "answers no JSON with a revision"),
        (Reply(200, b"<html>"), "answers no JSON with a revision"),
        (Reply(200, b"[" * 60_000), "answers no JSON with a revision"),
        (Reply(200, b"\xff\xfe\xfa"), "answers no JSON with a revision"),
        (NoReplyError("timed out"), "does not answer: timed out"),
        (UnreachableError("no host"), "cannot be reached: no host"),
    ],
)
def test_what_may_pass_has_failed_only_when_the_time_is_over(
    answer: Reply | Exception, why: str
) -> None:
    network, stream = Network(answer), io.StringIO()
    finding = network.probe(stream).version(URL, "v1", 120)
    assert not finding.healthy
    assert finding.reached is not isinstance(answer, UnreachableError)
    assert why in finding.why
    assert 100 < network.elapsed <= 120
    assert stream.getvalue().count("...") >= 5


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Reply(500), "answers 500 instead of 200"),
        (Reply(502), "answers 502 instead of 200"),
        (Reply(302, location="https://login.test"), "redirects (302) to https://login.test"),
    ],
)
@pytest.mark.parametrize("seconds", [0, 1, 9])
def test_a_version_that_fails_the_same_way_again_and_again_is_not_waited_for(
    answer: Reply, why: str, seconds: float
) -> None:
    network = Network(answer, seconds=seconds)
    finding = checked(network)
    assert not finding.healthy
    assert why in finding.why
    assert "times in a row" in finding.why
    assert len(network.asked) >= 5
    assert 20 <= network.elapsed < 60


def test_a_start_page_that_crashes_is_as_bad() -> None:
    network = Network(health(), root=Reply(500))
    finding = checked(network)
    assert f"{URL}/ answers 500" in finding.why
    assert 20 <= network.elapsed < 30


@pytest.mark.parametrize(
    "other", [Reply(503), health("v0"), NoReplyError("slow"), Reply(502), UnreachableError("x")]
)
def test_a_failure_that_changes_is_waited_for(other: Reply | Exception) -> None:
    """A version that is starting, or an instance of it that is being replaced."""
    answers = [answer for _ in range(100) for answer in (*[Reply(500)] * 4, other)]
    network = Network(*answers)
    assert not checked(network).healthy
    assert network.elapsed > 100


def test_a_redirect_that_ends_in_time_is_waited_for() -> None:
    """The front end leads to the version before, for a while after the traffic has moved."""
    moved = Reply(301, location="https://old.test")
    network = Network(*[moved] * 10, health())
    assert checked(network).healthy
    assert 10 < network.elapsed < 25


LOGIN = Reply(302, location="/login?next=%2F")


class Pages(Network):
    """Answers some pages, and /health; all else is not there."""

    def __init__(self, base: str, **pages: Reply) -> None:
        super().__init__(health())
        self.pages = {f"{base}/{path}": reply for path, reply in pages.items()}

    def _choose(self, url: str) -> Reply | Exception:
        return super()._choose(url) if url.endswith("/health") else self.pages.get(url, Reply(404))


@pytest.mark.parametrize("base", [URL, "https://shop.test/.delivery/v1"])
@pytest.mark.parametrize("location", ["/login?next=%2F", "login?next=%2F", "{host}/login?next=%2F"])
def test_a_page_may_redirect_within_the_version(base: str, location: str) -> None:
    host = base.removesuffix("/.delivery/v1")
    first = Reply(302, location=location.format(host=host))
    pages = Pages(base, **{"": first, "login?next=%2F": Reply(200)})
    assert pages.probe().version(base, "v1", 120) == Finding(healthy=True)
    assert pages.asked[-1][0] == f"{base}/login?next=%2F"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://v1.test/login", "redirects (302) to http://v1.test/login"),
        ("//other.test/", "redirects (302) to //other.test/"),
        ("http://[x", "redirects to no address"),
    ],
)
def test_a_page_that_leads_elsewhere_is_not_healthy(location: str, why: str) -> None:
    pages = Pages(URL, **{"": Reply(302, location=location), "login": Reply(200)})
    assert why in pages.probe().version(URL, "v1", 120).why


def test_a_page_that_redirects_for_ever_or_to_nothing_is_not_healthy() -> None:
    ever = Pages(URL, **{"": LOGIN, "login?next=%2F": LOGIN})
    assert "redirects (302) to /login" in ever.probe().version(URL, "v1", 120).why
    nothing = Pages(URL, **{"": LOGIN})
    assert f"{URL}/login?next=%2F answers 404" in nothing.probe().version(URL, "v1", 120).why


def test_pauses_grow_and_stay_bounded() -> None:
    network = Network(Reply(503))
    checked(network)
    pauses = network.clock.pauses
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.5
    assert pauses[-1] == 5
    assert len(network.asked) < 40


def test_only_an_address_that_was_never_reached_may_be_our_own_fault() -> None:
    assert not checked(Network(UnreachableError("no such host"))).reached
    assert checked(Network(Reply(503), UnreachableError("no such host"))).reached


def test_no_request_gets_more_time_than_is_left() -> None:
    network = Network(Reply(503))
    checked(network, timeout=3)
    assert all(timeout <= 3 for _, timeout in network.asked)
    assert 0 < network.asked[-1][1] < 3


def test_a_version_without_an_address_cannot_be_healthy() -> None:
    finding = Network(health()).probe().version("", "v1", 1)
    assert finding == Finding(healthy=False, why="it has no address", reached=False)


# The public address


class Production(Network):
    """Answers as a split does: by chance, each version in its own way; and late, if it is told to.

    The chance is the same in each run, although several threads ask.
    """

    def __init__(
        self,
        split: dict[str, float],
        *,
        ill: dict[str, Reply | Exception] | None = None,
        before: str = "",
        until: float = 0,
        seconds: float = 0.01,
    ) -> None:
        super().__init__(health(), seconds=seconds)
        self.split, self.ill = split, ill or {}
        self.before, self.until = before, until
        self.chance = random.Random(1)  # noqa: S311 - the same chance in every run
        self.lock = threading.Lock()

    def __call__(self, url: str, timeout: float) -> Reply:
        with self.lock:
            return super().__call__(url, timeout)

    def _choose(self, url: str) -> Reply | Exception:
        (version,) = self.chance.choices(list(self.split), list(self.split.values()))
        if self.elapsed < self.until:
            version = self.before
        return self.ill.get(version) or (health(version) if url.endswith("/health") else Reply(200))


def public(network: Production, split: dict[str, float] | None = None) -> Finding:
    return network.probe().public("https://app.test", split or network.split, 120)


def test_production_with_one_version_takes_two_requests() -> None:
    network = Production({"v2": 100})
    assert public(network).healthy
    assert len(network.asked) == 2


@pytest.mark.parametrize("share", [1, 10, 50, 99])
def test_a_healthy_canary_is_found_healthy(share: int) -> None:
    network = Production({"v1": 100 - share, "v2": share})
    assert public(network).healthy
    asked = Counter(url for url, _ in network.asked)
    assert asked["https://app.test/health"] == asked["https://app.test/"]
    assert len(network.asked) <= 3 * 2 * probe.LARGEST_SAMPLE
    assert network.elapsed < 60


def test_the_smaller_the_share_the_more_is_asked() -> None:
    asked = []
    for share in (50, 25, 10):
        network = Production({"v1": 100 - share, "v2": share})
        public(network)
        asked.append(len(network.asked))
    assert asked == [20, 38, 92]


@pytest.mark.parametrize("share", [1, 10, 50])
@pytest.mark.parametrize(
    "answer",
    [Reply(500), Reply(503), NoReplyError("slow"), Reply(302, location="/login"), health("v3")],
)
def test_a_canary_that_fails_its_share_of_the_visitors_is_found(
    share: int, answer: Reply | Exception
) -> None:
    network = Production({"v1": 100 - share, "v2": share}, ill={"v2": answer})
    finding = public(network)
    assert not finding.healthy
    assert finding.reached


def test_a_canary_that_crashes_is_decided_upon_early() -> None:
    network = Production({"v1": 90, "v2": 10}, ill={"v2": Reply(500)})
    finding = public(network)
    assert "requests: https://app.test/" in finding.why
    assert "answers 500" in finding.why
    assert "times in a row" in finding.why
    assert 20 <= network.elapsed < 40


@pytest.mark.parametrize("answer", [Reply(503), Reply(504), UnreachableError("reset")])
def test_a_canary_that_may_be_starting_is_waited_for(answer: Reply | Exception) -> None:
    network = Production({"v1": 90, "v2": 10}, ill={"v2": answer})
    assert not public(network).healthy
    assert network.elapsed > 100


def test_a_canary_that_nobody_meets_is_not_healthy() -> None:
    network = Production({"v1": 100})
    finding = public(network, {"v1": 90, "v2": 10})
    assert "v2 gave none of 46 answers of https://app.test/health" in finding.why
    assert network.elapsed > 100


@pytest.mark.parametrize("split", [{"v2": 100}, {"v1": 90, "v2": 10}, {"v2": 99.9, "v1": 0.1}])
def test_a_split_that_takes_a_while_to_arrive_is_waited_for(split: dict[str, float]) -> None:
    network = Production(split, before="v1", until=15)
    assert public(network).healthy
    assert 15 <= network.elapsed < 60


def test_the_number_of_requests_is_bounded_however_long_it_takes() -> None:
    network = Production({"v1": 100}, seconds=0)
    public(network, {"v1": 99.9, "v2": 0.1})
    assert len(network.asked) <= 40 * 2 * probe.LARGEST_SAMPLE


def test_a_production_that_hangs_holds_nobody_up_for_long() -> None:
    """The clock counts the six that ask at once one after the other: it is the worst case."""
    slow = NoReplyError("timed out")
    network = Production({"v1": 50, "v2": 50}, ill={"v1": slow, "v2": slow})
    finding = public(network)
    assert "20 of 20 requests" in finding.why
    assert network.elapsed < 130


def test_an_address_that_nobody_reaches_may_be_our_own_fault() -> None:
    away = UnreachableError("no such host")
    network = Production({"v1": 50, "v2": 50}, ill={"v1": away, "v2": away})
    assert not public(network).reached


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
def test_a_signal_ends_the_asking() -> None:
    asked: list[str] = []

    def ask(url: str, timeout: float) -> Reply:
        asked.append(url)
        if len(asked) == 30:  # by now, all of them wait for their turn
            os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(timeout / 250)
        return health("v1")

    asking = HttpProbe(Console({}, progress=io.StringIO()), ask)
    with pytest.raises(Interrupted), signals.raising():
        asking.public("https://app.test", {"v1": 99, "v2": 1}, 5)
    assert len(asked) < 60


# Over the network


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
        if self.path == "/nowhere":
            self.send_response(302)
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


def test_fetch_returns_status_and_body(server: str) -> None:
    assert fetch(f"{server}/fine", 5) == Reply(200, b"xx")
    assert fetch(f"{server}/broken", 5) == Reply(500)


def test_fetch_follows_no_redirect(server: str) -> None:
    assert fetch(f"{server}/moved", 5) == Reply(301, location="/fine")
    assert fetch(f"{server}/nowhere", 5) == Reply(302, location="?")


def test_fetch_reads_no_more_of_a_body_than_it_needs(server: str) -> None:
    assert probe.MOST_BYTES <= len(fetch(f"{server}/long", 5).body) < 2 * probe.MOST_BYTES


def test_a_server_that_hangs_up_was_reached(server: str) -> None:
    with pytest.raises(NoReplyError):
        fetch(f"{server}/silent", 5)


def test_an_answer_that_drips_runs_into_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="too long"):
        probe._read(io.BytesIO(b"x"), deadline=0)


def test_a_port_where_nobody_listens_is_out_of_reach() -> None:
    with pytest.raises(UnreachableError):
        fetch("http://127.0.0.1:1", 5)
