"""Asks the host, by ssh: what can be asked of host.py, and what a failure of ssh means."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.backoff import pauses
from delivery.dockerhost.place import Place
from delivery.errors import CommandError, ConflictError, MisuseError, UnsettledError
from delivery.process import Runner

TIMEOUT = 60.0
ATTEMPTS = 4
# ssh(1): 255 is ssh's own, and everything else the exit code of what ran on the host. There,
# a shell says 128 and the signal's number for what was killed: it may have done it, or not.
KILLED = 128
PREPARE = "python -m delivery prepare"
DOCTOR = "python -m delivery doctor"

# As in host.py, which is not imported: it needs what Windows has not.
PROTOCOL = 1
FAILED, CONFLICT = 1, 3

# OpenSSH's own words. After these, nothing was asked of the host, and the same may soon succeed:
# a host that starts, or one that has too many callers at once (MaxStartups in sshd_config(5)).
# It has others for what breaks off later: "Connection reset by ... port 22" may be either.
_NOT_NOW = re.compile(
    r"ssh: connect to host |kex_exchange_identification|banner exchange"
    r"|Connection closed by .* port \d+|Temporary failure in name resolution"
)
# Of sudo, and of sudo-rs. Both may also say what is no failure: "unable to resolve host".
_NO_SUDO = re.compile(
    r"^sudo(-rs)?: (a password is required|.* command not found|I'm sorry)|^Sorry, user ",
    re.MULTILINE,
)
_NEVER = (
    (
        "IDENTIFICATION HAS CHANGED",
        "the server shows another key than the one that is known",
        """\
if it was set up anew: on a laptop, unset HOST_KEYS and remove the old key (ssh-keygen -R ADDRESS);
then python -m delivery prepare prints the new one, for HOST_KEYS in GitLab.
Otherwise somebody may be in between: do not go on""",
    ),
    (
        "Host key verification failed",
        "the server's key is not known here",
        """\
export HOST_KEYS='ssh-ed25519 AAAA...', the value that it has in GitLab (Settings > CI/CD >
Variables); or if there is none yet: python -m delivery prepare""",
    ),
    (
        "Permission denied",
        "the server does not accept the key",
        f"""\
if the key has a passphrase: ssh-add. If it is new, name all that may deliver:
{PREPARE} --key FILE.pub --key FILE.pub""",
    ),
    ("Could not resolve hostname", "there is no such server", "look at HOST_ADDRESS"),
)


@dataclass(frozen=True)
class Host:
    """A connection to one project on the host, anew for each question."""

    runner: Runner
    place: Place
    options: Sequence[str] = ()

    def ask(self, *words: str, doing: str, timeout: float = TIMEOUT) -> Any:
        """Ask something that changes nothing; return the answer."""
        return self._ask(words, doing, timeout, None, changes=False)

    def change(
        self, *words: str, doing: str, stdin: Path | None = None, timeout: float = TIMEOUT
    ) -> Any:
        """Have something changed, once; return the answer, or None in a dry run.

        Raise UnsettledError when it may still happen; after any other error it did not.
        """
        return self._ask(words, doing, timeout, stdin, changes=True)

    def command(self, *words: str) -> list[str]:
        """Return the command of a question."""
        place = self.place
        return [
            *("ssh", "-T", *self.options, "-p", str(place.port)),
            *("-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "LogLevel=ERROR"),
            # A host that went away is noticed within half a minute.
            *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"),
            *(f"{place.user}@{place.address}", *words),
        ]

    def _ask(
        self, words: Sequence[str], doing: str, timeout: float, stdin: Path | None, *, changes: bool
    ) -> Any:
        if self.runner.dry_run:
            shown = f"ssh {self.place.user}@{self.place.address} {' '.join(words)}"
            if changes:
                self.runner.console.result(shown + (f" <{stdin.name}" if stdin else ""))
                return None
            self.runner.console.detail(f"  $ {shown}")
        environ = self.runner.bare_environ() | {"LC_ALL": "C"}
        waits = pauses(0.5, longest=4)
        for left in reversed(range(ATTEMPTS)):
            try:
                said = self.runner.read(
                    self.command(*words),
                    doing=doing,
                    timeout=timeout,
                    environ=environ,
                    stdin=stdin,
                    quiet=True,
                )
            except CommandError as error:
                problem = self._problem(error, doing, changes=changes)
                if left and problem.transient:
                    self.runner.sleep(next(waits))
                    continue
                raise problem from error
            return _answer(said)
        raise AssertionError("the last attempt returns or raises")

    def _problem(self, error: CommandError, doing: str, *, changes: bool) -> CommandError:
        """Return what a failure means; raise MisuseError for what no repetition mends."""
        if error.timed_out or (error.exited or 0) < 0:
            return _unsettled(error) if changes else error
        if error.exited == CONFLICT:
            return ConflictError(f"{doing}: {error.why}")
        if (error.exited or 0) > KILLED:
            if _NOT_NOW.search(error.why):
                error.transient = True
                error.then = f"is {self.place.address} up, and is ssh on port {self.place.port}?"
                return error
            for words, what, then in _NEVER:
                if words in error.why:
                    raise MisuseError(f"{doing}: {what}", why=error.why, then=then) from error
            if changes:
                return _unsettled(error)
            error.transient = True
            return error
        if error.exited != FAILED or _NO_SUDO.search(error.why):
            raise MisuseError(f"{doing}: the server is not prepared", why=error.why, then=PREPARE)
        full = "no space left" in error.why.lower()
        then = "python -m delivery prune; on the server: docker system df" if full else DOCTOR
        return CommandError(f"{doing}: it failed on the server", why=error.why, then=then)


def _unsettled(error: CommandError) -> UnsettledError:
    return UnsettledError(error.what, why=error.why, then=error.then)


def _answer(said: str) -> Any:
    try:
        answer = json.loads(said)
        protocol = answer["protocol"]
    except (ValueError, TypeError, KeyError) as error:
        raise MisuseError(
            "the server answers in a form that is not known here",
            why=said[:300],
            then=PREPARE,
        ) from error
    if protocol != PROTOCOL:
        raise MisuseError(
            f"the server has version {protocol} of delivery-host, and the project {PROTOCOL}",
            then=f"{PREPARE}, which brings it up to date",
        )
    return answer["answer"]
