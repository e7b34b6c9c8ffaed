"""Two empty projects, and the command that connects them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.conftest import bake_quickly, clean_environment
from tests.support.clone import Outcome, finish
from tests.support.tools import require

# A test asks for both with @both; `pair` without it is App Engine's.
TARGETS = {"app-engine": ("europe-west", "GAE"), "cloud-run": ("europe-west1", "GCP")}
both = pytest.mark.parametrize("pair", TARGETS, indirect=True)
on_cloud_run = pytest.mark.parametrize("pair", ["cloud-run"], indirect=True)
LOOKS = ("getIamPolicy", "testIamPermissions", "getEffectiveOrgPolicy")


@dataclass
class Pair:
    """A baked project, a Google Cloud project, a GitLab project, and a person at a laptop."""

    path: Path
    google: Google
    gitlab: GitLab
    temp: Path
    target: str = "app-engine"
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def region(self) -> str:
        """Where it runs."""
        return TARGETS[self.target][0]

    @property
    def names(self) -> tuple[str, str]:
        """What the variables for project and key are called."""
        prefix = TARGETS[self.target][1]
        return f"{prefix}_PROJECT", f"{prefix}_KEY"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the person's shell."""
        base = clean_environment() | self.google.environment() | self.gitlab.environment()
        if self.target == "cloud-run":
            base |= self.google.run.environment()
        home = self.temp.parent / "home"
        home.mkdir(exist_ok=True)
        own = {self.names[0]: self.google.project, "TMPDIR": str(self.temp), "HOME": str(home)}
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
        outcome = finish(self.start(*arguments, **more), typed)
        assert not [secret for secret in self.secrets() if secret in outcome.said]
        assert list(self.temp.glob("delivery-*")) == []
        self.outcomes.append(outcome)
        return outcome

    def secrets(self) -> list[str]:
        """Return every token of both sides, and the private part of every key."""
        keys = [key["private_key"].splitlines()[1] for key in self.google.iam.keys.values()]
        return [*self.google.secrets(), *self.gitlab.tokens, *keys]

    def must(self, *arguments: str, **more: str) -> Outcome:
        """Run a verb that has to succeed."""
        outcome = self.run(*arguments, **more)
        assert outcome.code == 0, outcome.said
        return outcome

    def connect(self, *arguments: str, **more: str) -> Outcome:
        """Connect, without a question."""
        return self.must("connect", "--region", self.region, "--yes", *arguments, **more)

    def undo(self) -> Outcome:
        """Take it back, without a question."""
        region = ("--region", self.region) * (self.target == "cloud-run")
        return self.must("connect", *region, "--undo", "--yes")

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
        return self.google.state() | self.google.run.state() | self.gitlab.state()

    def kill(self, process: "subprocess.Popen[str]") -> None:
        """End a process in the way of a power cut."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Bake once for all: connecting changes nothing in the project."""
    return cache(lambda target: bake_quickly(tmp_path_factory.mktemp(target), deploy_to=target))


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
def pair(
    request: pytest.FixtureRequest,
    baked: Callable[[str], Path],
    google: Google,
    gitlab: GitLab,
    tmp_path: Path,
) -> Pair:
    """Return both, unconnected."""
    temp = tmp_path / "tmp"
    temp.mkdir()
    target = getattr(request, "param", "app-engine")
    return Pair(baked(target), google, gitlab, temp, target)
