"""A private directory for credentials: gone when the command ends, however it ends."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from delivery.errors import MisuseError


class Vault:
    """Opens on first use; closing it waits until nothing is left."""

    def __init__(self, *, outside: Path) -> None:
        self._outside = outside  # what is uploaded: credentials must never lie within it
        self._path: Path | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

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
        """The directory, readable by this user alone."""
        if self._path is None:
            place = Path(tempfile.gettempdir()).resolve()
            if place.is_relative_to(self._outside.resolve()):
                raise MisuseError(
                    f"the directory for temporary files, {place}, lies inside the project",
                    why="credentials are kept there while a command runs, and must not be uploaded",
                    then="set TMPDIR to a directory outside the project",
                )
            self._path = Path(tempfile.mkdtemp(prefix="delivery-"))  # mode 0700
            self._watchdog = _start_watchdog(self._path)
        return self._path

    def write(self, name: str, text: str) -> Path:
        """Keep a secret in a file that this user alone can read."""
        file = self.path / name
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
        return file

    @contextlib.contextmanager
    def guarding(self, pid: int) -> Iterator[None]:
        """Have a child stopped too, should this process be killed while the child runs."""
        self._tell(f"+{pid}")
        try:
            yield
        finally:
            self._tell(f"-{pid}")

    def close(self) -> None:
        """Remove the directory, through the watchdog: what a crash relies on runs every day."""
        if self._watchdog is not None and self._watchdog.stdin is not None:
            with contextlib.suppress(OSError):
                self._watchdog.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watchdog.wait(timeout=10)
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)  # should the watchdog itself be dead
        self._path = self._watchdog = None

    def _tell(self, line: str) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            with contextlib.suppress(OSError):
                self._watchdog.stdin.write(f"{line}\n".encode())
                self._watchdog.stdin.flush()


def _start_watchdog(directory: Path) -> subprocess.Popen[bytes]:
    # Isolated and without site: it starts in a moment and nothing of the project can break it.
    # A session of its own: the signals that end a job or a Ctrl-C do not reach it. No output: a
    # job log that it held open would keep the job from ending.
    script = Path(__file__).with_name("watchdog.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory.parent,
        start_new_session=True,
    )
