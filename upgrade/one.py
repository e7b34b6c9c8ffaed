"""Upgrades one project: refuses what would lose something, merges, and leaves a branch."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from upgrade import journal, state
from upgrade import plan as planning
from upgrade.errors import RefusedError
from upgrade.git import OURS, Git, GitError, outside
from upgrade.merge import Merged, move, pick
from upgrade.plan import Plan, Wanted
from upgrade.template import Template

BUSY = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


@dataclass(frozen=True)
class Project:
    """A project in a git repository: usually all of it, else a folder with the prefix."""

    git: Git
    prefix: str

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """Open the project in a folder; RefusedError if that is in no repository with a commit."""
        git = Git(folder)
        try:
            prefix = git.line("rev-parse", "--show-prefix")
            git("rev-parse", "--quiet", "--verify", "HEAD")
        except GitError as error:
            raise RefusedError(
                f"{folder} has no commit to start from ({error}): git init, git add --all and"
                " git commit first"
            ) from error
        return cls(git, prefix)

    def branch(self) -> str:
        """Return the name of the current branch, or the beginning of the commit without one."""
        try:
            return self.git.line("symbolic-ref", "--quiet", "--short", "HEAD")
        except GitError:
            return self.git.line("rev-parse", "--short", "HEAD")


def refuse_unready(project: Project) -> None:
    """Raise RefusedError where an upgrade could mix with work that is under way."""
    git = project.git
    for name, what in BUSY.items():
        if (git.folder / git.line("rev-parse", "--git-path", name)).exists():
            raise RefusedError(
                f"a {what} is under way: end it with git {what} --continue or --abort, then repeat"
            )
    changed = git.paths(
        "status",
        "--porcelain",
        "-z",
        "--untracked-files=no",
        "--no-renames",
        "--ignore-submodules=dirty",
    )
    if changed:
        names = "".join(f"  {item[3:]}\n" for item in changed)
        raise RefusedError(
            f"these changes are in no commit:\n{names}git commit or git stash them, then repeat"
        )
    if not git.ok("cat-file", "-e", f"HEAD:{project.prefix}{state.NAME}"):
        state.read(git.folder)  # which says what to do if it is not there at all
        raise RefusedError(f"{state.NAME} is in no commit: git add and git commit it, then repeat")
    try:
        git("var", "GIT_COMMITTER_IDENT")
    except GitError as error:
        raise RefusedError(
            f'{error}: git config user.name "Your Name", and user.email, then repeat'
        ) from error


def prepare(project: Project, template: Template, wanted: Wanted, place: Path) -> Plan | None:
    """Return the plan of an upgrade, or None where there is nothing to do."""
    new = planning.target(template, state.read(project.git.folder), wanted)
    if new is None:
        return None
    work = place / "work"
    work.mkdir()
    plan = planning.make(project.git, project.prefix, template, new, work)
    return (
        None
        if plan.new.answers == plan.old.answers and plan.new.commit == plan.old.commit
        else plan
    )


def refuse_branch(project: Project, plan: Plan) -> None:
    """Raise RefusedError where the upgrade's branch has commits that would be lost."""
    tip = f"refs/heads/{plan.branch}"
    if not project.git.ok("rev-parse", "--quiet", "--verify", tip):
        return
    if project.branch() == plan.branch:
        raise RefusedError(
            f"you are on {plan.branch} itself: merge it into the branch that it came from, and"
            " repeat there"
        )
    if not project.git.ok("merge-base", "--is-ancestor", tip, plan.start):
        raise RefusedError(
            f"the branch {plan.branch} exists, with commits that are not in {project.branch()}:"
            f" merge it, or remove it with git branch -D {plan.branch}, then repeat"
        )


def refuse_obstacles(project: Project, plan: Plan, merged: Merged) -> None:
    """Raise RefusedError where a file that git does not know stands where a new one comes."""
    top = Path(project.git.line("rev-parse", "--show-toplevel"))
    options = ("--name-only", "--no-renames", "--diff-filter=A", "-z")
    added = project.git.paths("diff", *options, plan.start, merged.tree)
    obstacles = [path for path in added if (top / path).exists() or (top / path).is_symlink()]
    if obstacles:
        names = "".join(f"  {path}\n" for path in obstacles)
        raise RefusedError(
            f"git does not know these files, and the upgrade brings its own:\n"
            f"{names}move them away, then repeat"
        )


def carry_out(project: Project, plan: Plan, merged: Merged, place: Path) -> None:
    """Make the branch in the project and go there; with conflicts, leave the pick to a person."""
    top = Git(Path(project.git.line("rev-parse", "--show-toplevel")))
    with journal.changing(top, place, plan, merged):
        if merged.commit:
            top("branch", "--force", "--no-track", plan.branch, merged.commit)
            top(*OURS, "switch", "--quiet", "--no-overwrite-ignore", plan.branch)
            return
        top(*OURS, "switch", "--quiet", "--no-track", "--force-create", plan.branch, plan.start)
        move(top, plan)
        try:
            pick(top, plan)
        except GitError:
            if not top.ok("rev-parse", "--quiet", "--verify", "CHERRY_PICK_HEAD"):
                raise


def check(project: Project, *, output: int | None = None) -> str | None:
    """Run the project's own checks; return the command that failed, if one did."""
    for command in ("bin/setup", "bin/check", "bin/test"):
        done = subprocess.run(
            ["sh", command],
            check=False,
            cwd=project.git.folder,
            env=outside(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        if done.returncode:
            return command
    return None
