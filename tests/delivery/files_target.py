"""The smallest complete target: a folder, from which some web server serves each version.

    SITE_FOLDER/VERSION/    the files of a version, and what it wrote in VERSION.log
    SITE_FOLDER/.split.N    which version gets which share of the traffic, after the Nth move
    SITE_FOLDER/.record.N   the record of deliveries, as it was written for the Nth time

It shows how a target is written, and the unit tests deliver to it.
"""

import json
import re
import secrets
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from delivery.destination import Destination
from delivery.errors import CommandError, ConflictError, MisuseError
from delivery.process import Runner
from delivery.splits import ALL, Split
from delivery.target import Stored, Version

SETTINGS = """\
  SITE_FOLDER  the folder to deliver to
  SITE_HOST    the public host name; a version has VERSION.SITE_HOST"""


class FilesTarget:
    """Versions are folders; split and record are files that are never half written."""

    STEP: ClassVar[float] = 0.1
    FIRST_SERVES: ClassVar[bool] = True

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._folder = Path()
        self._host = ""

    def login(self) -> None:
        try:
            self._folder = Path(self._runner.environ["SITE_FOLDER"])
            self._host = self._runner.environ["SITE_HOST"]
        except KeyError as error:
            raise MisuseError(f"{error} is not set") from error

    def accept(self, version: str) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", version):
            raise MisuseError(f"{version!r} cannot be the name of a version")

    def deploy(self, version: str, source: Path) -> None:
        home, upload = self._folder / version, self._folder / f".{version}"
        if self._dry_run(f"copy the files to {home}"):
            return
        for leftover in (upload, home):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(source, upload)
        upload.rename(home)  # now it is a version: half a copy never is
        if not self.serving():
            self.set_traffic({version: ALL})

    def versions(self) -> list[Version]:
        split = self.serving()
        return [
            Version(
                id=home.name,
                url=f"https://{home.name}.{self._host}",
                created=datetime.fromtimestamp(home.stat().st_mtime, UTC),
                share=split.get(home.name, 0.0),
            )
            for home in sorted(self._folder.glob("[!.]*/"))
        ]

    def serving(self) -> Split:
        split: Split = json.loads(self._read("split").text or "{}")
        return split

    def set_traffic(self, split: Split) -> None:
        if self._dry_run(f"split the traffic: {json.dumps(split)}"):
            return
        missing = [version for version in split if not (self._folder / version).is_dir()]
        if missing:
            raise CommandError(f"there is no version {', '.join(missing)}")
        self._write("split", json.dumps(split), self._read("split").tag)

    def settle(self) -> None:
        """Return at once: there is a new file, or there is none."""

    def url(self) -> str:
        return f"https://{self._host}"

    def delete(self, versions: Sequence[str]) -> None:
        busy = sorted({*versions} & {*self.serving()})
        if busy:
            raise CommandError(f"cannot delete what has traffic: {', '.join(busy)}")
        for version in versions:
            if not self._dry_run(f"delete {self._folder / version}"):
                shutil.rmtree(self._folder / version, ignore_errors=True)

    def log(self, version: str) -> list[str]:
        file = self._folder / version / f"{version}.log"
        return file.read_text("utf-8").splitlines()[-20:] if file.exists() else []

    def read_record(self) -> Stored:
        return self._read("record")

    def write_record(self, text: str, tag: str) -> str:
        return self._write("record", text, tag)

    def _read(self, name: str) -> Stored:
        newest = max((int(file.suffix[1:]) for file in self._folder.glob(f".{name}.*")), default=0)
        text = (self._folder / f".{name}.{newest}").read_text("utf-8") if newest else ""
        return Stored(text, tag=str(newest))

    def _write(self, name: str, text: str, tag: str) -> str:
        draft = self._folder / f".{secrets.token_hex(4)}"
        draft.write_text(text, "utf-8")
        new = int(tag) + 1
        try:  # of two writers that have both read N, only one can make a file N + 1
            (self._folder / f".{name}.{new}").hardlink_to(draft)
        except FileExistsError as error:
            raise ConflictError(f"the {name} was changed by someone else meanwhile") from error
        finally:
            draft.unlink()
        return str(new)

    def _dry_run(self, what: str) -> bool:
        if self._runner.dry_run:
            self._runner.console.result(what)
        return self._runner.dry_run


DESTINATION = Destination(FilesTarget, SETTINGS)
