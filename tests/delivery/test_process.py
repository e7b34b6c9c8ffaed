"""Running other programs."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery import process
from delivery.errors import CommandError, Interrupted, MisuseError

from tests.delivery.machine import ROOT, Machine, is_running, posix, program, wait_until

pytestmark = posix


@pytest.fixture(autouse=True)
def _folder_is_removed(machine: Machine) -> Iterator[None]:
    machine.console.beat = 0.02
    yield
    machine.private.close()


def read(machine: Machine, *args: str, timeout: float = 10) -> str:
    return machine.runner.read(["tool", *args], doing="looking", timeout=timeout)


def test_what_a_program_prints_is_returned(machine: Machine) -> None:
    machine.install("tool", 'echo "$GREETING $1 $(pwd)"; echo noise >&2')
    machine.runner.environ = {**machine.runner.environ, "GREETING": "hello"}
    assert read(machine, "a b; c") == f"hello a b; c {machine.project.resolve()}\n"


def test_a_program_can_run_elsewhere_in_another_environment(machine: Machine) -> None:
    machine.install("tool", 'echo "$GREETING $(pwd)"')
    environ = {**machine.runner.environ, "GREETING": "hi"}
    said = machine.runner.change(
        ["tool"], doing="changing", timeout=10, environ=environ, cwd=machine.folder
    )
    assert said == f"hi {machine.folder.resolve()}\n"


def test_no_program_sees_a_secret_that_it_does_not_need(machine: Machine) -> None:
    machine.install("tool", "env")
    secrets = dict.fromkeys(process.SECRETS, "s3cr3t")
    machine.runner.environ = {**machine.runner.environ, **secrets, "PLAIN": "plain"}
    seen = read(machine)
    assert "PLAIN=plain" in seen
    assert "s3cr3t" not in seen
    assert {"GAE_KEY", "GITLAB_OIDC_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN"} <= set(process.SECRETS)
    assert "CI_REPOSITORY_URL" in process.SECRETS, "it has the job's token in it"


def test_a_program_that_is_missing_is_named_with_where_to_get_it(machine: Machine) -> None:
    machine.runner.environ = {"PATH": str(machine.folder)}
    with pytest.raises(MisuseError, match="gcloud is not on the PATH") as caught:
        machine.runner.read(["gcloud"], doing="looking", timeout=1)
    assert "cloud.google.com/sdk" in caught.value.then


def test_a_program_that_cannot_be_started_is_no_crash(machine: Machine) -> None:
    program(machine.folder / "bin", "tool", "").write_text("#!/no/such/shell\n")
    with pytest.raises(MisuseError, match="cannot be started"):
        read(machine)


def test_a_failure_carries_the_programs_own_words(machine: Machine) -> None:
    machine.install("tool", "echo fatal: no such thing >&2; exit 3")
    with pytest.raises(CommandError, match=r"looking: tool failed \(exit code 3\)") as caught:
        read(machine)
    assert caught.value.why == "fatal: no such thing"
    assert not caught.value.timed_out


def test_a_program_that_complains_on_stdout_is_quoted_too(machine: Machine) -> None:
    machine.install("tool", "echo sorry; exit 1")
    with pytest.raises(CommandError) as caught:
        read(machine)
    assert caught.value.why == "sorry"


def test_a_killed_program_is_reported_as_killed(machine: Machine) -> None:
    machine.install("tool", "kill -9 $$")
    with pytest.raises(CommandError, match="killed by signal 9"):
        read(machine)


def test_a_slow_program_shows_progress_and_is_stopped_with_all_it_started(machine: Machine) -> None:
    machine.install("tool", f"sleep 60 & echo $! > {machine.folder}/grandchild; wait")
    with pytest.raises(CommandError, match="no answer within") as caught:
        read(machine, timeout=0.2)
    assert caught.value.timed_out
    assert "looking (" in machine.said
    assert not is_running(int((machine.folder / "grandchild").read_text()))


def test_a_signal_stops_the_program_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    note = machine.folder / "pid"
    machine.install("tool", f"echo $$ > {note}; exec sleep 60")

    def interrupt(*_: object) -> None:
        if note.exists() and note.read_text():
            raise Interrupted(15)

    monkeypatch.setattr(machine.console, "waiting", interrupt)
    with pytest.raises(Interrupted):
        read(machine)
    assert not is_running(int(note.read_text()))


def test_what_holds_the_output_open_from_afar_is_not_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in a session of its own gets no signal of ours, and holds our pipes."""
    monkeypatch.setattr(process, "PIPES_CLOSE", 0.05)
    note = machine.folder / "pid"
    far = (
        "import os, subprocess; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        f"open({str(note)!r}, 'w').write(str(child.pid))"
    )
    machine.install("tool", f'{sys.executable} -c "{far}"; exec sleep 60')

    def interrupt(*_: object) -> None:
        if note.exists() and note.read_text():
            raise Interrupted(15)

    monkeypatch.setattr(machine.console, "waiting", interrupt)
    try:
        started = time.monotonic()
        with pytest.raises(Interrupted):
            read(machine)
        assert time.monotonic() - started < 3
        assert is_running(int(note.read_text())), "then this tests nothing"
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_odd_bytes_are_no_crash(machine: Machine) -> None:
    machine.install("tool", r"printf 'caf\351'")
    assert read(machine) == "caf\ufffd"


