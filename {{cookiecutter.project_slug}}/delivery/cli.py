"""The command line: reads what was typed, runs one verb, says how it ended; for __main__.py."""

import argparse
import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from delivery import appengine, release, revision, traffic, upkeep
from delivery.check import Checker, fetch
from delivery.console import Console
from delivery.errors import DeliveryError, Interrupted
from delivery.job import LOOK, Job
from delivery.process import Runner
from delivery.target import Target
from delivery.vault import Vault

ROOT = Path(__file__).resolve().parent.parent

# The targets; with a second one, a variable will choose.
TARGETS: Mapping[str, Callable[[Runner], Target]] = {"appengine": appengine.AppEngine}

TIMEOUT = 120.0
COMMITS = "default: the one of the checked-out commit"
ROLLBACK_TIMEOUT = 30.0  # in an emergency the next candidate is worth more than patience

EPILOG = f"""\
a delivery, step by step (the pipeline runs just this):
  python -m delivery deploy               upload this commit beside what serves; no traffic
  python -m delivery verify               is it healthy on its own address? deleted if not
  python -m delivery promote --canary 10  give it a tenth of the traffic (if you like)
  python -m delivery promote              give it all traffic; taken back if production fails
  python -m delivery prune                delete all but the newest versions to roll back to

when production is broken:
  python -m delivery rollback             back to the newest older version that works

try it without touching anything:
  python -m delivery --dry-run deploy     looks, and prints the commands that would change something

Each command can be repeated, also after it was killed. VERSION, where it is left out, is the one
of the checked-out commit: v<commit time, UTC>-<commit>.

environment variables:
{appengine.SETTINGS}
In CI, GAE_PROJECT and one of the two logins are required. SSL_CERT_FILE, HTTPS_PROXY and NO_COLOR
are honoured.

exit codes:
  0  done, also when there was nothing to do
  1  failed; production is as it was
  2  wrong usage, settings or tools; nothing was touched
  3  refused (older, not healthy, changed by someone else); production is as it was
  4  production failed after the traffic was moved, which was moved back
  5  production has changed, or may have, and a person must look
  128+N  ended by signal N; the last lines say what became of production
"""


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    root: Path = ROOT,
    create_target: Callable[[Runner], Target] = TARGETS["appengine"],
) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(argv)
    environ = os.environ if environ is None else environ
    console = Console(environ)
    try:
        with _signals_raise(), Vault(outside=root) as vault:
            runner = Runner(console, vault, root, environ, dry_run=options.dry_run)
            job = Job(
                target=create_target(runner),
                console=console,
                check=Checker(console, fetch),
                commit_version=partial(revision.of_commit, runner),
                refuse_uncommitted=partial(revision.refuse_uncommitted, runner),
                timeout=options.timeout,
                dry_run=options.dry_run,
                report=root / "review.env" if environ.get("CI") else None,
            )
            code, result = _run(options.verb, job, options)
    except Interrupted as stop:  # before the verb began, or after it had ended
        return 128 + stop.signum
    if result:
        console.result(result)
    return code


def _run(
    verb: Callable[[Job, argparse.Namespace], str], job: Job, options: argparse.Namespace
) -> tuple[int, str]:
    """Run a verb; whatever happens, say what is known about production."""
    try:
        return 0, verb(job, options)
    except DeliveryError as failure:
        job.console.fail(failure, job.production)
        return failure.exit_code, ""
    except Interrupted as stop:
        by = signal.Signals(stop.signum).name
        then = f"{LOOK}; this command can be repeated"
        job.console.fail(DeliveryError(f"stopped by {by}", then=then), job.production)
        return 128 + stop.signum, ""
    except Exception as bug:  # noqa: BLE001 - a bug here must not hide the state of production
        traceback.print_exc()
        error = DeliveryError("a mistake in delivery/ itself", why=repr(bug), then=LOOK)
        job.console.fail(error, job.production)
        return 1 if job.production == "unchanged" else 5, ""


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Make the signals that ask for an end unwind the stack, so that everything is put away."""
    signals = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]

    def end(signum: int, _frame: FrameType | None) -> None:
        for each in signals:  # once is enough: a second one must not cut the tidying up short
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signum)

    before = {each: signal.signal(each, end) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _parser() -> argparse.ArgumentParser:
    # Options that may stand before or after the verb: after it, they must not reset the value.
    after = argparse.ArgumentParser(add_help=False)
    after.add_argument(
        "--dry-run", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    parser = argparse.ArgumentParser(
        prog="python -m delivery",
        description="Brings a commit to production, and production back to an earlier commit.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="look, and print the commands that would change something",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(
        name: str, run: Callable[[Job, argparse.Namespace], str], text: str, *, timeout: float = 0
    ) -> argparse.ArgumentParser:
        verb = verbs.add_parser(
            name, parents=[after], help=text, description=text, allow_abbrev=False
        )
        verb.set_defaults(verb=run, timeout=timeout or TIMEOUT)
        if timeout:
            verb.add_argument(
                "--timeout",
                type=_seconds,
                metavar="SECONDS",
                help=f"how long a check may take until it has failed (default: {timeout:.0f})",
            )
        return verb

    verb = add(
        "deploy", lambda job, o: release.deploy(job, o.version), "upload this commit; traffic stays"
    )
    verb.add_argument("--version", help="name of the version (default: after the commit)")

    verb = add(
        "verify",
        lambda job, o: release.verify(job, o.version),
        "check a version on its own address; one that fails and has no traffic is deleted",
        timeout=TIMEOUT,
    )
    verb.add_argument("version", nargs="?", metavar="VERSION", help=COMMITS)

    verb = add(
        "promote",
        lambda job, o: traffic.promote(job, o.version, canary=o.canary, force=o.force),
        "check a version and give it the traffic; taken back if production then fails",
        timeout=TIMEOUT,
    )
    verb.add_argument("version", nargs="?", metavar="VERSION", help=COMMITS)
    verb.add_argument(
        "--canary", type=_share, metavar="PERCENT", help="give it this share only (1 to 99)"
    )
    verb.add_argument("--force", action="store_true", help="even if it is older or not healthy")

    verb = add(
        "rollback",
        lambda job, o: traffic.rollback(job, o.version),
        "give all traffic to the newest older version that works, or to VERSION",
        timeout=ROLLBACK_TIMEOUT,
    )
    verb.add_argument(
        "version", nargs="?", metavar="VERSION", help="default: the newest older one that works"
    )

    verb = add(
        "prune", lambda job, o: upkeep.prune(job, keep=o.keep), "delete versions that nobody needs"
    )
    verb.add_argument(
        "--keep", type=int, default=5, metavar="N", help="older versions to keep (default: 5)"
    )

    add("status", lambda job, _: upkeep.status(job), "show the versions and their traffic")

    verb = add(
        "review",
        lambda job, o: release.review(job, o.iid),
        "deploy and check a merge request's version; in CI, leave its URL in review.env",
        timeout=TIMEOUT,
    )
    verb.add_argument("iid", metavar="IID", help="number of the merge request")

    verb = add("stop", lambda job, o: release.stop(job, o.iid), "delete a merge request's version")
    verb.add_argument("iid", metavar="IID", help="number of the merge request")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 3600")
    return seconds


def _share(text: str) -> int:
    share = int(text)
    if not 1 <= share <= 99:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 99")
    return share
