"""What an upgrade says to a person."""

from upgrade.git import Git
from upgrade.merge import Merged
from upgrade.notes import DUTY
from upgrade.plan import Plan


def summary(project: Git, plan: Plan, merged: Merged) -> str:
    """Say what changes: versions, answers, files, and what the releases ask of a person."""
    stat = project("diff", "--stat=80", "--no-color", plan.start, merged.tree).rstrip("\n")
    parts = [plan.message.splitlines()[0], stat]
    if plan.notes.duties:
        parts.append("\n".join([f"{DUTY}:", *plan.notes.duties]))
    return "\n\n".join(parts)


def conflicts(plan: Plan, merged: Merged, back: str) -> str:
    """List the files that need a person, each with the reason, and the commands that follow."""
    away = f"git switch {back} && git branch -D {plan.branch}"
    width = max(map(len, merged.conflicts))
    listed = [f"  {path:<{width}}  {reason}" for path, reason in merged.conflicts.items()]
    relock = (
        ["  bin/lock                    # the project has dependencies of its own"]
        if plan.relock
        else []
    )
    return "\n".join(
        [
            f"On branch {plan.branch}, these files need you:",
            *listed,
            "Edit them; git add FILE or git rm FILE settles one. Then type:",
            *relock,
            "  git cherry-pick --continue",
            "  bin/setup && bin/check && bin/test",
            f"  git switch {back} && git merge {plan.branch}",
            f"To go back: git cherry-pick --abort && {away}",
        ]
    )


def by_hand(conflicts: dict[str, str], command: str) -> str:
    """List the files that need a person, and the command that brings one there."""
    listed = [f"{path}: {reason}" for path, reason in conflicts.items()]
    return "\n".join([*listed, f"By hand: {command}"])


def clean(plan: Plan, merged: Merged, back: str, failed: str | None) -> str:
    """Say where the upgrade is, what is left to do, and what to type next."""
    lines = [f"The upgrade is one commit on branch {plan.branch}."]
    if merged.relock_failed:
        lines += [
            "The locks are merged, but bin/lock failed, so they may not fit each other:",
            *(f"  {line}" for line in merged.relock_failed.splitlines()[-5:]),
            "When it works: bin/lock && git commit --all --amend --no-edit",
        ]
    if failed:
        lines += [
            f"{failed} failed: see above. Fix it here and commit; {back} is as it was.",
        ]
    lines += [
        f"To take it: git switch {back} && git merge {plan.branch}",
        f"To drop it: git switch {back} && git branch -D {plan.branch}",
    ]
    return "\n".join(lines)
