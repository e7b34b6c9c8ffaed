"""Makes the baked folder a git repository with hooks wired; Cookiecutter runs it there, last.

Before that, it removes the files of choices that were not made.

A hook that fails makes Cookiecutter delete the project, so nothing that git refuses is an error:
it is one line of warning that says what to type later.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# The answers come in as data, and nothing else here is a template: this file is plain Python.
# In pairs, as tojson would sort them by name.
ANSWERS = r"""{{ cookiecutter.items() | list | tojson }}"""

GIT_SECONDS = 30

TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}")  # what Python calls its temporary folders


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
    answers = dict(json.loads(ANSWERS))
    keep_chosen(answers)
    if is_compared(answers):
        return 0
    warnings = [record_origin(answers)]
    if answers["init_git"]:
        warnings.append(make_repository(answers))
    for warning in filter(None, warnings):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"\nNext:\n  cd {shlex.quote(folder())}\n  bin/setup\n  bin/dev")
    return 0


def keep_chosen(answers: dict[str, Any]) -> None:
    """Remove the files of choices that were not made; upgrade/choice.py does so in an upgrade."""
    for prompt, paths_of in answers["_files_of"].items():
        listed = {path for paths in paths_of.values() for path in paths}
        for path in map(Path, listed - set(paths_of[answers[prompt]])):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_compared(answers: dict[str, Any]) -> bool:
    """Whether `cruft diff` or `cruft update` bakes, to compare the files with those of a project.

    They do so in a temporary folder of Python's, and would take a repository in it for files, too.
    """
    place = Path.cwd().parent
    temporary = place.parent == Path(tempfile.gettempdir()).resolve()
    return "_commit" in answers and temporary and bool(TEMPORARY.fullmatch(place.name))


def record_origin(answers: dict[str, Any]) -> str | None:
    """Write .cruft.json: all that an upgrade needs; return the one warning that is due, if any.

    The format is that of cruft, which calls the address `template` and the release `checkout`.
    """
    lost = "it cannot be upgraded to a newer version of the template later"
    if "_commit" in answers:  # cruft bakes: it writes the same file again, with all it knows
        origin = {"template": answers["_template"], "commit": answers["_commit"], "checkout": None}
        warning, directory, context = None, None, answers
    else:
        template = start() / answers.get("_repo_dir", "")
        if os.name == "nt" and not Path(answers.get("_repo_dir", "")).is_absolute():
            return f"the template's folder has to be given in full, from the drive on: {lost}"
        try:
            git("-C", str(template), "ls-files", "--error-unmatch", "cookiecutter.json")
            commit = git("-C", str(template), "rev-parse", "HEAD")
        except GitError as error:
            return f"the project's template has no git history ({error}): {lost}"
        origin = {
            "template": address(template, answers["_template"]),
            "commit": commit,
            "checkout": release(template),
        }
        directory = git("-C", str(template), "rev-parse", "--show-prefix").rstrip("/") or None
        context = {name: value for name, value in answers.items() if not name.startswith("_")}
        warning = None
        if git("-C", str(template), "--no-optional-locks", "status", "--porcelain", "--", "."):
            warning = f"{template} has changes that are in no commit: an upgrade will not know them"
    state = {**origin, "context": {"cookiecutter": context}, "directory": directory}
    text = json.dumps(state, ensure_ascii=False, indent=2) + "\n"
    Path(".cruft.json").write_text(text, "utf-8", newline="\n")
    return warning


def address(template: Path, typed: str) -> str:
    """Return where everybody finds the template: where it was cloned from, if that has the commit.

    Else it is the folder on this machine. Passwords and tokens in an address are left out.
    """
    try:
        if git("-C", str(template), "branch", "--remotes", "--contains", "HEAD"):
            origin = git("-C", str(template), "remote", "get-url", "origin")
            if (template / origin).exists():
                return str((template / origin).resolve())
            return re.sub(r"^(https?://)[^/@]*@", r"\1", origin)
    except GitError:
        pass  # no such remote
    return str((start() / typed).resolve())


def release(template: Path) -> str | None:
    """Return the tag of the template's commit, if it has one."""
    try:
        return git("-C", str(template), "describe", "--tags", "--exact-match", "HEAD")
    except GitError:
        return None


def folder() -> str:
    """Return the project's path from the folder where Cookiecutter was started."""
    if start() == Path.cwd():
        return str(Path.cwd())
    return os.path.relpath(Path.cwd(), start())


def start() -> Path:
    """Return the folder where Cookiecutter was started: this hook runs in the project.

    Git Bash writes PWD in a way that Windows cannot read; there, it is taken for the project.
    """
    return Path.cwd() if os.name == "nt" else Path(os.environ.get("PWD", Path.cwd()))


def make_repository(answers: dict[str, Any]) -> str | None:
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
            git("add", "--chmod=+x", "--", *executables())
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


def executables() -> list[str]:
    """Find the files that people, hooks and CI run; Windows has no mode to tell."""
    files = [*Path("bin").iterdir(), *Path(".githooks").iterdir()]
    return sorted(path.as_posix() for path in files if path.suffix == "")


if __name__ == "__main__":
    raise SystemExit(main())
