"""The command line: reads what was typed, runs one verb, says how it ended; for __main__.py."""

import argparse
import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from delivery import signals
from delivery.commits import Repository, who
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.deploy import deploy
from delivery.destination import Destination, SetUp
from delivery.errors import AlarmError, DeliveryError, Interrupted
from delivery.job import STATUS, Job, State
from delivery.ledger import Ledger
from delivery.log import log
from delivery.logs import logs
from delivery.probe import HttpProbe, fetch
from delivery.process import Runner
from delivery.promote import promote
from delivery.prune import prune
from delivery.review import review
from delivery.rollback import rollback
from delivery.status import status
from delivery.stop import stop
from delivery.verify import verify

ROOT = Path(__file__).resolve().parent.parent

ASTRAY = {State.CHANGED, State.UNKNOWN}

TIMEOUT = 120.0
COMMITS = "default: the one of the checked-out commit"
ROLLBACK_TIMEOUT = 30.0  # in an emergency the next candidate is worth more than patience

EPILOG = """\
once, to set it up:
{set_up}

a delivery, step by step (the pipeline runs just this):
  python -m delivery deploy               upload this commit beside what serves; no traffic
  python -m delivery verify               is it healthy on its own address? deleted if not
  python -m delivery promote --canary 10  give it a tenth of the traffic (if you like)
  python -m delivery promote              give it all traffic; taken back if production fails
  python -m delivery prune                delete all but the newest versions to roll back to

when production is broken:
  python -m delivery rollback             back to the version that worked before

to see what is there, and who delivered what:
  python -m delivery status
  python -m delivery log

to see what a version wrote:
  python -m delivery logs

try it without touching anything:
  python -m delivery --dry-run deploy     looks, and prints the commands that would change something

Each command can be repeated, also after it was killed. VERSION, where it is left out, is the one
of the checked-out commit: v<commit time, UTC>-<commit>.

environment variables:
{settings}
SSL_CERT_FILE, HTTPS_PROXY and NO_COLOR are honoured.

exit codes:
  0  done, also when there was nothing to do
  1  failed; production is as it was
  2  wrong usage, settings or tools; nothing was touched
  3  refused (older, not healthy, rolled back from, changed by someone else)
  4  production failed after the traffic was moved, which was moved back
  5  production has changed, or may have, and a person must look
  128+N  ended by signal N; the last lines say what became of production
"""
DOCTOR = "\n(python -m delivery doctor, on a laptop, names all that is lacking)"


