"""Stand-ins for what the verbs work with: a target in memory, a check that is told its findings."""

import io
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from delivery.check import Finding
from delivery.console import Console
from delivery.errors import CommandError, DeliveryError
from delivery.job import Job
from delivery.process import Runner
from delivery.target import Split, Version
from delivery.vault import Vault

OLDEST = "v20261101t100000-aaaaaaaa"
OLD = "v20261102t100000-bbbbbbbb"
NEW = "v20261103t100000-cccccccc"
NEWEST = "v20261104t100000-dddddddd"
PUBLIC = "https://app.test"
DEPLOYED = datetime(2026, 11, 10, tzinfo=UTC)

WELL = Finding(healthy=True)
ILL = Finding(healthy=False, why="/health answers 500")
AWAY = Finding(healthy=False, why="no such host", reached=False)


def url_of(version: str) -> str:
    """Give the address that a version has in these tests."""
    return f"https://{version}.test"


@dataclass
class FakeTarget:
    """Keeps versions in memory, remembers what was changed, fails where it is told to."""

    deployed: dict[str, Version] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failures: dict[str, list[DeliveryError | None]] = field(default_factory=dict)
    splits: list[Split] = field(default_factory=list)  # what serving() answers instead, in turn
    moves_anyway: bool = False  # a failing set_traffic has its effect all the same
    dry_run: bool = False  # nothing that would change something does

    def having(self, *names: str, **shares: float) -> "FakeTarget":
        """Deploy versions, in this order, and split the traffic (v_..., as Python writes names)."""
        for name in names:
            self._add(name, 0)
        for name, share in shares.items():
            self._add(name.replace("_", "-"), share)
        return self

    def _add(self, name: str, share: float) -> None:
        created = DEPLOYED + timedelta(hours=len(self.deployed))
        self.deployed[name] = Version(name, url_of(name), created, share)

    def _fail(self, function: str) -> None:
        planned = self.failures.get(function)
        failure = planned.pop(0) if planned else None
        if failure:
            raise failure

    def login(self) -> None:
        self._fail("login")

    def accept(self, version: str) -> None:
        self._fail("accept")
        assert version

    def deploy(self, version: str) -> None:
        self.done.append(f"deploy {version}")
        self._fail("deploy")
        if not self.dry_run:
            self._add(version, 0 if self.deployed else 100)

    def versions(self) -> list[Version]:
        self._fail("versions")
        return list(self.deployed.values())

    def serving(self) -> Split:
        self._fail("serving")
        if self.splits:
            return self.splits.pop(0)
        return {v.id: v.share for v in self.deployed.values() if v.share}

    def set_traffic(self, split: Split) -> None:
        failing = (self.failures.get("set_traffic") or [None])[0] is not None
        if not self.dry_run and (not failing or self.moves_anyway):
            self.done.append(
                "traffic " + " ".join(f"{name}={share:g}" for name, share in sorted(split.items()))
            )
            for name, version in self.deployed.items():
                self.deployed[name] = replace(version, share=split.get(name, 0))
        self._fail("set_traffic")

    def url(self) -> str:
        self._fail("url")
        return PUBLIC

    def delete(self, version: str) -> None:
        self.done.append(f"delete {version}")
        self._fail("delete")
        if not self.dry_run:
            self.deployed.pop(version, None)


def failure(words: str, *, timed_out: bool = False, transient: bool = False) -> CommandError:
    """Give the error of a program that ended badly."""
    error = CommandError("the tool failed", why=words)
    error.timed_out, error.transient = timed_out, transient
    return error


@dataclass
class FakeCheck:
    """Finds everything well, except where told; remembers what it was asked."""

    findings: dict[str, Finding] = field(default_factory=dict)
    asked: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def __call__(self, url: str, revisions: Set[str], timeout: float) -> Finding:
        assert timeout > 0
        self.asked.append((url, frozenset(revisions)))
        return self.findings.get(url, WELL)


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


@dataclass
class Bench:
    """A job on a fake target, and what it said."""

    job: Job
    target: FakeTarget
    check: FakeCheck
    progress: io.StringIO
    results: io.StringIO

    @property
    def said(self) -> str:
        return self.progress.getvalue()


def bench(
    target: FakeTarget | None = None,
    *,
    ill: Sequence[str] = (),
    findings: Mapping[str, Finding] | None = None,
    dry_run: bool = False,
    report: Path | None = None,
) -> Bench:
    """Set up a job; `ill` names the versions (or addresses) that are not healthy."""
    target = target or FakeTarget()
    target.dry_run = dry_run
    check = FakeCheck({(url if "//" in url else url_of(url)): ILL for url in ill})
    check.findings.update(findings or {})
    progress, results = io.StringIO(), io.StringIO()
    job = Job(
        target=target,
        console=Console({}, progress=progress, results=results),
        check=check,
        sleep=Clock().sleep,
        commit_version=lambda: NEW,
        refuse_uncommitted=lambda: target._fail("uncommitted"),
        dry_run=dry_run,
        report=report,
    )
    return Bench(job, target, check, progress, results)


class ScriptedRunner(Runner):
    """Runs nothing: answers each command from a script of (words in it, answer or error)."""

    def script(self, *answers: tuple[str, str | DeliveryError]) -> "ScriptedRunner":
        """Set what is answered; each answer serves once, the last of its kind for ever."""
        self.answers = list(answers)
        self.ran: list[str] = []
        self.environs: list[Mapping[str, str] | None] = []
        return self

    def _run(
        self, argv: Sequence[str], doing: str, timeout: float, environ: Mapping[str, str] | None
    ) -> str:
        command = " ".join(argv)
        assert doing
        assert timeout
        self.ran.append(command)
        self.environs.append(environ)
        matching = [answer for answer in self.answers if answer[0] in command]
        assert matching, f"no answer for: {command}"
        if len(matching) > 1:
            self.answers.remove(matching[0])
        if isinstance(matching[0][1], DeliveryError):
            raise matching[0][1]
        return matching[0][1]


def scripted(
    root: Path, environ: Mapping[str, str] | None = None, *, dry_run: bool = False
) -> tuple[ScriptedRunner, io.StringIO]:
    """Give a runner without answers yet, and the stream that it reports to."""
    stream, clock = io.StringIO(), Clock()
    console = Console({}, progress=stream, results=stream)
    vault = Vault(outside=root / "project")
    runner = ScriptedRunner(
        console, vault, root, environ or {}, dry_run=dry_run, clock=clock, sleep=clock.sleep
    )
    return runner.script(), stream


def program(folder: Path, name: str, script: str) -> Path:
    """Write a shell script that stands in for a program; skip callers on Windows."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file
