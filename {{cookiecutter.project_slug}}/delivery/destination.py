"""What a project names as the place that it is delivered to; __main__.py hands it to cli.py."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from delivery.process import Runner
from delivery.target import Target


@dataclass(frozen=True)
class SetUp:
    """A verb that sets a target up, or looks at how it is set up; it works before any delivery."""

    help: str
    run: Callable[[Runner, argparse.Namespace], str]
    add_options: Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True)
class Destination:
    """A kind of target, and the verbs that only such a target has."""

    target: Callable[[Runner], Target]
    settings: str
    """The environment variables that it reads, for the help of the command line."""
    set_up: Mapping[str, SetUp] = field(default_factory=dict)
    """The verbs by name, in the order in which a person needs them."""
    keep: int = 5
    """How many versions to roll back to `prune` keeps, unless told otherwise."""
