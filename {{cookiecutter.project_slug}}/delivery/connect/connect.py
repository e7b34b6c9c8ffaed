"""The verb connect: shows what is lacking, asks, and makes it; or takes it away again."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from delivery.connect.connection import Connection, add_options_of
from delivery.connect.resource import Look, Resource, State
from delivery.errors import CommandError, DeliveryError, MisuseError, RefusedError
from delivery.process import Runner

LOOKS_AT_ONCE = 24


class Row(NamedTuple):
    """A resource, and what was found."""

    resource: Resource
    look: Look


def add_options(kind: type[Connection], parser: argparse.ArgumentParser) -> None:
    """Declare what connect can be told."""
    add_options_of(kind, parser, choices=True)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--print", action="store_true", dest="show", help="print commands instead")
    parser.add_argument("--undo", action="store_true", help="remove what connect has made")


def connect(kind: type[Connection], runner: Runner, options: argparse.Namespace) -> str:
    """Make what is missing; whatever is there already is left as it is."""
    connection = kind(runner, options, ask=True)
    if options.undo:
        return _undo(connection)
    rows = _choose(connection, plan(connection))
    to_do = [row for row in rows if row.look.to_do]
    if options.show:
        return "\n".join(command for row in to_do for command in row.resource.commands())
    runner.console.result(
        table([(each.name, look.state.value, each.purpose, look.detail) for each, look in rows])
    )
    _refuse_blocked(rows)
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
    overwrites = " It OVERWRITES what differs." * bool(foreign)
    _confirm(runner, options, f"Make these {len(to_do)}?{overwrites}")
    connection.begin()
    _each(runner, [row.resource for row in to_do], lambda each: each.create(), connection.again())
    return connection.NEXT


def plan(connection: Connection) -> list[Row]:
    """Look at all resources at once; one that must be made, but may not be, is blocked.

    Without GitLab, what needs it is left out.
    """
    resources = [
        each for each in connection.resources() if connection.gitlab or not each.needs_gitlab
    ]
    wanted = sorted({each for resource in resources for each in resource.permissions})
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        allowed = pool.submit(connection.held, wanted)
        looks = [pool.submit(_look, resource) for resource in resources]
        held = allowed.result()
        return [
            _permitted(Row(resource, look.result()), held)
            for resource, look in zip(resources, looks, strict=True)
        ]


def _look(resource: Resource) -> Look:
    try:
        return resource.look()
    except CommandError as error:
        return Look(State.BLOCKED, error.why or error.what, error.then or "run this again")


def _permitted(row: Row, held: set[str] | None) -> Row:
    missing = [] if held is None else [p for p in row.resource.permissions if p not in held]
    if not row.look.to_do or not missing:
        return row
    detail = f"{row.look.detail}\nyou lack {', '.join(missing)}".strip()
    then = f"an owner of the project grants you {row.resource.role}, or runs this"
    return Row(row.resource, Look(State.BLOCKED, detail, then))


def table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Lay out names, states and purposes in columns, each row with its details below."""
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    lines = []
    for name, state, purpose, detail in rows:
        lines.append(f"{name:<{first}}  {state:<{second}}  {purpose}".rstrip())
        lines += textwrap.indent(detail, "    ").splitlines()
    return "\n".join(lines)


def _choose(connection: Connection, rows: list[Row]) -> list[Row]:
    """Have a person decide what is open; nothing need be, where nothing will be made."""
    runner, options = connection.runner, connection.options
    if runner.dry_run or options.show or any(row.look.state is State.BLOCKED for row in rows):
        return rows
    for choice in [row.look.choice for row in rows if row.look.choice]:
        given = ""
        if not options.yes:
            runner.console.step(f"{choice.question}\n  {', '.join(choice.answers)}")
            given = runner.console.ask(choice.option.capitalize())
        if not given:
            raise MisuseError(
                f"no {choice.option} is chosen",
                then=f"--{choice.option}, one of: {', '.join(choice.answers)}",
            )
        setattr(options, choice.option, given)
    return [Row(each, _look(each) if look.choice else look) for each, look in rows]


def _refuse_blocked(rows: Sequence[Row]) -> None:
    blocked = [row for row in rows if row.look.state is State.BLOCKED]
    if blocked:
        ways = dict.fromkeys(row.look.then for row in blocked)  # each once
        raise RefusedError(
            f"{len(blocked)} in the way: {', '.join(row.resource.name for row in blocked)}",
            why="\n".join(f"{row.resource.name}: {row.look.detail}" for row in blocked),
            then="\n".join([*ways, "Nothing was changed."]),
        )


def _confirm(runner: Runner, options: argparse.Namespace, question: str) -> None:
    if not options.yes and runner.console.ask(f"{question} [y/N]").lower() not in {"y", "yes"}:
        raise RefusedError("not confirmed; nothing was changed", then="answer y, or add --yes")


def _undo(connection: Connection) -> str:
    runner = connection.runner
    resources = connection.resources(undo=True)[::-1]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        made = list(pool.map(lambda resource: resource.made(), resources))
    ours = [resource for resource, is_ours in zip(resources, made, strict=True) if is_ours]
    rows = [
        (each.name, *(("to remove", each.purpose) if is_ours else ("stays", each.stays)), "")
        for each, is_ours in zip(resources, made, strict=True)
        if is_ours or each.stays
    ]
    runner.console.result(table(rows))
    if not ours:
        return "Nothing here was made by connect: nothing was changed."
    if runner.dry_run:
        return f"{len(ours)} to remove; nothing was changed."
    _confirm(runner, connection.options, f"Remove these {len(ours)}?")
    _each(runner, ours, lambda each: each.remove(), f"{connection.again()} --undo")
    return connection.REMOVED


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
            raise CommandError(
                f"{resource.name}: {error.what}",
                why=f"{error.why}\ndone: {done}\nnot done: {left}".strip(),
                then="\n".join(filter(None, [error.then, again, "It goes on from here."])),
            ) from error
        runner.console.done(f"  {resource.name} ({runner.clock() - start:.1f} s)")
