"""Tokens and keys of a run are in no file, no list of processes and no child's environment."""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.connect.conftest import Pair, both

if TYPE_CHECKING:
    from subprocess import Popen

pytestmark = pytest.mark.delivery

PROC = Path("/proc")


class Watch:
    """Reads what every user of the machine, or at least this one, can read of processes."""

    def __init__(self, process: "Popen[str]"):
        self.root = process.pid
        # Not read from /proc: a program that has just been started has no command there yet.
        assert isinstance(process.args, list)
        self.own = "".join(f"{each}\0" for each in process.args).encode()
        self.commands: set[bytes] = set()  # of the process itself and all below it
        self.environments: set[bytes] = set()  # of those below it
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_on(self) -> None:
        family = {self.root}
        while not self._stop.is_set():
            for folder in PROC.glob("[0-9]*"):
                try:
                    # The name in brackets may hold spaces: what follows it is "state parent".
                    stat = (folder / "stat").read_text().rpartition(")")[2].split()
                    process, parent = int(folder.name), int(stat[1])
                    if process not in family and parent not in family:
                        continue
                    family.add(process)
                    command = (folder / "cmdline").read_bytes()
                    self.commands.add(command)
                    # Nor a copy of it that has yet to start a program, or is about to.
                    if command not in (b"", self.own):
                        self.environments.add((folder / "environ").read_bytes())
                except (OSError, IndexError):
                    continue  # it has ended


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@both
@pytest.mark.parametrize("options", [(), ("--with-key",)], ids=str)
def test_no_token_in_any_file_or_list_of_processes(pair: Pair, options: tuple[str, ...]) -> None:
    region = ("--region", pair.region)
    again = region * (pair.target == "cloud-run")
    home = pair.temp.parent / "home"
    seen: list[bytes] = []
    for verb, *rest in (
        ("connect", *region, "--yes", *options),
        ("doctor", *again),
        ("connect", *again, "--undo", "--yes"),
    ):
        process = pair.start(verb, *rest, CLOUDSDK_CONFIG=str(home / "gcloud"))
        with Watch(process) as watch, process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        # What was looked at is what there was to see: gcloud, in its environment and at its home.
        assert [command for command in watch.commands if b"config-helper" in command]
        assert [each for each in watch.environments if b"CLOUDSDK_API_ENDPOINT" in each]
        assert (home / "gcloud/active_config").is_file()
        seen += [*watch.commands, *watch.environments, out.encode(), err.encode()]
        for folder in (pair.path, pair.temp, home):
            seen += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    secrets = [secret.encode() for secret in pair.secrets()]
    assert len(secrets) >= 2
    assert not [place[:200] for place in seen for secret in secrets if secret in place]
