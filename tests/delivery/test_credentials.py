"""A private folder for credentials, and leaving none behind."""

import inspect
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from delivery import process
from delivery.cleanup import stop_tree
from delivery.credentials import PrivateFolder
from delivery.errors import MisuseError

from tests.delivery.machine import ROOT, is_running, posix, program, wait_until


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@posix
def test_only_this_user_can_read_what_is_in_it(project: Path) -> None:
    before = os.umask(0)  # the most careless one
    try:
        with PrivateFolder(outside=project) as private:
            file = private.write("key.json", "s\u00e9cret")
            folder = private.folder("source")
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (private.path, folder, file)]
            assert file.read_text("utf-8") == "s\u00e9cret"
            assert file.parent == folder.parent == private.path
    finally:
        os.umask(before)
    assert modes == [0o700, 0o700, 0o600]


def test_nothing_is_overwritten_in_it(project: Path) -> None:
    with PrivateFolder(outside=project) as private:
        private.write("key.json", "secret")
        with pytest.raises(FileExistsError):
            private.write("key.json", "another")


def test_nothing_is_left_when_the_command_ends(project: Path) -> None:
    with PrivateFolder(outside=project) as private:
        path = private.write("key.json", "secret").parent
        (path / "gcloud").mkdir()
        (path / "gcloud" / "access_tokens.db").write_text("secret")
        assert private._cleanup is not None
        pid = private._cleanup.pid
    assert not path.exists()
    assert not is_running(pid)


def test_nothing_is_left_when_the_command_fails(project: Path) -> None:
    private = PrivateFolder(outside=project)
    path = private.write("key.json", "secret").parent
    with pytest.raises(ZeroDivisionError), private:
        raise ZeroDivisionError
    assert not path.exists()


def test_nothing_is_left_when_the_process_for_clean_up_was_killed(project: Path) -> None:
    with PrivateFolder(outside=project) as private:
        path = private.write("key.json", "secret").parent
        assert private._cleanup is not None
        private._cleanup.kill()
        private._cleanup.wait()
        private.guard(1)  # telling a dead one is no crash
        private.release()
    assert not path.exists()


def test_nothing_is_left_when_the_process_for_clean_up_hangs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PrivateFolder(outside=project) as private:
        path = private.write("key.json", "secret").parent
        cleanup = private._cleanup
        assert cleanup is not None
        cleanup.kill()
        cleanup.wait()

        def hang(timeout: float) -> int:
            raise subprocess.TimeoutExpired("cleanup.py", timeout)

        monkeypatch.setattr(cleanup, "wait", hang)
    assert not path.exists()


def test_a_folder_that_was_not_needed_starts_nothing(project: Path) -> None:
    with PrivateFolder(outside=project) as private:
        private.guard(1)
        assert private._cleanup is None


def test_nothing_private_is_ever_kept_inside_what_is_uploaded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(project))
    with (
        PrivateFolder(outside=project) as private,
        pytest.raises(MisuseError, match="inside the project") as caught,
    ):
        private.write("key.json", "secret")
    assert "TMPDIR" in caught.value.then
    assert list(project.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_process_for_clean_up_inherits_no_secret(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAE_KEY", "s3cr3t")
    monkeypatch.setenv("SOME_OTHER_TOKEN", "s3cr3t")
    with PrivateFolder(outside=project) as private:
        private.write("key.json", "s3cr3t")
        assert private._cleanup is not None
        process = Path(f"/proc/{private._cleanup.pid}")
        wait_until(lambda: b"cleanup.py" in (process / "cmdline").read_bytes())
        assert b"s3cr3t" not in (process / "environ").read_bytes()
        assert b"s3cr3t" not in (process / "cmdline").read_bytes()


OWNER = """
import sys
from pathlib import Path
from delivery import signals
from delivery.console import Console
from delivery import process
from delivery.cleanup import stop_tree
from delivery.credentials import PrivateFolder
from delivery.errors import Interrupted
from delivery.process import Runner

place = Path(sys.argv[1])
try:
    with signals.raising(), PrivateFolder(outside=place) as private:
        private.write("key.json", "secret")
        environ = {"PATH": f"{place}:/usr/bin:/bin", "PRIVATE": str(private.path)}
        print(private.path, private._cleanup.pid, flush=True)
        Runner(Console({}), private, place, environ).read(["tool"], doing="looking", timeout=60)
except Interrupted as stopped:
    raise SystemExit(128 + stopped.signum)
"""
# Like a gcloud that keeps its tokens, also while it is being ended, and makes its folder anew.
WRITER = """
keep() { mkdir -p "$PRIVATE/gcloud" && echo token > "$PRIVATE/gcloud/access_tokens.db"; }
trap 'keep; keep; keep; exit' TERM
while :; do keep; [ -s pid ] || echo $$ > pid; done 2> /dev/null
"""


@posix
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_and_nothing_runs_on_after_a_signal(
    project: Path, signum: signal.Signals
) -> None:
    program(project, "tool", WRITER)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(project)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    with owner:
        folder, cleanup = owner.stdout.readline().split()
        wait_until(lambda: (project / "pid").exists() and (project / "pid").read_text())
        assert (Path(folder) / "key.json").exists()
        os.killpg(owner.pid, signum)  # the whole group, as a runner or a terminal does it
        assert owner.wait(20) == (-signum if signum == signal.SIGKILL else 128 + signum)
    wait_until(lambda: not is_running(int(cleanup)))
    assert not Path(folder).exists()
    assert not is_running(int((project / "pid").read_text()))


@posix
@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM INT HUP; echo $$ > pid; while :; do sleep 60; done",
        "setsid sleep 60 & echo $! > far; echo $$ > pid; wait",
    ],
    ids=["a program that ignores signals", "a program far away that holds our pipes"],
)
def test_a_ctrl_c_is_not_held_up(project: Path, script: str) -> None:
    """It takes as long as programs get to end, and to let go of our pipes, and no longer."""
    grace = inspect.signature(stop_tree).parameters["grace"].default
    assert grace + process.PIPES_CLOSE <= 7
    program(project, "tool", script)
    sooner = (
        "import functools\n"
        "from delivery import process\n"
        "process.PIPES_CLOSE = 0.3\n"
        "process.stop_tree = functools.partial(process.stop_tree, grace=0.3)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", sooner + OWNER, str(project)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    far = project / "far"
    with owner:
        folder = Path(owner.stdout.readline().split()[0])
        wait_until(lambda: (project / "pid").exists() and (project / "pid").read_text())
        if far.exists():
            wait_until(lambda: os.getsid(int(far.read_text())) == int(far.read_text()))
        started = time.monotonic()
        owner.send_signal(signal.SIGINT)
        assert owner.wait(30) == 128 + signal.SIGINT
        assert 0.3 <= time.monotonic() - started < 2.6
    assert not folder.exists()
    assert not is_running(int((project / "pid").read_text()))
    if far.exists():
        os.kill(int(far.read_text()), signal.SIGKILL)
