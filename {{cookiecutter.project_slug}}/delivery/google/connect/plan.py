"""Looks at everything at once, and shows it as a table; nothing here changes anything."""

import textwrap
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from delivery.gitlab import GitLabError
from delivery.google.connect.cloud import FORBIDDEN
from delivery.google.connect.project import App
from delivery.google.connect.resource import Context, Look, Resource, State, explained
from delivery.google.rest import ApiError


@dataclass(frozen=True)
class Row:
    """A resource, and what was found."""

    resource: Resource
    look: Look


def plan(context: Context, resources: Sequence[Resource], pool: Executor) -> list[Row]:
    """Look at all resources; one that must be made, but may not be, is blocked."""
    wanted = sorted({each for resource in resources for each in resource.permissions})
    allowed = pool.submit(_allowed, context, wanted)
    looks = [pool.submit(_look, resource) for resource in resources]
    rows = [Row(resource, look.result()) for resource, look in zip(resources, looks, strict=True)]
    held = allowed.result()
    return [replace(row, look=_permitted(row, held)) for row in rows]


def _allowed(context: Context, permissions: list[str]) -> set[str] | None:
    """Return which of these permissions the caller has; None where that cannot be asked."""
    path = f"{context.path}:testIamPermissions"
    try:
        body = {"permissions": permissions}
        answer = context.cloud.request("POST", "cloudresourcemanager", path, body=body)
    except ApiError:
        return None
    return set(answer.get("permissions", []))


def _permitted(row: Row, held: set[str] | None) -> Look:
    missing = [] if held is None else [p for p in row.resource.permissions if p not in held]
    if not row.look.to_do or not missing:
        return row.look
    detail = f"{row.look.detail}\nyou lack {', '.join(missing)}".strip()
    return Look(
        State.BLOCKED,
        detail,
        f"an owner of the project grants you {row.resource.role}, or runs this",
    )


def _look(resource: Resource) -> Look:
    try:
        return resource.look()
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        then = "an owner of the project can look, or grants you roles/viewer"
        return Look(State.BLOCKED, f"you may not look at it: {error.message}", then)
    except GitLabError as error:
        explained(error)
        return Look(State.BLOCKED, error.message, error.then or "run this again")


def table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Lay out names, states and purposes in columns, each row with its details below."""
    first = max(len(row[0]) for row in rows)
    second = max(len(row[1]) for row in rows)
    lines = []
    for name, state, purpose, detail in rows:
        lines.append(f"{name:<{first}}  {state:<{second}}  {purpose}".rstrip())
        lines += textwrap.indent(detail, "    ").splitlines()
    return "\n".join(lines)


def describe(rows: Sequence[Row]) -> str:
    """Return the table of a plan."""
    return table(
        [
            (row.resource.name, row.look.state.value, row.resource.purpose, row.look.detail)
            for row in rows
        ]
    )


def region_of(rows: Sequence[Row]) -> App:
    """Return the application among the resources."""
    return next(row.resource for row in rows if isinstance(row.resource, App))
