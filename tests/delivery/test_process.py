"""Running other programs."""

import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from delivery.console import Console
from delivery.errors import CommandError, Interrupted, MisuseError
from delivery.process import Runner
from delivery.vault import Vault
from delivery.watchdog import stop_tree

from tests.delivery.fakes import program

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


class Machine:
    """A machine with one program on it, and a runner."""

    def __init__(self, folder: Path, *, dry_run: bool = False) -> None:
        self.folder = folder
        self.progress, self.results = io.StringIO(), io.StringIO()
        console = Console({}, progress=self.progress, results=self.results)
        console.beat = 0.02
        environ = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "GREETING": "hello"}
        vault = Vault(outside=folder / "project")
        self.runner = Runner(console, vault, folder, environ, dry_run=dry_run)

    def install(self, script: str) -> None:
        program(self.folder / "bin", "tool", script)

    def read(self, *args: str, timeout: float = 10) -> str:
        return self.runner.read(["tool", *args], doing="looking", timeout=timeout)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_what_a_program_prints_is_returned(machine: Machine) -> None:
    machine.install('echo "$GREETING $1 $(pwd)"; echo noise >&2')
    assert machine.read("a b; c") == f"hello a b; c {machine.folder.resolve()}\n"


def test_a_program_that_is_missing_is_named_with_where_to_get_it(machine: Machine) -> None:
    machine.runner.environ = {"PATH": str(machine.folder)}
    with pytest.raises(MisuseError, match="gcloud is not on the PATH") as caught:
        machine.runner.read(["gcloud"], doing="looking", timeout=1)
    assert "cloud.google.com/sdk" in caught.value.then


def test_a_program_that_cannot_be_started_is_no_crash(machine: Machine) -> None:
    program(machine.folder / "bin", "tool", "").write_text("#!/no/such/shell\n")
    with pytest.raises(MisuseError, match="cannot be started"):
        machine.read()


def test_a_failure_carries_the_programs_own_words(machine: Machine) -> None:
    machine.install("echo fatal: no such thing >&2; exit 3")
    with pytest.raises(CommandError, match=r"looking: tool failed \(exit code 3\)") as caught:
        machine.read()
    assert caught.value.why == "fatal: no such thing"
    assert not caught.value.timed_out


def test_a_program_that_complains_on_stdout_is_quoted_too(machine: Machine) -> None:
    machine.install("echo sorry; exit 1")
    with pytest.raises(CommandError) as caught:
        machine.read()
    assert caught.value.why == "sorry"


def test_a_killed_program_is_reported_as_killed(machine: Machine) -> None:
    machine.install("kill -9 $$")
    with pytest.raises(CommandError, match="killed by signal 9"):
        machine.read()


def test_a_slow_program_shows_progress_and_is_stopped_with_all_it_started(machine: Machine) -> None:
    machine.install(f"sleep 60 & echo $! > {machine.folder}/grandchild; wait")
    with pytest.raises(CommandError, match="no answer within") as caught:
        machine.read(timeout=0.2)
    assert caught.value.timed_out
    assert "looking (" in machine.progress.getvalue()
    assert not is_running(int((machine.folder / "grandchild").read_text()))


def test_a_program_that_ignores_polite_requests_is_stopped_for_good(tmp_path: Path) -> None:
    stubborn = program(
        tmp_path, "tool", f"trap '' TERM; echo > {tmp_path}/up; sleep 60 & wait; wait"
    )
    child = subprocess.Popen([stubborn], start_new_session=True)
    wait_until((tmp_path / "up").exists)
    stop_tree(child.pid, grace=0.05)
    assert child.wait() == -signal.SIGKILL


def test_stopping_what_has_ended_already_is_fine(machine: Machine) -> None:
    machine.install("echo $$")
    stop_tree(int(machine.read()))


def test_a_signal_stops_the_program_too(machine: Machine) -> None:
    machine.install(f"echo $$ > {machine.folder}/pid; exec sleep 60")

    def interrupt(*_: object) -> None:
        if (machine.folder / "pid").exists() and (machine.folder / "pid").read_text():
            raise Interrupted(15)

    machine.runner.console.waiting = interrupt  # type: ignore[assignment,method-assign]
    with pytest.raises(Interrupted):
        machine.read()
    assert not is_running(int((machine.folder / "pid").read_text()))


def test_odd_bytes_are_no_crash(machine: Machine) -> None:
    machine.install(r"printf 'caf\351'")
    assert machine.read() == "caf\ufffd"


def test_nothing_is_read_from_the_terminal(machine: Machine) -> None:
    machine.install("cat")
    assert machine.read() == ""


def test_a_dry_run_looks_but_prints_what_would_change_something(tmp_path: Path) -> None:
    machine = Machine(tmp_path, dry_run=True)
    machine.install(f"touch {tmp_path}/ran; echo seen")
    assert machine.runner.change(["tool", "a b"], doing="changing", timeout=1) == ""
    assert machine.results.getvalue() == "tool 'a b'\n"
    assert not (tmp_path / "ran").exists()
    assert machine.read() == "seen\n"
    assert "$ tool" in machine.progress.getvalue()


def test_without_a_dry_run_changes_are_made(machine: Machine) -> None:
    machine.install("echo changed")
    assert machine.runner.change(["tool"], doing="changing", timeout=1) == "changed\n"


def test_the_child_is_guarded_while_it_runs(machine: Machine) -> None:
    machine.install("echo $$")
    told: list[str] = []
    machine.runner.vault._tell = told.append  # type: ignore[assignment,method-assign]
    pid = machine.read().strip()
    assert told == [f"+{pid}", f"-{pid}"]
    assert threading.active_count() == 1
