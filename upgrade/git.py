"""Runs git: in one folder, in English, and without the variables of a git that called."""

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Our own commits and checkouts run no hook, ask for no passphrase, and know line endings that the
# project's .gitattributes would write differently for what they are: no change.
OURS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "commit.gpgSign=false"),
    *("-c", "merge.renormalize=true"),
)

# Names of files may be in any encoding, and no line ending is translated on the way.
NAMES = ("utf-8", "surrogateescape")


class GitError(Exception):
    """Git refused or failed; the message is its own last line."""


@dataclass(frozen=True)
class Git:
    """Git in a folder, with more environment variables if need be."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run git and return what it prints, as it is; raise GitError when it fails."""
        done = self._run(arguments, stdin)
        if done.returncode:
            lines = _text(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
            raise GitError(f"git {_verb(arguments)}: {lines[-1]}")
        return _text(done.stdout)

    def line(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run git and return the one line that it prints."""
        return self(*arguments, stdin=stdin).strip()

    def paths(self, *arguments: str | Path) -> list[str]:
        """Run git with an output that -z ends with a null each, and return its items."""
        return [item for item in self(*arguments).split("\0") if item]

    def ok(self, *arguments: str | Path) -> bool:
        """Whether git succeeds."""
        return self._run(arguments, None).returncode == 0

    def using(self, **env: str) -> "Git":
        """Return the same with more variables."""
        return Git(self.folder, {**self.env, **env})

    def _run(
        self, arguments: tuple[str | Path, ...], stdin: str | None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", *arguments],
                capture_output=True,
                check=False,
                cwd=self.folder,
                env={**environment(), **self.env},
                input=b"" if stdin is None else stdin.encode(*NAMES),
            )
        except FileNotFoundError as error:
            raise GitError("git is not installed") from error


def _verb(arguments: tuple[str | Path, ...]) -> str:
    words = iter(map(str, arguments))
    for word in words:
        if word == "-c":
            next(words)
        elif not word.startswith("-"):
            return word
    return ""


def _text(output: bytes) -> str:
    return output.decode(*NAMES)


def environment() -> dict[str, str]:
    """Return the environment for git: in English, and without a question to anybody."""
    return outside() | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true"}


def outside() -> dict[str, str]:
    """Return the environment that a person's shell had: for programs of the project.

    Gone is what a git that called has set for its own, and what brought this program its packages.
    """
    inner = {*_local_variables(), "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in inner}
    own = {str(Path(sys.prefix) / folder) for folder in ("bin", "Scripts")}
    path = [folder for folder in kept.get("PATH", "").split(os.pathsep) if folder not in own]
    return kept | {"PATH": os.pathsep.join(path)}


@functools.cache
def _local_variables() -> frozenset[str]:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--local-env-vars"], capture_output=True, check=True, text=True
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed") from error
    return frozenset(done.stdout.split())
