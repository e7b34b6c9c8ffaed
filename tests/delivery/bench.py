"""What the tests of the verbs work on: a site that is delivered to, and a way to step in."""

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from delivery import record
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.deploy import deploy
from delivery.errors import RefusedError
from delivery.job import Job
from delivery.ledger import Ledger
from delivery.probe import Finding, Probe
from delivery.process import Runner
from delivery.promote import promote
from delivery.record import Record
from delivery.splits import Split
from delivery.target import Target

from tests.delivery.files_target import FilesTarget

# Versions, in the order of their commits.
A = "v20261101t100000-aaaaaaaa"
B = "v20261102t100000-bbbbbbbb"
C = "v20261103t100000-cccccccc"
D = "v20261104t100000-dddddddd"
PUBLIC = "https://app.test"
EPOCH = datetime(2026, 11, 10, tzinfo=UTC)

CHANGES = ("deploy", "set_traffic", "delete", "write_record")

Verb = Callable[[Job], str]


def url_of(version: str) -> str:
    """Return the address that a version has on a site."""
    return f"https://{version}.app.test"


class KilledError(BaseException):
    """The process is no more; no `except` for ordinary errors may see it."""


@dataclass
class Taps:
    """Steps in before and after the calls of a job: `at(moment, call)` may do, or raise, anything.

    The moments of a job count from 1: one before each call, and one after each that changes
    something. (After any other, it is as it is before the next.) Each is named as in "before url".
    """

    at: Callable[[int, str], None]
    moment: int = 0

    def on(self, thing: object) -> Any:
        """Return a stand-in for an object that passes each call on to it."""
        return _Tapped(thing, self)

    def pass_by(self, call: str) -> None:
        """Count a moment."""
        self.moment += 1
        self.at(self.moment, call)


class _Tapped:
    def __init__(self, thing: object, taps: Taps) -> None:
        self._thing, self._taps = thing, taps

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._thing, name)
        if not callable(function):
            return function

        def call(*args: object) -> object:
            self._taps.pass_by(f"before {name}")
            result = function(*args)
            if name in CHANGES:
                self._taps.pass_by(f"after {name}")
            return result

        return call


@dataclass
class Commits:
    """A clone in which dates alone say which commit is newer, unless `parents` knows better."""

    checked_out: str
    parents: dict[str, str] = field(default_factory=dict)
    uncommitted: bool = False

    def version(self) -> str:
        return self.checked_out

    def refuse_uncommitted(self) -> None:
        if self.uncommitted:
            raise RefusedError("there are changes that are not committed")

    def export(self, folder: Path) -> None:
        (folder / "app.py").write_text(self.checked_out)

    def is_ancestor(self, version: str, other: str) -> bool | None:
        if not {version, other} & {*self.parents, *self.parents.values()}:
            return None
        while other in self.parents:
            other = self.parents[other]
            if other == version:
                return True
        return False

    def between(self, old: str, new: str) -> Sequence[str]:
        return [f"all that is in {new} and not in {old}"]


@dataclass
class SiteProbe:
    """Sees what visitors would: every version is well, except those that the site says are not."""

    site: "Site"
    target: Target

    def version(self, url: str, revision: str, timeout: float) -> Finding:
        assert timeout > 0
        self.site.probed.append(url)
        if revision in self.site.away:
            return Finding(healthy=False, why="no such host", reached=False)
        if revision in self.site.ill:
            return Finding(healthy=False, why=f"{url}/health answers 500")
        return Finding(healthy=True)

    def public(self, url: str, split: Split, timeout: float) -> Finding:
        assert timeout > 0
        self.site.probed.append(url)
        serving = self.target.serving()
        if set(serving) != set(split):
            return Finding(healthy=False, why=f"{url} runs {', '.join(serving)}")
        if self.site.broken & set(serving):
            return Finding(healthy=False, why=f"{url} answers 500")
        return Finding(healthy=True)


