"""How long a plan and a fresh connection take, from the command to its end, on the emulators.

What is measured is ours: the starts of Python and gcloud, and the requests. The emulators answer at
once; Google's own time comes on top. The best of three rounds counts. Where more programs want a
CPU than there are, a command waits for its turn; there the time counts that it, gcloud and all else
that it started had on a CPU. `python -m bench.connect` has medians, with operations that take time.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.connect.conftest import Pair

pytestmark = pytest.mark.delivery

ROUNDS = 3
CONNECT = ("connect", "--region", "europe-west", "--yes")
LIMITS = {"plan": 1.5, "connect": 8.0}  # seconds


@dataclass
class Measured:
    """One command: the seconds until it ended, and those that its processes had on a CPU."""

    wall: float
    cpu: float


def measure(pair: Pair, *arguments: str) -> Measured:
    """Run a verb that has to succeed."""
    before = os.times()
    wall = pair.must(*arguments).seconds
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])  # of children that have ended
    return Measured(round(wall, 2), round(cpu, 2))


def test_a_plan_and_a_fresh_connection_are_quick(
    pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    rounds: dict[str, list[Measured]] = {name: [] for name in LIMITS}
    for _ in range(ROUNDS):
        with Google() as google, GitLab() as gitlab:
            fresh = Pair(pair.path, google, gitlab, pair.temp)
            rounds["plan"].append(measure(fresh, "connect", "--dry-run"))
            rounds["connect"].append(measure(fresh, *CONNECT))
    busy = os.getloadavg()[0] >= (os.cpu_count() or 1)
    for name, measured in rounds.items():
        record_property(f"{name}_seconds", [each.wall for each in measured])
        best = min(each.cpu if busy else each.wall for each in measured)
        assert best < LIMITS[name], f"{name}: {measured}, {'a busy' if busy else 'an idle'} machine"
