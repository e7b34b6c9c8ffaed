"""A git hook that waits until the test lets it go, so that things can happen meanwhile."""

import os
import signal
import subprocess
from pathlib import Path

from tests.conftest import BakedProject, clean_environment

CONFIG = """\
  - repo: local
    hooks:
      - id: slow
        name: slow
        entry: {entry}
        language: system
        always_run: true
        pass_filenames: false
        stages: [pre-commit, pre-push]
        priority: 5
"""
PROGRAM = """\
#!/bin/sh
echo >'{started}'
read -r _ <'{go}'
"""


class SlowHook:
    """A hook of the project that says when it has started, and ends when it is told to."""

    def __init__(self, project: BakedProject, folder: Path) -> None:
        """Add it to the project's hooks, in a commit; keep its parts in a folder of its own."""
        folder.mkdir()
        self.project = project
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._started, self._go, program = folder / "started", folder / "go", folder / "slow"
        os.mkfifo(self._started)
        os.mkfifo(self._go)
        program.write_text(PROGRAM.format(started=self._started, go=self._go), "utf-8")
        program.chmod(0o755)
        config = project.read(".pre-commit-config.yaml") + CONFIG.format(entry=program)
        project.write(".pre-commit-config.yaml", config)
        project.must("git", "commit", "--no-verify", "--all", "--message", "Add a slow hook")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of git's, and return when it runs the hook."""
        running = subprocess.Popen(
            command,
            cwd=self.project.path,
            env=clean_environment() | self.project.env | {"TMPDIR": str(self.temporary)},
            start_new_session=True,  # as a terminal does, and so that a signal reaches all of it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.read_text("utf-8")
        return running

    def finish(self, running: subprocess.Popen[str]) -> tuple[int, str]:
        """Let the hook end; return how the command ended, and what it printed."""
        self._go.write_text("\n", "utf-8")
        said, _ = running.communicate(timeout=120)
        return running.returncode, said

    def stop(self, running: subprocess.Popen[str], number: signal.Signals) -> None:
        """Send a signal to all that the command has started; return when all of it has ended."""
        os.killpg(running.pid, number)
        running.communicate(timeout=60)  # until nothing holds its output any more
