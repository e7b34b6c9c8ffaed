"""Picks an upgrade's commit in a scratch work tree, where nobody is disturbed by the outcome."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upgrade.git import OURS, Git, GitError, outside
from upgrade.plan import Plan

# What the two letters of `git status` mean for a file that git could not merge.
REASONS = {
    "UU": "both changed the same lines",
    "AA": "both added it",
    "DD": "both removed or renamed it",
    "DU": "you removed or renamed it, the template changed it",
    "UD": "you changed it, the template removed or renamed it",
    "AU": "you put a file there, and the template renamed one",
    "UA": "the template put a file there, and you renamed one",
}

MOVED = "Move files to where"


@dataclass(frozen=True)
class Merged:
    """The outcome: a commit on top of the project's own, or the files that need a person.

    `tree` is what the work tree has afterwards in both cases, marks of conflicts included.
    """

    commit: str | None
    conflicts: dict[str, str]
    tree: str
    relock_failed: str | None = None


def merge(project: Git, prefix: str, plan: Plan, scratch: Path) -> Merged:
    """Merge in a new work tree at `scratch`, which is gone again afterwards."""
    with _work_tree(project, plan.start, scratch) as tree:
        move(tree, plan)
        try:
            pick(tree, plan)
        except GitError:
            conflicts = unmerged(tree)
            if not conflicts:
                raise  # git has another reason
            tree("add", "--all", "--force")
            return Merged(None, conflicts, tree.line("write-tree"))
        failed = _lock(tree, scratch / prefix) if plan.relock else None
        result = tree.line("write-tree")
        commit = tree.line("commit-tree", result, "-p", plan.start, stdin=plan.message)
        return Merged(commit, {}, result, failed)


def move(tree: Git, plan: Plan) -> None:
    """Move files that the project edited to where the template has them now, in a commit."""
    if not plan.moves:
        return
    for old, new in plan.moves.items():
        (tree.folder / new).parent.mkdir(parents=True, exist_ok=True)
        tree("mv", "--", old, new)
    tree(
        *OURS, "commit", "--quiet", "--no-verify", "--message", f"{MOVED} {plan.new.name} has them"
    )


def pick(tree: Git, plan: Plan) -> None:
    """Cherry-pick; GitError, with conflicts in the index, if git cannot merge it all."""
    tree(*OURS, "cherry-pick", plan.pick)


def unmerged(tree: Git) -> dict[str, str]:
    """Return the files that git could not merge, each with the reason."""
    options = ("--porcelain", "-z", "--untracked-files=no", "--no-renames")
    items = (line for line in tree.paths("status", *options))
    return {item[3:]: REASONS[item[:2]] for item in items if item[:2] in REASONS}


@contextlib.contextmanager
def _work_tree(project: Git, commit: str, scratch: Path) -> Iterator[Git]:
    project(*OURS, "worktree", "add", "--quiet", "--detach", scratch, commit)
    try:
        yield Git(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        project("worktree", "prune")


def _lock(tree: Git, folder: Path) -> str | None:
    """Lock again in the index of the work tree; return why not, if it did not work."""
    done = subprocess.run(
        ["sh", "bin/lock"],
        check=False,
        cwd=folder,
        encoding="utf-8",
        env=outside(),
        errors="replace",
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    tree("add", "--update")
    return done.stdout.strip() if done.returncode else None
