"""`bin/upgrade` of a project, after it has fetched the template: `python -m upgrade.project -h`.

The arguments CLONE and VERSION come from bin/upgrade, and later versions must keep them: an old
project's bin/upgrade starts the newest program.
"""

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from upgrade import adopt, errors, journal, merge_request, one, report
from upgrade.errors import RefusedError
from upgrade.git import Git, GitError
from upgrade.merge import merge
from upgrade.one import Project
from upgrade.plan import Wanted
from upgrade.template import Template


def main(arguments: Sequence[str] | None = None) -> int:
    """Upgrade the project in the current folder; the exit code says how it ended."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    speak_plainly()
    try:
        return run(options)
    except (RefusedError, GitError) as error:
        print(f"bin/upgrade: {error}", file=sys.stderr)
        return errors.REFUSED if isinstance(error, RefusedError) else errors.FAILED
    except KeyboardInterrupt:
        print("bin/upgrade: interrupted", file=sys.stderr)
        return errors.INTERRUPTED


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; a mistake in it ends the process."""
    parser = argparse.ArgumentParser(prog="bin/upgrade", description=__doc__.partition("\n")[0])
    parser.add_argument("clone", metavar="CLONE", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("version", metavar="VERSION", help=argparse.SUPPRESS)
    add_options(parser)
    parser.add_argument("--template", metavar="ADDRESS", help="where the template is from now on")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the difference, change nothing"
    )
    parser.add_argument("--merge-request", action="store_true", help="in a job: push, and open one")
    return parser.parse_args(arguments)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command for one project and the one for many have in common."""
    parser.add_argument("--to", metavar="TAG", help="this version, rather than the newest release")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PROMPT=VALUE",
        type=change,
        help="change an answer, such as python_version=3.13",
    )
    parser.add_argument("--adopt", metavar="TAG", help="write .cruft.json for a project without it")
    parser.add_argument(
        "--no-checks", action="store_true", help="leave out bin/setup, bin/check and bin/test"
    )


def change(text: str) -> tuple[str, str]:
    """Split PROMPT=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not PROMPT=VALUE")
    return name, value


def run(options: argparse.Namespace) -> int:
    """Do what the options say, in the current folder."""
    project = Project.at(Path.cwd())
    template = Template.at(options.clone)
    with journal.locked(project.git) as place:
        if journal.recover(project.git, place):
            print("The last bin/upgrade was interrupted: went back to where it began.")
        sweep(project.git, place)
        try:
            if options.adopt:
                return adopt.adopt(project, template, options, place)
            return upgrade(project, template, options, place)
        except (KeyboardInterrupt, GitError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # let nobody interrupt the way back
            journal.recover(project.git, place)
            raise
        finally:
            with contextlib.suppress(GitError):
                sweep(project.git, place)


def upgrade(project: Project, template: Template, options: argparse.Namespace, place: Path) -> int:
    """Upgrade, and say how it went and what to type next."""
    if options.merge_request:
        merge_request.refuse_unready()
        os.environ.update(merge_request.identity())
    if not options.dry_run:
        one.refuse_unready(project)
    wanted = Wanted(options.version, dict(options.set), options.template)
    plan = one.prepare(project, template, wanted, place)
    if plan is None:
        print(f"Nothing to do: the project has version {options.version}, and these answers.")
        return errors.DONE
    if not (options.dry_run or options.merge_request):  # a job's old branch is nobody's work
        one.refuse_branch(project, plan)
    merged = merge(project.git, project.prefix, plan, place / "tree")
    one.refuse_obstacles(project, plan, merged)
    print(report.summary(project.git, plan, merged), flush=True)
    back = project.branch()
    if options.dry_run:
        print("\n" + project.git("diff", "--no-color", plan.start, merged.tree), end="")
        for path, reason in merged.conflicts.items():
            print(f"conflict: {path}: {reason}")
        return errors.CONFLICTS if merged.conflicts else errors.DONE
    if options.merge_request and merged.conflicts:
        print("\n" + report.by_hand(merged.conflicts, "bin/upgrade on a laptop, then push"))
        return errors.CONFLICTS
    one.carry_out(project, plan, merged, place)
    if merged.conflicts:
        print("\n" + report.conflicts(plan, merged, back))
        return errors.CONFLICTS
    sys.stdout.flush()
    try:
        failed = None if options.no_checks else one.check(project)
    except KeyboardInterrupt:
        print("\n" + report.clean(plan, merged, back, None))
        raise
    print("\n" + report.clean(plan, merged, back, failed))
    if options.merge_request:
        merge_request.propose(project.git, plan, failed)
    return errors.FAILED if failed or merged.relock_failed else errors.DONE


def speak_plainly() -> None:
    """Let no name of a file end the program that prints it: not every one is text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def sweep(project: Git, place: Path) -> None:
    """Remove what this upgrade, or one that was killed, has left in its folder."""
    for name in ("tree", "work"):
        shutil.rmtree(place / name, ignore_errors=True)
    project("worktree", "prune")


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
