"""Stand-ins below the target Docker host: for ssh, and for Docker on the server."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from delivery.errors import CommandError

from tests.delivery.machine import Machine

HOST_KEY = f"ssh-ed25519 {'A' * 68}"
PRIVATE_KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----"
)
SETTINGS = {"HOST_ADDRESS": "shop.test", "HOST_PROJECT": "demo"}


def ended(code: int | None, why: str = "", *, timed_out: bool = False) -> CommandError:
    """Make the error that Runner raises when ssh ends like this."""
    error = CommandError("doing: ssh failed", why=why)
    error.exited, error.timed_out = code, timed_out
    return error


def answer(value: object, protocol: int = 1) -> str:
    """Say what delivery-host says."""
    return json.dumps({"protocol": protocol, "answer": value})


@dataclass
class Ssh:
    """Ends as it is told to, the last time for ever; remembers what was run."""

    machine: Machine
    answers: list[str | CommandError] = field(default_factory=lambda: [answer({})])
    ran: list[list[str]] = field(default_factory=list)
    stdin: list[bytes] = field(default_factory=list)
    environ: list[Mapping[str, str]] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        _doing: str,
        timeout: float,
        environ: Mapping[str, str] | None,
        _cwd: Path | None,
        stdin: Path | None,
    ) -> str:
        assert timeout > 0
        self.ran.append([*argv])
        self.stdin.append(stdin.read_bytes() if stdin else b"")
        self.environ.append(environ or {})
        return self.answer(self.ran[-1], self.stdin[-1])

    def answer(self, _argv: list[str], _stdin: bytes) -> str:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, CommandError):
            raise found
        return found

    def asked(self, number: int = -1) -> str:
        """Return what the host was asked in one of the commands."""
        argv = self.ran[number]
        return " ".join(argv[next(i for i, word in enumerate(argv) if "@" in word) + 1 :])


class Host(Ssh):
    """Runs host.py on the other side, in this process."""

    def answer(self, argv: list[str], stdin: bytes) -> str:
        from delivery.dockerhost import host  # noqa: PLC0415 - not on Windows

        user = next(word for word in argv if "@" in word).partition("@")[0]
        code, out, err = call(host.main, user.removeprefix("deploy-"), self.asked(), stdin=stdin)
        if code:
            raise ended(code, err)
        return out


def call(
    main: Callable[[list[str]], int], *arguments: str, stdin: bytes = b""
) -> tuple[int, str, str]:
    """Run a program's function; return its exit code and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with contextlib.redirect_stderr(err):
            code = main([*arguments])
    return code, out.getvalue(), err.getvalue()


class Engine:
    """Docker as far as host.py asks: https://docs.docker.com/reference/cli/docker/ .

    Of what it is asked to forget, it forgets containers; it has every image.
    """

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.ran: list[str] = []
        self.stdin: list[bytes] = []
        self.configs: list[str] = []  # what was in config.json when an image was pulled
        self.policies: list[str] = []  # which sources a build may not take
        self.revision = "dev"  # the commit that an image says it was built of
        self.failing: dict[str, Exception] = {}  # by the first words
        self.pulled = "sha256:pulled"  # the id of each image that is pulled
        self.runs = True  # whether what is started stays up

    def run(
        self,
        command: list[str],
        stdin: IO[bytes] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        words = command[1:]
        if "build" in words:
            _, folder, *words = words
            assert os.listdir(folder) == ["policy.json"], "no login"  # noqa: PTH208
            policy = (environ or {})["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"]
            self.policies.append(Path(policy).read_text())
        self.ran.append(" ".join(words))
        self.stdin.append(stdin.read() if stdin else b"")
        for prefix, error in self.failing.items():
            if self.ran[-1].startswith(prefix):
                del self.failing[prefix]
                raise error
        options = dict(
            word.split("=", 1) for word in words if word.startswith("--") and "=" in word
        )
        names = [word for word in words if not word.startswith("-")]
        if words[0] == "--config":
            self.configs.append((Path(words[1]) / "config.json").read_text())
            assert os.stat(words[1]).st_mode & 0o077 == 0  # noqa: PTH116
        elif names[0] == "run":
            labels = dict(word.split("=", 2)[1:] for word in words if word.startswith("--label="))
            self.add(options["--name"], labels)
        elif names[:2] == ["container", "ls"]:
            wanted = options["--filter"].removeprefix("label=").split("=")
            found = (row for row in self.containers.values() if wanted[0] != "ancestor")
            return "\n".join(
                row["Id"] for row in found if row["Config"]["Labels"].get(wanted[0]) == wanted[1]
            )
        elif names[:2] == ["container", "inspect"]:
            rows = {row["Id"]: row for row in self.containers.values()} | self.containers
            return json.dumps([rows[name] for name in names[2:]])
        elif names[:2] == ["image", "inspect"]:
            labels = {"org.opencontainers.image.revision": self.revision}
            return json.dumps([{"Id": self.pulled, "Config": {"Labels": labels}}])
        elif names[0] == "rm":
            for name in names[1:]:
                del self.containers[name]
        return ""

    def add(self, name: str, labels: dict[str, str]) -> None:
        self.containers[name] = {
            "Id": f"id-{name}",
            "Name": f"/{name}",
            "Image": f"sha256:{name}",
            "Created": "2026-11-27T16:54:48.123456789Z",
            "Config": {"Labels": labels},
            "State": {"Running": self.runs, "ExitCode": 0 if self.runs else 3},
            "NetworkSettings": {
                "Networks": {f"delivery-{labels['delivery.project']}": {"IPAddress": "10.0.0.2"}}
            },
        }


@pytest.fixture
def ssh(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Stand in for ssh, for a person at a laptop."""
    return stand_in(Ssh(machine), monkeypatch)


def stand_in(made: Ssh, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Let the runner start this instead of ssh."""
    made.machine.stop_the_clock()
    made.machine.runner.environ = {**made.machine.runner.environ, **SETTINGS}
    monkeypatch.setattr(made.machine.runner, "_run", made.run)
    return made


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Lay out a server in a folder, as install.py does; the project demo is at shop.test."""
    host = pytest.importorskip("delivery.dockerhost.host", reason="needs what Windows has not")
    made = Engine()
    root = tmp_path / "server"
    monkeypatch.setattr(host, "ROOT", root)
    monkeypatch.setattr(host, "SETTINGS", tmp_path / "settings")
    monkeypatch.setattr(host, "MEMORY", tmp_path)
    monkeypatch.setattr(host, "SLOTS", 16)  # fewer links, faster
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a test's folder outlives no loss of power
    monkeypatch.setattr(host, "_run", made.run)
    monkeypatch.setattr(host, "_answers", lambda _: True)
    monkeypatch.setattr(host, "_words", lambda name, *_: f"{name} said this")
    for folder in ("projects/demo", "proxy/projects/demo", "proxy/sites"):
        (root / folder).mkdir(parents=True)
    (root / "projects/demo/domain").write_text("shop.test\n")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/demo.env").write_text("# settings\n\nFLASK_SECRET_KEY=a b = c\r\n")
    return made
