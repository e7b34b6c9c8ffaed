"""Stand-ins for the world around delivery/: a clock, programs, processes, Google's answers."""

import io
import json
import os
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.google.rest import Answer, ApiError
from delivery.process import Runner

ROOT = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"

posix = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def program(folder: Path, name: str, script: str) -> Path:
    """Write a shell script that stands in for a program."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


class Machine:
    """A project folder, a PATH with stand-ins, and a runner that says what it does."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str] | None = None, *, dry_run: bool = False
    ) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir(exist_ok=True)
        self.clock = Clock()
        self.progress, self.results = io.StringIO(), io.StringIO()
        self.console = Console({}, progress=self.progress, results=self.results)
        self.private = PrivateFolder(outside=self.project)
        path = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
        self.runner = Runner(
            self.console, self.private, self.project, path | dict(environ or {}), dry_run=dry_run
        )

    def install(self, name: str, script: str) -> None:
        program(self.folder / "bin", name, script)

    def stop_the_clock(self) -> None:
        """Let pauses cost nothing, and start no process for clean-up, where neither matters."""
        self.runner.clock, self.runner.sleep = self.clock, self.clock.sleep
        self.private._path = self.folder / "private"
        self.private._path.mkdir()

    @property
    def said(self) -> str:
        return self.progress.getvalue()


def is_running(pid: int) -> bool:
    """Whether a process is there, and not merely waiting to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    try:
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(fact: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@dataclass
class Google:
    """Answers requests from a script; remembers them.

    Each answer is for requests whose "METHOD URL" holds the words; it serves once, the last one
    with the same words for ever. An answer is what becomes JSON, bytes, an error, or a function.
    """

    answers: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    requests: list[urllib.request.Request] = field(default_factory=list)

    def script(self, *answers: tuple[str, Any]) -> "Google":
        self.answers = list(answers)
        self.asked.clear()
        self.requests.clear()
        return self

    def send(self, request: urllib.request.Request, timeout: float) -> Answer:
        assert timeout > 0
        words = f"{request.get_method()} {request.full_url}"
        self.asked.append(words)
        self.requests.append(request)
        matching = [answer for answer in self.answers if answer[0] in words]
        assert matching, f"no answer for: {words}"
        chosen = matching[0]
        if sum(answer[0] == chosen[0] for answer in self.answers) > 1:
            self.answers.remove(chosen)
        answer = chosen[1]() if callable(chosen[1]) else chosen[1]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Answer):
            return answer
        return Answer(200, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def body(self, number: int = -1) -> Any:
        """Return what a request carried, parsed."""
        data = self.requests[number].data
        assert isinstance(data, bytes)
        return json.loads(data)


def lost(why: str = "no answer: timed out") -> ApiError:
    """Make the error of a request whose answer did not come."""
    return ApiError(0, why)


def refused(status: int, message: str = "no") -> ApiError:
    """Make the error of a request that was answered with one."""
    return ApiError(status, message)