@dataclass
class Site:
    """A folder that is delivered to; `job` is what one process works with."""

    folder: Path
    ill: set[str] = field(default_factory=set)  # fail on their own address
    broken: set[str] = field(default_factory=set)  # fail in production only
    away: set[str] = field(default_factory=set)  # cannot be reached from here
    now: datetime = EPOCH
    probed: list[str] = field(default_factory=list)
    progress: io.StringIO = field(default_factory=io.StringIO)
    results: io.StringIO = field(default_factory=io.StringIO)

    def job(
        self,
        commit: str = C,
        *,
        taps: Taps | None = None,
        who: str = "ada",
        dry_run: bool = False,
        report: Path | None = None,
    ) -> Job:
        """Return what a verb needs, in a clone in which this commit is checked out."""
        console = Console({}, progress=self.progress, results=self.results)
        settings = {"SITE_FOLDER": str(self.folder), "SITE_HOST": "app.test"}
        private = PrivateFolder(outside=self.folder)
        runner = Runner(console, private, self.folder, settings, dry_run=dry_run)
        files = FilesTarget(runner)
        files.login()
        target: Target = taps.on(files) if taps else files
        probe: Probe = SiteProbe(self, files)
        return Job(
            target=target,
            console=console,
            probe=cast("Probe", taps.on(probe)) if taps else probe,
            commits=Commits(commit),
            ledger=Ledger(target, self.sleep, dry_run=dry_run),
            folder=self._private_folder,
            who=who,
            sleep=self.sleep,
            now=lambda: self.now,
            dry_run=dry_run,
            report=report,
        )

    def _private_folder(self, name: str) -> Path:
        folder = self.folder.parent / f"{self.folder.name}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def deploy(self, *versions: str) -> None:
        """Deploy versions, as the verb does."""
        for version in versions:
            deploy(self.job(version), version)

    def deliver(self, *versions: str) -> "Site":
        """Deploy and promote versions, one an hour, as the verbs do."""
        for version in versions:
            self.deploy(version)
            promote(self.job(version), version)
            self.sleep(3600)
        return self

    def split(self, **shares: float) -> None:
        """Split the traffic by hand: without these verbs."""
        names = {"a": A, "b": B, "c": C, "d": D}
        self.job().target.set_traffic({names.get(k, k): share for k, share in shares.items()})

    def write_record(self, text: str) -> None:
        """Replace the record by something else."""
        target = self.job().target
        target.write_record(text, target.read_record().tag)

    def copy(self) -> "Site":
        """Return another site with the same versions, split and record; it is quick."""
        name = f"copy-{len(list(self.folder.parent.iterdir()))}"
        folder = self.folder.parent / name
        folder.mkdir()
        other = Site(
            folder,
            self.ill.copy(),
            self.broken.copy(),
            self.away.copy(),
            self.now,
        )
        target = self.job().target
        newest = {f".record.{target.read_record().tag}"}
        splits = self.folder.glob(".split.*")
        newest |= (
            {max(splits, key=lambda file: int(file.suffix[1:])).name} if target.serving() else set()
        )
        for file in self.folder.iterdir():  # none of them is ever written a second time
            if file.is_dir():
                (other.folder / file.name).mkdir()
            elif file.name in newest:
                (other.folder / file.name).hardlink_to(file)
        return other

    @property
    def serving(self) -> Split:
        return self.job().target.serving()

    @property
    def versions(self) -> set[str]:
        return {version.id for version in self.job().target.versions()}

    @property
    def record(self) -> Record:
        return record.load(self.job().target.read_record().text)

    @property
    def story(self) -> list[tuple[str, Split, str]]:
        """What the record says of each move that happened: verb, split, outcome."""
        return [
            (move.verb, move.after, move.outcome)
            for move in self.record.moves
            if move.outcome != record.NEVER
        ]

    @property
    def said(self) -> str:
        return self.progress.getvalue()
