"""Removes a private folder once its owner is gone, even by SIGKILL; credentials.py runs it.

It reads a pipe whose other end only the owner holds: the pipe ends when the owner does. Until
then a line says that a child of the owner has started (+PID) or that it has ended (-), because a
child that outlived its owner would go on acting with the credentials it has read.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def stop_tree(pid: int, *, grace: float = 5.0) -> None:
    """End a process that leads its own group, and all it started: politely, then for good."""
    if os.name == "nt":  # pragma: no cover - gcloud.cmd starts a Python of its own
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        return
    deadline = time.monotonic() + grace
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone: what we want
        os.killpg(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):  # not ours to wait for
            while time.monotonic() < deadline and os.waitpid(pid, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        os.killpg(pid, signal.SIGKILL)


def main(folder: Path) -> None:
    """Wait for the owner's end, then stop what it left running and remove its folder."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # pragma: no branch - Windows lacks the last one
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    running = None
    for line in sys.stdin:
        running = int(line[1:]) if line.startswith("+") else None
    if running:
        stop_tree(running, grace=0)
    # What was stopped may have been about to write, and Windows refuses while a file is open.
    quiet = 10 if running else 1
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        quiet = quiet - 1 if not folder.exists() else quiet
        if not quiet:
            break
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