def test_nothing_is_read_from_the_terminal(machine: Machine) -> None:
    machine.install("tool", "cat")
    assert read(machine) == ""


def test_a_dry_run_looks_but_prints_what_would_change_something(tmp_path: Path) -> None:
    machine = Machine(tmp_path, dry_run=True)
    machine.install("tool", f"touch {tmp_path}/ran; echo seen")
    assert machine.runner.change(["tool", "a b"], doing="changing", timeout=1) == ""
    assert machine.results.getvalue() == "tool 'a b'\n"
    assert not (tmp_path / "ran").exists()
    with machine.private:
        assert read(machine) == "seen\n"
        assert "$ tool" in machine.said
        machine.progress.truncate(0)
        machine.runner.read(["tool"], doing="looking", timeout=9, quiet=True)
    assert "$ tool" not in machine.said


def test_the_program_is_guarded_from_before_its_first_step_until_its_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set(threading.enumerate())
    told, tell = os.pipe()
    monkeypatch.setattr(
        machine.private, "_tell", lambda line: os.write(tell, f"{line} {os.getpid()}\n".encode())
    )
    machine.install("tool", "echo $$")
    pid = read(machine).strip()
    assert os.read(told, 1000).decode() == f"+{pid} {pid}\n- {os.getpid()}\n"
    os.close(told)
    os.close(tell)
    assert set(threading.enumerate()) <= threads


OWNERS = """
import os, sys
from pathlib import Path
from delivery import signals
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import Interrupted
from delivery.process import Runner

def own(root):
    try:
        with signals.raising(), PrivateFolder(outside=root) as private:
            runner = Runner(Console({}), private, root, {"PATH": f"{root}:/usr/bin:/bin"})
            os.write(1, f"{os.getpid()} {private.path}\\n".encode())  # now the test may strike
            runner.read(["tool"], doing="looking", timeout=60)
    except Interrupted as stopped:
        return 128 + stopped.signum
    return 0

children = []
for place in sys.argv[1:]:
    children.append(os.fork())
    if not children[-1]:
        os._exit(own(Path(place)))
for child in children:
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(1, f"{ended}\\n".encode())
"""
# A program that was killed before it noted its number does not run.
LIVING = 'echo $$ > "${0%/*}/pid"; exec sleep 30'


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_at_any_moment_of_a_start_leaves_no_program_behind(
    tmp_path: Path, signum: signal.Signals
) -> None:
    """Ten owners, each hit at a moment of 0 to 60 ms after the start of its program began."""
    moments = random.Random(int(signum))  # noqa: S311 - the same chance in every run
    places = [tmp_path / str(number) for number in range(10)]
    for place in places:
        program(place, "tool", LIVING)
    owners = subprocess.Popen(
        [sys.executable, "-c", OWNERS, *map(str, places)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owners.stdout is not None
    folders, strikes, codes = [], [], []
    with owners:
        for line in owners.stdout:
            pid, _, folder = line.strip().partition(" ")
            if not folder:
                codes.append(int(pid))
                continue
            folders.append(Path(folder))
            strikes.append(threading.Timer(moments.uniform(0, 0.06), os.kill, (int(pid), signum)))
            strikes[-1].start()
    for strike in strikes:
        strike.join()
    assert codes == [-9 if signum == signal.SIGKILL else 128 + signum] * len(places)
    wait_until(lambda: not any(folder.exists() for folder in folders))
    noted = [file.read_text() for file in tmp_path.glob("*/pid")]
    wait_until(lambda: not any(is_running(int(pid)) for pid in noted if pid))
