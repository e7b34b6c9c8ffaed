"""Makes the baked folder a git repository with hooks wired; Cookiecutter runs it there, last.

A hook that fails makes Cookiecutter delete the project, so nothing that git refuses is an error:
it is one line of warning that says what to type later.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

# The answers come in as data, and nothing else here is a template: this file is plain Python.
ANSWERS = r"""{{ cookiecutter | tojson }}"""

GIT_SECONDS = 30


class GitError(Exception):
    """Git is missing, refused or too slow; the message is its own."""


def git(*arguments: str) -> str:
    """Run git in the project and return what it prints, or raise GitError.

    A git hook that bakes (a test suite, say) has GIT_DIR and the like set: without them, this
    works on the project. Nothing may ask a question: nobody might be there to answer.
    """
    environment = {k: v for k, v in os.environ.items() if k not in GIT_LOCAL}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took over {GIT_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise GitError(f"git {arguments[0]}: {lines[-1]}") from error
    return done.stdout.strip()


# What `git rev-parse --local-env-vars` prints.
GIT_LOCAL = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}


def main() -> int:
    """Set the project up, say what could not be done, and end with what to type next."""
    answers = json.loads(ANSWERS)
    scripts = executables()
    for script in scripts:
        script.chmod(0o755)
    if answers["init_git"]:
        warning = make_repository(answers, scripts)
        if warning:
            print(f"warning: {warning}", file=sys.stderr)
    print(f"\nNext:\n  cd {shlex.quote(folder())}\n  bin/setup\n  bin/dev")
    return 0


def executables() -> list[Path]:
    """Find the files that people, hooks and CI run."""
    files = [*Path("bin").iterdir(), *Path(".githooks").iterdir()]
    return sorted(path for path in files if path.suffix == "")


def folder() -> str:
    """Return the path from the folder where Cookiecutter was started: this hook runs in another."""
    start = os.environ.get("PWD")
    if start is None or os.name == "nt":  # Git Bash writes PWD in a way that Windows cannot read
        return str(Path.cwd())
    return os.path.relpath(Path.cwd(), start)


def make_repository(answers: dict[str, str], scripts: list[Path]) -> str | None:
    """Make the repository and its first commit; return the one warning that is due, if any."""
    message = f"Start from {answers['_template_name']} {answers['_template_version']}"
    commit = f"git add --all && git commit --no-verify --message {shlex.quote(message)}"
    try:
        outer = git("rev-parse", "--show-toplevel")
    except GitError:
        outer = ""
    if outer:
        return f"{outer} is a git repository already: made none inside it, and wired no hooks"
    try:
        git("-c", "init.defaultBranch=main", "init", "--quiet")
        git("config", "core.hooksPath", ".githooks")
        git("add", "--all")
        if os.name == "nt":  # no such bit in the file system: git's index alone can hold it
            git("add", "--chmod=+x", "--", *map(str, scripts))
    except GitError as error:
        return f"{error}; when it works, type: git init && bin/setup && {commit}"
    signs = ("config", "--type", "bool", "--default", "false", "--get", "commit.gpgSign")
    try:
        signed = git(*signs) == "true"
        # --no-verify: the hooks' tools come with bin/setup. Signing could ask for a passphrase.
        git(
            *("-c", "user.useConfigOnly=true", "-c", "commit.gpgSign=false"),
            *("commit", "--quiet", "--no-verify", "--message", message),
        )
    except GitError as error:
        return f"no first commit ({error}); when git knows your name and e-mail, type: {commit}"
    if signed:
        return "the first commit is not signed; to sign it, type: git commit --amend --no-edit -S"
    return None


if __name__ == "__main__":
    raise SystemExit(main())
