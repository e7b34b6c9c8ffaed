"""Runs other programs (git, a vendor's client); how they end becomes text or one kind of error."""

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from delivery import signals
from delivery.cleanup import stop_tree
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import CommandError, MisuseError

WHERE_TO_GET = {
    "gcloud": "install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install",
    "git": "install git: https://git-scm.com/downloads",
    "ssh": "install OpenSSH's client: https://www.openssh.com/portable.html",
}
# What no program needs that we start: who needs a credential is handed a file.
SECRETS = (
    *("GAE_KEY", "GCP_KEY", "DEPLOY_KEY", "GITLAB_OIDC_TOKEN", "GITLAB_TOKEN"),
    *("CI_JOB_TOKEN", "CI_REPOSITORY_URL"),
    *("CI_REGISTRY_PASSWORD", "CI_DEPLOY_PASSWORD", "CI_DEPENDENCY_PROXY_PASSWORD"),
)
PIPES_CLOSE = 2.0  # seconds for what a stopped program left behind to let go of its output


@dataclass
class Runner:
    """Runs programs in the project's folder: without a shell, with a time limit."""

    console: Console
    private: PrivateFolder
    root: Path
    environ: Mapping[str, str]
    dry_run: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = field(default=time.sleep)

    def bare_environ(self) -> dict[str, str]:
        """Return the environment without the secrets in it."""
        return {name: value for name, value in self.environ.items() if name not in SECRETS}

    def read(
        self,
        argv: Sequence[str],
        *,
        doing: str,
        timeout: float,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        quiet: bool = False,
    ) -> str:
        """Run a program that only looks, and return what it printed; a dry run runs it too.

        `stdin` is a file that it reads, such as a password in the private folder.
        """
        if self.dry_run and not quiet:
            self.console.detail(f"  $ {shlex.join(argv)}")
        return self._run(argv, doing, timeout, environ, cwd, stdin)

    def change(
        self,
        argv: Sequence[str],
        *,
        doing: str,
        timeout: float,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
    ) -> str:
        """Run a program that changes something; a dry run prints it instead."""
        if self.dry_run:
            self.console.result(shlex.join(argv))
            return ""
        return self._run(argv, doing, timeout, environ, cwd, stdin)

    def _run(
        self,
        argv: Sequence[str],
        doing: str,
        timeout: float,
        environ: Mapping[str, str] | None,
        cwd: Path | None,
        stdin: Path | None,
    ) -> str:
        environ = self.bare_environ() if environ is None else environ
        tool = argv[0]
        program = shutil.which(tool, path=environ.get("PATH"))  # gcloud.cmd on Windows
        if program is None:
            raise MisuseError(f"{tool} is not on the PATH", then=WHERE_TO_GET.get(tool, ""))
        child: subprocess.Popen[str] | None = None
        try:
            with signals.deferred():
                child = self._start([program, *argv[1:]], environ, cwd, stdin)
            out, err = self._wait(child, doing, timeout)
        except BaseException:  # a time limit or a signal: nothing may go on behind our back
            if child is not None:
                stop_tree(child.pid)
                # What it started in a session of its own may hold the pipes open: do not wait.
                with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
                    child.communicate(timeout=PIPES_CLOSE)
                for pipe in (child.stdout, child.stderr):
                    if pipe is not None:  # pragma: no branch - for the type checker
                        pipe.close()
                child.poll()
            raise
        finally:
            self.private.release()
        if child.returncode == 0:
            return out
        ending = (
            f"was killed by signal {-child.returncode}"
            if child.returncode < 0
            else f"failed (exit code {child.returncode})"
        )
        failure = CommandError(f"{doing}: {tool} {ending}", why=err.strip() or out.strip())
        failure.exited = child.returncode
        raise failure

    def _start(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        cwd: Path | None,
        stdin: Path | None,
    ) -> "subprocess.Popen[str]":
        # From here on a process for clean-up listens. The program tells it its number before it
        # does anything else: so not even SIGKILL can end this process at a moment in between.
        _ = self.private.path
        posix = os.name != "nt"
        try:
            with (stdin or Path(os.devnull)).open("rb") as source:
                child = subprocess.Popen(
                    argv,
                    cwd=cwd or self.root,
                    env=dict(environ),
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    # Its own group: Ctrl-C reaches us alone, and we end all of it.
                    start_new_session=posix,
                    # No other thread is alive when a program is started, so this is safe.
                    preexec_fn=self._announce if posix else None,  # noqa: PLW1509
                )
        except OSError as error:
            raise MisuseError(f"{argv[0]} cannot be started", why=str(error)) from error
        if not posix:  # pragma: no cover - Windows forks nothing
            self.private.guard(child.pid)
        return child

    def _announce(self) -> None:  # pragma: no cover - it runs in the program's process
        self.private.guard(os.getpid())

    def _wait(self, child: "subprocess.Popen[str]", doing: str, timeout: float) -> tuple[str, str]:
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