def main(
    destination: Destination,
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> int:
    """Run one command and return its exit code."""
    environ = os.environ if environ is None else environ
    console = Console(environ)
    try:
        options = _parser(destination).parse_args(argv)
    except SystemExit:  # --help, or wrong usage
        console.flush()
        raise
    try:
        with signals.raising(), PrivateFolder(outside=root) as private:
            runner = options.runner = Runner(
                console, private, root, environ, dry_run=options.dry_run
            )
            target = destination.target(runner)
            job = Job(
                target=target,
                console=console,
                probe=HttpProbe(console, fetch),
                commits=Repository(runner),
                ledger=Ledger(target, runner.sleep, dry_run=options.dry_run),
                folder=private.folder,
                who=who(environ),
                timeout=options.timeout,
                dry_run=options.dry_run,
                report=root / "review.env" if environ.get("CI") else None,
            )
            hint = DOCTOR if "doctor" in destination.set_up else ""
            code, result = _run(options.verb, job, options, hint)
    except Interrupted as stopped:  # before the verb began, or after it had ended
        return 128 + stopped.signum
    if result:
        console.result(result)
    return code


def _run(
    verb: Callable[[Job, argparse.Namespace], str],
    job: Job,
    options: argparse.Namespace,
    hint: str,
) -> tuple[int, str]:
    """Run a verb; whatever happens, say what is known about production.

    `hint` is what else to do where a permission is missing.
    """
    try:
        return 0, verb(job, options)
    except DeliveryError as failure:
        if failure.forbidden:
            failure.then += hint
        job.console.fail(failure, str(job.production))
        return _exit_code(failure, job), ""
    except Interrupted as stopped:
        by = signal.Signals(stopped.signum).name
        then = f"{STATUS}; this command can be repeated"
        job.console.fail(DeliveryError(f"stopped by {by}", then=then), str(job.production))
        return 128 + stopped.signum, ""
    except Exception as bug:  # noqa: BLE001 - a bug here must not hide the state of production
        why = "".join(traceback.format_exception(bug)).rstrip()
        error = DeliveryError("a mistake in delivery/ itself", why=why, then=STATUS)
        job.console.fail(error, str(job.production))
        return _exit_code(error, job), ""


def _exit_code(failure: DeliveryError, job: Job) -> int:
    """Return the code of an error; "as it was" must not be said of a production that is not."""
    if failure.exit_code == DeliveryError.exit_code and job.production.state in ASTRAY:
        return AlarmError.exit_code
    return failure.exit_code


def _parser(destination: Destination) -> argparse.ArgumentParser:
    # Options that may stand before or after the verb: after it, they must not reset the value.
    after = argparse.ArgumentParser(add_help=False)
    after.add_argument(
        "--dry-run", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    parser = argparse.ArgumentParser(
        prog="python -m delivery",
        description="Brings a commit to production, and production back to an earlier commit.",
        epilog=_epilog(destination),
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
        "deploy",
        lambda job, o: deploy(job, o.version, force=o.force),
        "upload this commit; traffic stays",
    )
    verb.add_argument(
        "--version", type=_named, help="name of the version (default: after the commit)"
    )
    verb.add_argument("--force", action="store_true", help="even if it was rolled back from")

    verb = add(
        "verify",
        lambda job, o: verify(job, o.version),
        "check a version on its own address; one that fails and never served is deleted",
        timeout=TIMEOUT,
    )
    verb.add_argument("version", nargs="?", type=_named, metavar="VERSION", help=COMMITS)

    verb = add(
        "promote",
        lambda job, o: promote(job, o.version, canary=o.canary, force=o.force),
        "check a version and give it the traffic; taken back if production then fails",
        timeout=TIMEOUT,
    )
    verb.add_argument("version", nargs="?", type=_named, metavar="VERSION", help=COMMITS)
    verb.add_argument(
        "--canary", type=_share, metavar="PERCENT", help="give it this share only (1 to 99)"
    )
    verb.add_argument(
        "--force",
        action="store_true",
        help="even if it is older, not healthy, or was rolled back from",
    )

    verb = add(
        "rollback",
        lambda job, o: rollback(job, o.version),
        "give all traffic to the version that worked before, or to VERSION",
        timeout=ROLLBACK_TIMEOUT,
    )
    verb.add_argument(
        "version",
        nargs="?",
        type=_named,
        metavar="VERSION",
        help="default: the last that worked before",
    )

    verb = add("prune", lambda job, o: prune(job, keep=o.keep), "delete versions that nobody needs")
    verb.add_argument(
        "--keep",
        type=int,
        default=destination.keep,
        metavar="N",
        help=f"versions that worked to keep (default: {destination.keep})",
    )

    add("status", lambda job, _: status(job), "show the versions and their traffic")

    verb = add("log", lambda job, o: log(job, count=o.count), "show who moved the traffic when")
    verb.add_argument(
        "-n", dest="count", type=_count, default=20, metavar="N", help="how many (default: 20)"
    )

    verb = add(
        "review",
        lambda job, o: review(job, o.iid),
        "deploy and check a merge request's version; in CI, leave its URL in review.env",
        timeout=TIMEOUT,
    )
    verb.add_argument("iid", metavar="IID", help="number of the merge request")

    verb = add("stop", lambda job, o: stop(job, o.iid), "delete a merge request's version")
    verb.add_argument("iid", metavar="IID", help="number of the merge request")

    verb = add(
        "logs", lambda job, o: logs(job, o.version), "show the last lines that a version wrote"
    )
    verb.add_argument(
        "version", nargs="?", type=_named, metavar="VERSION", help="default: the one that serves"
    )

    for name, set_up in destination.set_up.items():
        set_up.add_options(add(name, _without_a_job(set_up), set_up.help))
    return parser


def _without_a_job(set_up: SetUp) -> Callable[[Job, argparse.Namespace], str]:
    return lambda _, options: set_up.run(options.runner, options)


def _epilog(destination: Destination) -> str:
    lines = [
        f"  {f'python -m delivery {name}':<38}  {set_up.help}"
        for name, set_up in destination.set_up.items()
    ]
    return EPILOG.format(set_up="\n".join(lines), settings=destination.settings)


def _named(text: str) -> str:
    if not text.strip():  # as of a variable that is not set: not the same as leaving it out
        raise argparse.ArgumentTypeError("is empty: name a version, or leave it out")
    return text


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= 3600:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 3600")


def _share(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= (share := int(text)) <= 99:
            return share
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 99")


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (count := int(text)) >= 1:
            return count
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
