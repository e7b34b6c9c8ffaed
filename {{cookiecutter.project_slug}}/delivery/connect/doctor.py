"""The verb doctor: says of each thing that deliveries need whether it is there, and what to type.

On a laptop it looks at the same list as connect, with the eyes of the person. In a job it sees what
the deploying account sees: whether it has what a delivery needs.
"""

import argparse
from collections.abc import Iterator

from delivery.connect.connect import plan
from delivery.connect.connection import Connection, Finding
from delivery.connect.project import runners
from delivery.connect.resource import State
from delivery.errors import DeliveryError
from delivery.process import Runner


def doctor(kind: type[Connection], runner: Runner, options: argparse.Namespace) -> str:
    """Report, and fail if something is wrong."""
    connection = kind(runner, options, ask=False)
    looks = connection.findings_in_job if connection.in_job else lambda: _on_a_laptop(connection)
    wrong = 0
    for finding in looks():
        runner.console.result(str(finding))
        wrong += not finding.fine
    if wrong:
        raise DeliveryError(
            f"{wrong} not as it should be", then="see above, then: python -m delivery doctor"
        )
    return "All is well."


def _on_a_laptop(connection: Connection) -> Iterator[Finding]:
    for row in plan(connection):
        look = row.look
        if look.state in {State.THERE, State.UNKNOWN}:
            yield Finding(True, row.resource.name, look.detail)
        else:
            detail = ": ".join(filter(None, [look.state.value, look.detail]))
            yield Finding(False, row.resource.name, detail, look.then or connection.again())
    if connection.gitlab is None:
        yield Finding(True, "GitLab", "not looked at: set GITLAB_TOKEN, or: glab auth login")
    else:
        fine, detail, then = runners(connection.gitlab)
        yield Finding(fine, "GitLab runner", detail, then)
    yield from connection.findings()
