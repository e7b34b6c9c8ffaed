"""What a person or a job log sees: progress on stderr, results on stdout; for all that speak."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from delivery.errors import DeliveryError

RED, GREEN, YELLOW, DIM = "31", "32", "33", "2"
# What a terminal, or GitLab's log, takes for a command: an application's log may have any.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Console:
    """Writes lines; in colour, and with a line that rewrites itself, only on a terminal.

    Nothing here raises: a reader that goes away (`... | head -1`, a closed terminal) must not
    stop a verb between moving traffic and checking production.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        progress: TextIO | None = None,
        results: TextIO | None = None,
    ) -> None:
        self._progress = progress or sys.stderr  # None where it was closed: `2>&-`
        self._results = results or sys.stdout
        self._live = _is_terminal(self._progress) and environ.get("TERM") != "dumb"
        self._colour = self._live and not environ.get("NO_COLOR")
        self._waiting = False
        # A log keeps every line, so it gets fewer of them than a terminal, which keeps one.
        self.beat = 1.0 if self._live else 10.0

    def step(self, text: str) -> None:
        """Announce what happens now."""
        self._line(text)

    def done(self, text: str) -> None:
        """Report a success."""
        self._line(text, GREEN)

    def warn(self, text: str) -> None:
        """Report something unusual that is not a failure."""
        self._line(text, YELLOW)

    def detail(self, text: str) -> None:
        """Report a detail that most readers can skip."""
        self._line(text, DIM)

    def waiting(self, text: str, elapsed: float) -> None:
        """Show that something still runs."""
        first_line, _, _ = text.partition("\n")
        line = f"  ... {first_line} ({elapsed:.0f} s)"
        if not self._live:
            self._line(line)
            return
        _write(self._progress, "\r\x1b[2K" + line[: shutil.get_terminal_size().columns - 1])
        self._waiting = True

    def ask(self, question: str) -> str:
        """Return what a person types; where nobody is there, an empty text."""
        self._line(f"{question}:")
        return sys.stdin.readline().strip()

    def fail(self, error: DeliveryError, production: str) -> None:
        """Explain a failure: what, why, the state of production, what to type."""
        self._line(f"FAILED: {error.what}", RED)
        parts = {"why": error.why, "log": error.log, "production": production, "next": error.then}
        for label, text in parts.items():
            if text:
                first, *rest = text.splitlines()
                self._line(f"  {label + ':':<12}{first}")
                for line in rest:
                    self._line(f"  {'':<12}{line}")

    def result(self, text: str) -> None:
        """Print to stdout what a script may read: a table, a dry run's command, the final URL."""
        self._settle()
        _write(self._results, f"{_plain(text)}\n")

    def flush(self) -> None:
        """Write what others, such as argparse, have left in the buffers: that can fail, too."""
        for stream in (self._results, self._progress):
            _write(stream, "")

    def _line(self, text: str, colour: str = "") -> None:
        self._settle()
        text = _plain(text)
        painted = f"\x1b[{colour}m{text}\x1b[0m" if colour and self._colour else text
        _write(self._progress, f"{painted}\n")

    def _settle(self) -> None:
        if self._waiting:
            _write(self._progress, "\r\x1b[2K")
            self._waiting = False


def _plain(text: str) -> str:
    return _COMMANDS.sub("\ufffd", text)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a terminal, or Windows, that lacks a character
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # nobody reads it any more
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Send a broken stream to the null device: flushing it at exit would fail again."""
    with contextlib.suppress(OSError, ValueError):
        broken = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, broken)
        os.close(nowhere)
