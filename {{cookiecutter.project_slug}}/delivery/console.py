"""What a person or a job log sees: progress on stderr, results on stdout; for all that speak."""

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from delivery.errors import DeliveryError

RED, GREEN, YELLOW, DIM = "31", "32", "33", "2"


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
        self._line(self._paint(GREEN, text))

    def warn(self, text: str) -> None:
        """Report what is unusual but no failure."""
        self._line(self._paint(YELLOW, text))

    def detail(self, text: str) -> None:
        """Report what only the curious need."""
        self._line(self._paint(DIM, text))

    def waiting(self, text: str, elapsed: float) -> None:
        """Show that something still runs."""
        first_line, _, _ = text.partition("\n")
        line = f"  ... {first_line} ({elapsed:.0f} s)"
        if not self._live:
            self._line(line)
            return
        _write(self._progress, "\r\x1b[2K" + line[: shutil.get_terminal_size().columns - 1])
        self._waiting = True

    def fail(self, error: DeliveryError, production: str) -> None:
        """Explain a failure: what, why, the state of production, what to type."""
        self._line(self._paint(RED, f"FAILED: {error.what}"))
        parts = {"why": error.why, "log": error.log, "production": production, "next": error.then}
        for label, text in parts.items():
            if text:
                first, *rest = text.splitlines()
                self._line(f"  {label + ':':<12}{first}")
                for line in rest:
                    self._line(f"  {'':<12}{line}")

    def result(self, text: str) -> None:
        """Print what a script may read: a table, a command of a dry run, the final URL."""
        self._settle()
        _write(self._results, f"{text}\n")

    def flush(self) -> None:
        """Write what others, such as argparse, have left in the streams: it may fail, too."""
        for stream in (self._results, self._progress):
            _write(stream, "")

    def _line(self, text: str) -> None:
        self._settle()
        _write(self._progress, f"{text}\n")

    def _settle(self) -> None:
        if self._waiting:
            _write(self._progress, "\r\x1b[2K")
            self._waiting = False

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


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
    """Lead a broken stream nowhere: what it still holds would fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        broken = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, broken)
        os.close(nowhere)
