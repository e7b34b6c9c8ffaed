"""The process that removes a private folder; test_credentials.py sees it at work."""

import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery import cleanup

from tests.delivery.machine import posix, program, wait_until

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "private"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("told", "stopped"),
    [("", []), ("+11\n", [11]), ("+11\n-\n", []), ("+11\n-\n+12\n", [12]), ("-\n", [])],
)
def test_only_what_still_runs_is_stopped(
    folder: Path, told: str, stopped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(cleanup, "stop_tree", lambda pid, grace: seen.append(pid + grace))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(told))
    cleanup.main(folder)
    assert seen == stopped
    assert not folder.exists()
    assert all(signal.getsignal(each) is signal.SIG_IGN for each in SIGNALS)


def test_what_a_stopped_program_still_writes_is_removed_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            (folder / "gcloud").mkdir(parents=True)

    monkeypatch.setattr(cleanup, "stop_tree", lambda _pid, grace: grace)
    monkeypatch.setattr(time, "sleep", nap)
    monkeypatch.setattr(sys, "stdin", io.StringIO("+11\n"))
    cleanup.main(folder)
    assert not folder.exists()
    assert 5 <= len(naps) < 50


def test_it_tries_again_while_a_file_is_still_open_but_not_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []

    def rmtree(path: Path, ignore_errors: bool) -> None:
        tries.append(path)
        if len(tries) == 3:
            assert ignore_errors
            path.rmdir()

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    cleanup.main(folder)
    assert len(tries) == 3
    tries.clear()
    folder.mkdir()
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: tries.append(path))
    cleanup.main(folder)
    assert len(tries) == 50


@posix
def test_a_program_that_ignores_polite_requests_is_stopped_for_good(tmp_path: Path) -> None:
    stubborn = program(
        tmp_path, "tool", f"trap '' TERM; echo > {tmp_path}/up; sleep 60 & wait; wait"
    )
    child = subprocess.Popen([stubborn], start_new_session=True)
    wait_until((tmp_path / "up").exists)
    cleanup.stop_tree(child.pid, grace=0.05)
    assert child.wait() == -signal.SIGKILL


@posix
def test_a_polite_program_may_put_things_away(tmp_path: Path) -> None:
    polite = program(
        tmp_path,
        "tool",
        f"trap 'echo > {tmp_path}/away; exit 5' TERM; echo > {tmp_path}/up\n"
        "while :; do sleep 0.01; done",
    )
    child = subprocess.Popen([polite], start_new_session=True)
    wait_until((tmp_path / "up").exists)
    cleanup.stop_tree(child.pid)
    child.wait()
    assert (tmp_path / "away").exists()


@posix
def test_stopping_what_has_ended_already_is_fine() -> None:
    child = subprocess.Popen(["true"], start_new_session=True)
    child.wait()
    cleanup.stop_tree(child.pid)
