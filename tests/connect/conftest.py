"""Two empty projects, and the command that connects them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.conftest import bake_quickly, clean_environment
from tests.support.tools import require

LOOKS = ("getIamPolicy", "testIamPermissions", "getEffectiveOrgPolicy")


@dataclass
class Outcome:
    """How a run ended, and all that it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """Everything."""
        return self.err + self.out


@dataclass
class Pair:
    """A baked project, a Google Cloud project, a GitLab project, and a person at a laptop."""

    path: Path
    google: Google
    gitlab: GitLab
    temp: Path
    outcomes: list[Outcome] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the person's shell."""
        base = clean_environment() | self.google.environment() | self.gitlab.environment()
        own = {"GAE_PROJECT": self.google.project, "TMPDIR": str(self.temp)}
        return base | own | more

    def start(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        """Start a verb."""
        verb, *rest = arguments
        where = ["--gitlab-url", self.gitlab.url, "--gitlab-project", "acme/site"]
        return subprocess.Popen(
            [sys.executable, "-m", "delivery", verb, *where, *rest],
            cwd=self.path,
            env=self.environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, typed: str = "", **more: str) -> Outcome:
        """Run a verb to its end; no credential may be in what it says, or stay behind."""
        began = time.monotonic()
        with self.start(*arguments, **more) as process:
            out, err = process.communicate(typed, timeout=120)
        outcome = Outcome(process.returncode, out, err, time.monotonic() - began)
        secrets = [*self.google.secrets(), *self.gitlab.tokens]
        assert not [secret for secret in secrets if secret in outcome.said]
        assert list(self.temp.glob("delivery-*")) == []
        self.outcomes.append(outcome)
        return outcome

    def must(self, *arguments: str, **more: str) -> Outcome:
        """Run a verb that has to succeed."""
        outcome = self.run(*arguments, **more)
        assert outcome.code == 0, outcome.said
        return outcome

    def connect(self, *arguments: str, **more: str) -> Outcome:
        """Connect, without a question."""
        return self.must("connect", "--region", "europe-west", "--yes", *arguments, **more)

    def changes(self) -> list[str]:
        """List the requests so far that may have changed something."""
        google = [
            f"{call.method} {call.path}"
            for call in self.google.requests
            if call.method != "GET" and not call.path.partition("?")[0].endswith(LOOKS)
        ]
        gitlab = [f"{method} {path}" for method, path in self.gitlab.requests if method != "GET"]
        return google + gitlab

    def state(self) -> dict[str, object]:
        """Return all that both sides hold."""
        return self.google.state() | self.gitlab.state()

    def kill(self, process: "subprocess.Popen[str]") -> None:
        """End a process in the way of a power cut."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bake once for all: connecting changes nothing in the project."""
    return bake_quickly(tmp_path_factory.mktemp("connect"))


@pytest.fixture
def google() -> Iterator[Google]:
    """Return a Google Cloud project in which nothing was ever done."""
    require("gcloud")
    with Google() as emulator:
        yield emulator


@pytest.fixture
def gitlab() -> Iterator[GitLab]:
    """Return an empty project in GitLab."""
    with GitLab() as emulator:
        yield emulator


@pytest.fixture
def pair(baked: Path, google: Google, gitlab: GitLab, tmp_path: Path) -> Pair:
    """Return both, unconnected."""
    temp = tmp_path / "tmp"
    temp.mkdir()
    return Pair(baked, google, gitlab, temp)
