"""What goes wrong at random moments: a sample of it in each run, all of it with SCENARIOS=all.

The moments come from the name of the test, and so are the same in every run of it.
"""

import os
import random
from collections.abc import Iterable

import pytest

SEEDS = range(1, 7)


def seeded(text: str) -> random.Random:
    """Return moments that are the same in every run."""
    return random.Random(text)  # noqa: S311 - nothing secret


def scenarios(names: Iterable[str], size: int) -> pytest.MarkDecorator:
    """Return the mark of tests that take a `name` and a `seed`: so many rows of the table."""
    table = [(name, f"seed{number}") for name in names for number in SEEDS]
    if os.environ.get("SCENARIOS") != "all":
        table = sorted(seeded("the sample").sample(table, size))
    return pytest.mark.parametrize(("name", "seed"), table)
