"""Signals that ask for an end."""

import os
import signal
import subprocess
import sys

import pytest
from delivery import signals
from delivery.errors import Interrupted

from tests.delivery.machine import ROOT, posix

pytestmark = posix

KINDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def hit(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", KINDS)
def test_the_first_signal_raises_and_no_other_cuts_the_tidying_up_short(signum: int) -> None:
    before = signal.getsignal(signum)
    tidied_up = []

    def work() -> None:
        with signals.raising():
            try:
                hit(signum)
            finally:
                for other in KINDS:
                    hit(other)
                tidied_up.append(True)

    with pytest.raises(Interrupted) as caught:
        work()
    assert caught.value.signum == signum
    assert tidied_up
    assert signal.getsignal(signum) is before


def test_a_signal_waits_for_the_end_of_the_outermost_block() -> None:
    done = []

    def work() -> None:
        with signals.raising(), signals.deferred():
            with signals.deferred():
                hit(signal.SIGTERM)
                done.append("inner")
            done.append("outer")

    with pytest.raises(Interrupted) as caught:
        work()
    assert done == ["inner", "outer"]
    assert caught.value.signum == signal.SIGTERM


def test_a_signal_is_not_lost_when_the_block_fails() -> None:
    def work() -> None:
        with signals.raising(), signals.deferred():
            hit(signal.SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(Interrupted):
        work()


def test_a_failure_without_a_signal_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError), signals.raising(), signals.deferred():
        raise ZeroDivisionError


def test_what_was_ignored_from_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.raising():
            hit(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_program_that_is_started_after_a_signal_can_be_ended_by_one() -> None:
    script = (
        "import os, signal, subprocess\n"
        "from delivery import signals\n"
        "from delivery.errors import Interrupted\n"
        "try:\n"
        "    with signals.raising(), signals.deferred():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        child = subprocess.Popen(['sleep', '60'])\n"
        "except Interrupted:\n"
        "    child.terminate()\n"
        "    try:\n"
        "        raise SystemExit(child.wait(5) != -signal.SIGTERM)\n"
        "    finally:\n"
        "        child.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=20)
    assert done.returncode == 0
