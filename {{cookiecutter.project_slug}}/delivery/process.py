"""Runs other programs (git, a vendor's client); how they end becomes text or one kind of error."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from delivery.console import Console
from delivery.errors import CommandError, MisuseError
from delivery.vault import Vault
from delivery.watchdog import stop_tree

WHERE_TO_GET = {
    "gcloud": "install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install",
    "git": "install git: https://git-scm.com/downloads",
}


@dataclass
class Runner:
    """Runs programs in the project's directory: without a shell, with a time limit."""

    console: Console
    vault: Vault
    root: Path
    environ: Mapping[str, str]
    dry_run: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = field(default=time.sleep)

    def read(
        self,
        argv: Sequence[str],
        *,
        doing: str,
        timeout: float,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program that only looks, and return what it printed; a dry run runs it too."""
        if self.dry_run:
            self.console.detail(f"  $ {shlex.join(argv)}")
        return self._run(argv, doing, timeout, environ)

    def change(
        self,
        argv: Sequence[str],
        *,
        doing: str,
        timeout: float,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program that changes something; a dry run prints it instead."""
        if self.dry_run:
            self.console.result(shlex.join(argv))
            return ""
        return self._run(argv, doing, timeout, environ)

    def _run(
        self, argv: Sequence[str], doing: str, timeout: float, environ: Mapping[str, str] | None
    ) -> str:
        environ = self.environ if environ is None else environ
        tool = argv[0]
        program = shutil.which(tool, path=environ.get("PATH"))  # gcloud.cmd on Windows
        if program is None:
            raise MisuseError(f"{tool} is not on the PATH", then=WHERE_TO_GET.get(tool, ""))
        try:
            child = subprocess.Popen(
                [program, *argv[1:]],
                cwd=self.root,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                # Its own group: Ctrl-C reaches us alone, and we end all of it, wrappers included.
                start_new_session=os.name != "nt",
            )
        except OSError as error:
            raise MisuseError(f"{tool} cannot be started", why=str(error)) from error
        try:
            with self.vault.guarding(child.pid):
                out, err = self._wait(child, doing, timeout)
        except BaseException:  # a time limit or a signal: nothing may go on behind our back
            stop_tree(child.pid)
            child.communicate()
            raise
        if child.returncode == 0:
            return out
        ending = (
            f"was killed by signal {-child.returncode}"
            if child.returncode < 0
            else f"failed (exit code {child.returncode})"
        )
        raise CommandError(f"{doing}: {tool} {ending}", why=err.strip() or out.strip())

    def _wait(self, child: subprocess.Popen[str], doing: str, timeout: float) -> tuple[str, str]:
        start = self.clock()
        while True:
            try:
                return child.communicate(timeout=min(self.console.beat, timeout))
            except subprocess.TimeoutExpired as expired:
                elapsed = self.clock() - start
                if elapsed >= timeout:
                    what = f"{doing}: no answer within {timeout:.0f} s, so it was stopped"
                    error = CommandError(what)
                    error.timed_out = True
                    raise error from expired
                self.console.waiting(doing, elapsed)
