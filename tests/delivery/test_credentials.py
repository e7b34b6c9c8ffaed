"""Keeping credentials, and leaving none behind."""

import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery import watchdog
from delivery.errors import MisuseError
from delivery.vault import Vault

from tests.delivery.test_process import is_running, wait_until

ROOT = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"

posix = pytest.mark.skipif(os.name == "nt", reason="no such signals and modes on Windows")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@posix
def test_only_this_user_can_read_the_credentials(project: Path) -> None:
    with Vault(outside=project) as vault:
        file = vault.write("key.json", "secret")
        assert stat.S_IMODE(vault.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == "secret"


def test_nothing_is_left_when_the_command_ends(project: Path) -> None:
    with Vault(outside=project) as vault:
        path = vault.write("key.json", "secret").parent
        (path / "gcloud").mkdir()
        (path / "gcloud" / "access_tokens.db").write_text("secret")
    assert not path.exists()


def test_nothing_is_left_when_the_command_fails(project: Path) -> None:
    vault = Vault(outside=project)
    path = vault.write("key.json", "secret").parent
    with pytest.raises(ZeroDivisionError), vault:
        raise ZeroDivisionError
    assert not path.exists()


def test_nothing_is_left_when_the_watchdog_was_killed(project: Path) -> None:
    with Vault(outside=project) as vault:
        path = vault.write("key.json", "secret").parent
        assert vault._watchdog is not None
        vault._watchdog.kill()
        vault._watchdog.wait()
        with vault.guarding(1):  # telling a dead watchdog is no crash
            pass
    assert not path.exists()


def test_a_vault_that_was_not_needed_starts_nothing(project: Path) -> None:
    with Vault(outside=project) as vault, vault.guarding(1):
        assert vault._watchdog is None


def test_credentials_are_never_kept_inside_what_is_uploaded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(project))
    with Vault(outside=project) as vault, pytest.raises(MisuseError, match="inside the project"):
        vault.write("key.json", "secret")
    assert list(project.iterdir()) == []


OWNER = """
import subprocess, sys
from pathlib import Path
from delivery.vault import Vault

vault = Vault(outside=Path("/project"))
file = vault.write("key.json", "secret")
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
with vault.guarding(child.pid):
    print(file.parent, child.pid, flush=True)
    child.wait()
"""


@posix
def test_nothing_is_left_and_nothing_runs_on_after_sigkill() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    folder, child = owner.stdout.readline().split()
    assert (Path(folder) / "key.json").exists()
    os.killpg(owner.pid, signal.SIGKILL)  # the whole group, as a runner does it
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not Path(folder).exists())
    wait_until(lambda: not is_running(int(child)))


@pytest.fixture
def _handlers() -> Iterator[None]:
    names = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if os.name != "nt" else []))
    before = {name: signal.getsignal(name) for name in names}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("_handlers")
def test_the_watchdog_stops_only_what_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vault").mkdir()
    stopped: list[int] = []
    monkeypatch.setattr(watchdog, "stop_tree", lambda pid, grace: stopped.append(pid + grace))
    monkeypatch.setattr(sys, "stdin", io.StringIO("+11\n+12\n-11\n"))
    watchdog.main(tmp_path / "vault")
    assert stopped == [12]
    assert not (tmp_path / "vault").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.usefixtures("_handlers")
def test_the_watchdog_tries_again_while_a_file_is_still_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vault").mkdir()
    tries: list[Path] = []

    def rmtree(path: Path, ignore_errors: bool) -> None:
        tries.append(path)
        if len(tries) == 3:
            assert ignore_errors
            path.rmdir()

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    watchdog.main(tmp_path / "vault")
    assert len(tries) == 3
    tries.clear()
    (tmp_path / "vault").mkdir()
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: tries.append(path))
    watchdog.main(tmp_path / "vault")  # in vain, but not for ever
    assert len(tries) == 50
