"""`python -m upgrade`: brings many projects to a version, from a clone of the template.

Each project is upgraded in a clone of its own, so that nobody's open work is in the way. What is
clean and green becomes a branch of the project; the rest waits for a person, and is never touched.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upgrade import adopt, errors, journal, one, project, report, state
from upgrade.errors import RefusedError
from upgrade.git import OURS, Git, GitError
from upgrade.merge import merge
from upgrade.one import Project
from upgrade.plan import Wanted
from upgrade.template import Template

ROOT = Path(__file__).parents[1]
ROW = "{:<28} {:<10} {:<10} {:<22} {:>7}"


@dataclass(frozen=True)
class Outcome:
    """A row of the table, what a person has to know beside it, and the exit code for it."""

    result: str
    code: int
    old: str = "-"
    new: str = "-"
    detail: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Upgrade all that are named; the exit code is that of the worst."""
    parser = argparse.ArgumentParser(
        prog="python -m upgrade", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("projects", nargs="+", metavar="FOLDER_OR_ADDRESS")
    project.add_options(parser)
    parser.add_argument("--push", action="store_true", help="push the branches to their origins")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project.speak_plainly()
    template = Template.at(ROOT)
    try:
        if options.adopt:
            return adopt_all(template, options)
        version = options.to or newest(template)
    except (RefusedError, GitError) as error:
        print(f"upgrade: {error}", file=sys.stderr)
        return errors.REFUSED
    return upgrade_all(template, version, options)


def newest(template: Template) -> str:
    """Return the newest release of this clone."""
    releases = template.releases()
    if not releases:
        raise RefusedError("this clone has no tag that is a version: git fetch --tags, or --to")
    return releases[0]


def upgrade_all(template: Template, version: str, options: argparse.Namespace) -> int:
    """Upgrade one after the other, and print a row for each as soon as it is done."""
    print(ROW.format("client", "from", "to", "result", "seconds"), flush=True)
    worst = errors.DONE
    details = []
    for target in options.projects:
        started = time.monotonic()
        try:
            outcome = upgrade(target, template, version, options)
        except RefusedError as error:
            outcome = Outcome("refused", errors.REFUSED, detail=str(error))
        except (GitError, OSError, subprocess.SubprocessError) as error:
            outcome = Outcome("failed", errors.FAILED, detail=str(error))
        except KeyboardInterrupt:
            print("upgrade: interrupted; the projects above are done", file=sys.stderr)
            return errors.INTERRUPTED
        seconds = f"{time.monotonic() - started:.1f}"
        row = ROW.format(name(target), outcome.old, outcome.new, outcome.result, seconds)
        print(row, flush=True)
        if outcome.detail:
            details.append(f"{target}:\n  " + outcome.detail.replace("\n", "\n  "))
        worst = max(worst, outcome.code)
    print("".join(f"\n{detail}\n" for detail in details), end="")
    return worst


def upgrade(target: str, template: Template, version: str, options: argparse.Namespace) -> Outcome:
    """Upgrade one project in a clone; take the branch to the project, or push it, if it is good."""
    with tempfile.TemporaryDirectory(prefix="upgrade-") as temporary:
        clone = Path(temporary) / name(target)
        folder = Path(target).resolve() if Path(target).is_dir() else None
        Git(Path(temporary))(*OURS, "clone", "--quiet", "--", str(folder or target), clone)
        here = Project.at(clone)
        if folder:
            _take_identity(Git(folder), here.git)
        one.refuse_unready(here)
        old = state.read(clone)
        with journal.locked(here.git) as place:
            plan = one.prepare(here, template, Wanted(version, dict(options.set)), place)
            if plan is None:
                return Outcome("nothing to do", errors.DONE, old.name, old.name)
            versions = (plan.old.name, plan.new.name)
            if folder:
                one.refuse_branch(Project.at(folder), plan)
            merged = merge(here.git, here.prefix, plan, place / "tree")
            if merged.conflicts:
                return Outcome(
                    "conflicts",
                    errors.CONFLICTS,
                    *versions,
                    _by_hand(target, plan.new.name, merged.conflicts),
                )
            one.carry_out(here, plan, merged, place)
        red = None if options.no_checks else _checks(here)
        if merged.relock_failed or red:
            what, why = red or ("bin/lock", str(merged.relock_failed))
            detail = "\n".join(
                [*why.splitlines()[-15:], *([] if folder else ["Nothing was pushed."])]
            )
            if folder:
                _bring(here.git, folder, plan.branch)
            return Outcome(f"{what} red", errors.FAILED, *versions, detail)
        if folder:
            _bring(here.git, folder, plan.branch)
        if options.push:
            origin = Git(folder) if folder else here.git
            origin("push", "--quiet", "--no-verify", "--set-upstream", "origin", plan.branch)
        done = "clean, pushed" if options.push else "clean" if folder else "clean, not pushed"
        duties = "\n".join(plan.notes.duties)
        return Outcome(done, errors.DONE, *versions, f"You must do:\n{duties}" if duties else "")


def adopt_all(template: Template, options: argparse.Namespace) -> int:
    """Write .cruft.json in each folder; stop at the first that does not resemble that version."""
    address = (
        template.git.line("remote", "get-url", "origin")
        if template.git.ok("remote", "get-url", "origin")
        else str(ROOT)
    )
    for target in options.projects:
        options.template = address
        here = Project.at(Path(target).resolve())
        with journal.locked(here.git) as place:
            project.sweep(here.git, place)
            adopt.adopt(here, template, options, place)
            project.sweep(here.git, place)
    return errors.DONE


def name(target: str) -> str:
    """Return what a row calls a project."""
    return target.rstrip("/").rpartition("/")[2].removesuffix(".git") or "project"


def _take_identity(project: Git, clone: Git) -> None:
    """Commit in the clone as in the project, whose settings a clone does not have."""
    for setting in ("user.name", "user.email"):
        if project.ok("config", "--get", setting):
            clone("config", setting, project.line("config", "--get", setting))


def _bring(clone: Git, folder: Path, branch: str) -> None:
    """Take a branch from the clone to the project; its work tree stays as it is."""
    here = Git(folder)
    here(*OURS, "fetch", "--quiet", str(clone.folder), f"+refs/heads/{branch}:refs/heads/{branch}")


def _by_hand(target: str, version: str, conflicts: dict[str, str]) -> str:
    where = f"cd {target}" if Path(target).is_dir() else f"git clone {target} && cd {name(target)}"
    return report.by_hand(conflicts, f"{where} && bin/upgrade --to {version}")


def _checks(here: Project) -> tuple[str, str] | None:
    """Run the checks with their output in a file; return the one that failed, and what it said."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        failed = one.check(here, output=log.fileno())
        log.seek(0)
        return (failed, log.read()) if failed else None


if __name__ == "__main__":
    raise SystemExit(main())
