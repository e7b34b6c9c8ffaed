"""A private folder for credentials and uploads: gone when the command ends, however it ends."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from delivery import signals
from delivery.errors import MisuseError

LONGEST_SHOWN = 120
# What a value that was meant for another variable may hold: part of a key, a word that is longer
# than any name here, one with the prefix of a token, or of letters and digits at random.
_SECRET = re.compile(
    r"(?i:private|secret|password)|[\w+=~-]{33}|\b(?:gl[a-z]{2,8}-|ya29|eyJ|AIza)"
    r"|(?=[\w+~-]*\d)(?=[\w+~-]*[A-Z])(?=[\w+~-]*[a-z])[\w+~-]{14,}"
)


class PrivateFolder:
    """Made on first use, readable by this user alone; closing it waits until nothing is left."""

    def __init__(self, *, outside: Path) -> None:
        self._outside = outside  # the project: nothing private may lie within it
        self._path: Path | None = None
        self._cleanup: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The folder itself."""
        if self._path is None:
            place = Path(tempfile.gettempdir()).resolve()
            if place.is_relative_to(self._outside.resolve()):
                raise MisuseError(
                    f"the folder for temporary files, {place}, lies inside the project",
                    why="credentials are kept there while a command runs",
                    then="set TMPDIR to a folder outside the project",
                )
            with signals.deferred():
                self._path = Path(tempfile.mkdtemp(prefix="delivery-"))  # mode 0700
                self._cleanup = _start_cleanup(self._path)
        return self._path

    def write(self, name: str, text: str) -> Path:
        """Keep a secret in a file that this user alone can read."""
        file = self.path / name
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        return file

    def folder(self, name: str) -> Path:
        """Make an empty folder in the private folder."""
        folder = self.path / name
        folder.mkdir(mode=0o700)
        return folder

    def guard(self, pid: int) -> None:
        """Have a program stopped if this process is killed while the program runs.

        Use `path` first. The program itself may call this, after it was forked.
        """
        self._tell(f"+{pid}")

    def release(self) -> None:
        """Stop guarding: the program has ended. Only one runs at a time."""
        self._tell("-")

    def close(self) -> None:
        """Remove the folder through the process for clean-up, so that every run exercises it."""
        if self._cleanup is not None and self._cleanup.stdin is not None:
            with contextlib.suppress(OSError):
                self._cleanup.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._cleanup.wait(timeout=10)
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)  # should that process itself be dead
        self._path = self._cleanup = None

    def _tell(self, line: str) -> None:
        if self._cleanup is not None and self._cleanup.stdin is not None:
            with contextlib.suppress(OSError):
                self._cleanup.stdin.write(f"{line}\n".encode())


def _start_cleanup(folder: Path) -> "subprocess.Popen[bytes]":
    # Isolated and without site: it starts in a moment and nothing of the project can break it.
    # A session of its own: the signals that end a job or a Ctrl-C do not reach it. No output: a
    # job log that it held open would keep the job from ending. No environment: it needs no secret.
    script = Path(__file__).with_name("cleanup.py")
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), str(folder)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder.parent,
        env=keep,
        start_new_session=True,
    )


def shown(value: str) -> str:
    """Repeat a wrong value, unless it may be a key or a token that was pasted there."""
    plain = len(value) <= LONGEST_SHOWN and value.isprintable() and not _SECRET.search(value)
    return repr(value) if plain else f"a text of {len(value)} characters"
