"""A clone of a baked project, and the person or job that delivers from it, on any target."""

import os
import re
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.conftest import PROJECT, bake_quickly, clean_environment

FIRST_COMMIT = datetime(2026, 11, 1, 12, tzinfo=UTC)
COMMAND_SECONDS = 150  # a command takes this long at most
# Files that lie about in real projects, and that nobody wants to upload.
DECOYS = {
    ".env": "SECRET=1",
    "key.json": "{}",
    "notes.txt": "untracked",
    "app/__pycache__/pages.cpython-313.pyc": "cache",
    "app/static/.DS_Store": "cache",
    "instance/app.db": "data",
    "venv/bin/python": "#!",
    ".venv/pyvenv.cfg": "home",
    ".coverage": "data",
}
CRASHES = {"app/__init__.py": "raise RuntimeError('no start')\n"}
HANGS = {"gunicorn.conf.py": "import time\ntime.sleep(60)\n"}
PAGES = """\
from flask import Blueprint, redirect
from werkzeug.wrappers import Response

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> Response:
    {body}
"""
FAILS = {"app/pages.py": PAGES.format(body="raise RuntimeError('no page')")}
REDIRECTS = {"app/pages.py": PAGES.format(body="return redirect('https://elsewhere.example/')")}


def impostor(revision: str) -> dict[str, str]:
    """Change the app so that it gives another revision than its own."""
    health = (PROJECT / "app/health.py").read_text("utf-8")
    return {"app/health.py": f"{health}\n\ndef revision() -> str:\n    return '{revision}'\n"}


@dataclass
class Outcome:
    """How a command ended, and all that it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        return self.err + self.out


def finish(process: "subprocess.Popen[str]", typed: str = "") -> Outcome:
    """Wait until a command has ended; its seconds are those from here."""
    start = time.monotonic()
    with process:
        out, err = process.communicate(typed or None, timeout=COMMAND_SECONDS)
    return Outcome(process.returncode, out, err, time.monotonic() - start)


def ended(process: "subprocess.Popen[str]") -> Outcome:
    """Wait for the end of a verb, which may be refused, and must never be at a loss."""
    outcome = finish(process)
    assert outcome.code in (0, 1, 3, 5), outcome.err
    assert not re.search("Traceback|mistake in delivery", outcome.err), outcome.err
    return outcome


@dataclass
class Clone(ABC):
    """A baked project under git, and a laptop; `env` is all that a command's environment has."""

    path: Path
    temp: Path
    env: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    _commits: int = 0

    @abstractmethod
    def secrets(self) -> Iterable[str]:
        """Return all that must not appear anywhere."""

    def uploads(self) -> Iterable[bytes]:
        """Return what the target was sent to keep."""
        return []

    def git(self, *arguments: str, strip: bool = True, **env: str) -> str:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main", *arguments],
            cwd=self.path,
            env=clean_environment() | env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip() if strip else done.stdout

    def commit(self, files: Mapping[str, str] | None = None, minutes: int | None = None) -> str:
        """Commit changes one minute after the last ones; return the version's name to be."""
        for name, text in (files or {}).items():
            (self.path / name).write_text(text, "utf-8")
        stamp = FIRST_COMMIT + timedelta(minutes=self._commits if minutes is None else minutes)
        self._commits += 1
        self.git("add", "--all")
        message = ["commit", "--quiet", "--allow-empty", "-m", "a change"]
        self.git(*message, GIT_COMMITTER_DATE=stamp.isoformat())
        return f"v{stamp:%Y%m%dt%H%M%S}-{self.git('rev-parse', 'HEAD')[:8]}"

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        """Start `python -m delivery`, in the way of a shell: with nothing of the test's own."""
        return subprocess.Popen(
            [sys.executable, "-m", "delivery", *arguments],
            cwd=self.path,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deliver(self, *arguments: str, **env: str) -> Outcome:
        """Run a verb to its end; whatever becomes of it, no credential may stay behind."""
        outcome = finish(self.start(*arguments, **env))
        self.outcomes.append(outcome)
        self.expect_no_credential(outcome.said)
        assert self.left_over() == []
        return outcome

    def left_over(self) -> list[Path]:
        """Find the private folders of credentials; gcloud's own, once killed, hold none."""
        return list(self.temp.glob("delivery-*"))

    def must(self, *arguments: str, **env: str) -> Outcome:
        """Run a verb that has to succeed."""
        outcome = self.deliver(*arguments, **env)
        assert outcome.code == 0, outcome.said
        return outcome

    def expect_no_credential(self, text: str) -> None:
        """Look for every secret in a log, the uploads, the project and the folders around it."""
        places = [text.encode(), *self.uploads()]
        for folder in (self.path, self.temp, *map(Path, self._homes())):
            files = (path for path in folder.rglob("*") if path.is_file())
            # A laptop's own access token stays where gcloud on that laptop has it.
            places += [path.read_bytes() for path in files if path.name != "access-token"]
        for secret in self.secrets():
            assert not any(secret.encode() in place for place in places), "a credential got out"

    def _homes(self) -> list[str]:
        return [self.env[name] for name in ("HOME", "CLOUDSDK_CONFIG") if name in self.env]


def new_laptop(folder: Path, deploy_to: str) -> tuple[Path, Path, dict[str, str]]:
    """Bake; return the project, a folder for temporary files, and the variables of a bare shell."""
    path = bake_quickly(folder, deploy_to=deploy_to)
    env = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temp")}
    for name in env.values():
        Path(name).mkdir()
    keep = ("PATH", "LANG", "LC_ALL", "CLOUDSDK_PYTHON", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE")
    return path, folder / "temp", env | {n: os.environ[n] for n in keep if n in os.environ}


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll what no event announces."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
