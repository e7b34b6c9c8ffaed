"""What a person or a job log sees."""

import io

import pytest
from delivery.console import Console
from delivery.errors import DeliveryError


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


def test_a_job_log_gets_plain_lines() -> None:
    log = io.StringIO()
    console = Console({}, progress=log)
    console.done("fine")
    console.waiting("building", 12.3)
    assert log.getvalue() == "fine\n  ... building (12 s)\n"
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
    error = DeliveryError("it broke", why="line one\nline two", then="try again")
    Console({}, progress=log).fail(error, "unchanged")
    assert log.getvalue().splitlines() == [
        "FAILED: it broke",
        "  why:        line one",
        "              line two",
        "  production: unchanged",
        "  next:       try again",
    ]


def test_a_failure_leaves_out_what_is_not_known() -> None:
    log = io.StringIO()
    Console({}, progress=log).fail(DeliveryError("it broke"), "unchanged")
    assert log.getvalue() == "FAILED: it broke\n  production: unchanged\n"
