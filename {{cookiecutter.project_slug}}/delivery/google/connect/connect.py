"""The verb connect: shows what is lacking between GitLab and Google Cloud, asks, and makes it."""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from delivery.errors import CommandError, DeliveryError, MisuseError, RefusedError
from delivery.gitlab import GitLabError
from delivery.google.connect.plan import Row, describe, plan, region_of, table
from delivery.google.connect.resource import Context, Resource, State, explained
from delivery.google.connect.resources import everything
from delivery.google.connect.start import answer, begin
from delivery.google.rest import ApiError
from delivery.process import Runner

NEXT = """\
Google's permissions take up to seven minutes to be known everywhere.
next: git push --set-upstream origin main
      python -m delivery doctor, if a job fails"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what connect can be told."""
    add_places(parser)
    parser.add_argument("--region", metavar="REGION", help="of the application; it is for good")
    parser.add_argument("--with-key", action="store_true", help="a key in GAE_KEY, not keyless")
    parser.add_argument("--reviews", action="store_true", help="review apps, too; keyless only")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--print", action="store_true", dest="show", help="print commands instead")
    parser.add_argument("--undo", action="store_true", help="remove what connect has made")


def add_places(parser: argparse.ArgumentParser) -> None:
    """Declare where to look."""
    parser.add_argument("--project", metavar="ID", help="the Google Cloud project")
    parser.add_argument("--gitlab-project", metavar="GROUP/NAME", help="default: git's origin")
    parser.add_argument("--gitlab-url", metavar="URL", help="default: git's origin")


def connect(runner: Runner, options: argparse.Namespace) -> str:
    """Connect the two projects; whatever is there already is left as it is."""
    if options.with_key and options.reviews:
        raise MisuseError(
            "--with-key and --reviews do not go together",
            why="the key is protected, and merge requests must not get it",
        )
    with begin(runner, options, ask=True) as (context, pool):
        if options.undo:
            return _undo(runner, options, context, pool)
        resources = everything(context)
        rows = plan(context, resources, pool)
        if not context.wish.region and context.app is None:
            rows = _ask_region(runner, options, context, rows)
        if options.show:
            return "\n".join(c for row in rows if row.look.to_do for c in row.resource.commands())
        runner.console.result(describe(rows))
        _refuse_blocked(rows)
        to_do = [row for row in rows if row.look.to_do]
        if not to_do:
            return "Everything is there: nothing was changed."
        if runner.dry_run:
            return f"{len(to_do)} to do; nothing was changed."
        foreign = [row.resource.name for row in to_do if row.look.foreign]
        if foreign and options.yes:
            raise RefusedError(
                f"not made here, and different: {', '.join(foreign)}",
                why="the table shows the difference; who made it may need it as it is",
                then="without --yes, you can decide",
            )
        _confirm(
            runner,
            options,
            f"Make these {len(to_do)}?" + " It OVERWRITES what differs." * bool(foreign),
        )
        context.cloud.patient = True
        _each(
            runner,
            [row.resource for row in to_do],
            lambda each: each.create(),
            context.wish.again(),
        )
    return NEXT


def _ask_region(
    runner: Runner, options: argparse.Namespace, context: Context, rows: list[Row]
) -> list[Row]:
    app = region_of(rows)
    if any(row.look.state is State.BLOCKED for row in rows):
        return rows  # nothing will be made, so nothing need be asked
    regions = app.regions()
    if options.yes or runner.dry_run or options.show:
        region = ""
    else:
        runner.console.step("Where shall the application run? This is for good.")
        runner.console.step(f"  {', '.join(regions)}")
        region = answer(runner, "Region")
    if not region and not (runner.dry_run or options.show):
        raise MisuseError("no region is chosen", then=f"--region, one of: {', '.join(regions)}")
    context.wish = replace(context.wish, region=region)
    return [replace(row, look=app.look()) if row.resource is app else row for row in rows]


def _refuse_blocked(rows: Sequence[Row]) -> None:
    blocked = [row for row in rows if row.look.state is State.BLOCKED]
    if blocked:
        raise RefusedError(
            f"{len(blocked)} in the way: {', '.join(row.resource.name for row in blocked)}",
            why="\n".join(f"{row.resource.name}: {row.look.detail}" for row in blocked),
            then="\n".join(row.look.then for row in blocked) + "\nNothing was changed.",
        )


def _confirm(runner: Runner, options: argparse.Namespace, question: str) -> None:
    if not options.yes and answer(runner, f"{question} [y/N]").lower() not in {"y", "yes"}:
        raise RefusedError("not confirmed; nothing was changed", then="answer y, or add --yes")


def _undo(runner: Runner, options: argparse.Namespace, context: Context, pool: Executor) -> str:
    context.wish = replace(context.wish, reviews=True)
    resources = everything(context, undo=True)[::-1]
    made = list(pool.map(lambda resource: resource.made(), resources))
    rows = []
    for resource, ours in zip(resources, made, strict=True):
        if ours or resource.stays:
            state = "to remove" if ours else "stays"
            rows.append((resource.name, state, resource.purpose if ours else resource.stays, ""))
    runner.console.result(table(rows))
    ours_only = [resource for resource, ours in zip(resources, made, strict=True) if ours]
    if not ours_only:
        return "Nothing here was made by connect: nothing was changed."
    if runner.dry_run:
        return f"{len(ours_only)} to remove; nothing was changed."
    _confirm(runner, options, f"Remove these {len(ours_only)}?")
    _each(runner, ours_only, lambda each: each.remove(), f"{context.wish.again()} --undo")
    return (
        "Removed. The names of the pool and its provider stay reserved for 30 days;\n"
        "connect brings them back."
    )


def _each(
    runner: Runner, resources: Sequence[Resource], act: Callable[[Resource], None], again: str
) -> None:
    """Make or remove each; a failure tells what is done, what is not, and what to type."""
    for position, resource in enumerate(resources):
        start = runner.clock()
        try:
            act(resource)
        except DeliveryError as error:
            done = ", ".join(each.name for each in resources[:position]) or "nothing"
            left = ", ".join(each.name for each in resources[position:])
            what, then = error.what, error.then
            if isinstance(error, ApiError):
                what, then = f"HTTP {error.status}" if error.status else "no answer", ""
            if isinstance(error, GitLabError):
                then = explained(error).then
            raise CommandError(
                f"{resource.name}: {what}",
                why=f"{error.why}\ndone: {done}\nnot done: {left}".strip(),
                then=then or f"{again}\nIt goes on from here.",
            ) from error
        runner.console.done(f"  {resource.name} ({runner.clock() - start:.1f} s)")
