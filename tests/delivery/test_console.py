"""What a person or a job log sees."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from delivery.console import Console
from delivery.errors import DeliveryError

from tests.delivery.machine import ROOT, posix


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


def test_a_job_log_gets_plain_lines() -> None:
    log = io.StringIO()
    console = Console({}, progress=log)
    console.done("fine")
    console.detail("the curious")
    console.waiting("building", 12.3)
    assert log.getvalue() == "fine\nthe curious\n  ... building (12 s)\n"
    assert console.beat == 10


def test_a_terminal_gets_colour_and_one_line_that_rewrites_itself() -> None:
    screen = Terminal()
    console = Console({}, progress=screen)
    console.waiting("building", 1)
    console.waiting("building", 2)
    console.done("fine")
    text = screen.getvalue()
    assert text.count("\r\x1b[2K") == 3
    assert text.endswith("\r\x1b[2K\x1b[32mfine\x1b[0m\n")
    assert console.beat == 1


def test_a_line_that_rewrites_itself_stays_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Terminal()
    Console({}, progress=screen).waiting("first line, a long one\nsecond line", 1)
    assert screen.getvalue() == "\r\x1b[2K  ... first line, a"
    log = io.StringIO()
    Console({}, progress=log).waiting("first line\nsecond line", 1)
    assert log.getvalue() == "  ... first line (1 s)\n"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_declined(environ: dict[str, str]) -> None:
    screen = Terminal()
    Console(environ, progress=screen).warn("careful")
    assert screen.getvalue() == "careful\n"


def test_results_and_progress_do_not_mix() -> None:
    progress, results = io.StringIO(), io.StringIO()
    console = Console({}, progress=progress, results=results)
    console.step("working")
    console.result("https://x.test")
    assert progress.getvalue() == "working\n"
    assert results.getvalue() == "https://x.test\n"


def test_a_failure_says_what_why_and_what_to_type() -> None:
    log = io.StringIO()
    error = DeliveryError("it broke", why="line one\nline two", then="try again", log="boom")
    Console({}, progress=log).fail(error, "unchanged")
    assert log.getvalue().splitlines() == [
        "FAILED: it broke",
        "  why:        line one",
        "              line two",
        "  log:        boom",
        "  production: unchanged",
        "  next:       try again",
    ]


def test_a_failure_leaves_out_what_is_not_known() -> None:
    log = io.StringIO()
    Console({}, progress=log).fail(DeliveryError("it broke"), "unchanged")
    assert log.getvalue() == "FAILED: it broke\n  production: unchanged\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "caf\\xe9 \\u2192 \\udcff\n"), ("cp1252", "caf\u00e9 \\u2192 \\udcff\n")],
)
def test_a_terminal_that_lacks_a_character_gets_its_number(encoding: str, shown: str) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    Console({}, progress=screen).step("caf\u00e9 \u2192 \udcff")
    screen.seek(0)
    assert screen.read() == shown


def test_a_stream_that_was_closed_stops_nobody() -> None:
    closed = io.StringIO()
    closed.close()
    console = Console({}, progress=closed, results=closed)
    console.step("on and on")
    console.result("https://x.test")
    console.flush()


def test_streams_that_never_were_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    console = Console({})
    console.waiting("on and on", 1)
    console.result("https://x.test")
    console.fail(DeliveryError("it broke"), "unchanged")
    console.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_nobody() -> None:
    with Path("/dev/full").open("w") as full:
        console = Console({}, progress=full, results=full)
        console.step("on and on")
        console.result("https://x.test")


SPEAKER = """
import os, sys
from delivery.console import Console
from delivery.errors import DeliveryError

os.read(int(sys.argv[1]), 1)  # ends when the readers have gone
console = Console({})
for number in range(10_000):
    console.step(f"working: {number}")
    console.result(f"result: {number}")
console.fail(DeliveryError("it broke"), "unchanged")
print("somebody else's line")
print("somebody else's error", file=sys.stderr)
os.write(int(sys.argv[2]), b"still alive")
raise SystemExit(7)
"""


@posix
def test_readers_that_go_away_change_neither_the_course_nor_the_exit_code() -> None:
    """What stays in Python's buffers must not fail once more when it ends: that would be 120."""
    gate, open_gate = os.pipe()
    read, write = os.pipe()
    speaker = subprocess.Popen(
        [sys.executable, "-c", SPEAKER, str(gate), str(write)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(gate, write),
    )
    assert speaker.stdout is not None
    assert speaker.stderr is not None
    speaker.stdout.close()
    speaker.stderr.close()
    os.close(open_gate)
    os.close(write)
    assert speaker.wait(20) == 7
    assert os.read(read, 100) == b"still alive"
    os.close(read)
    os.close(gate)
