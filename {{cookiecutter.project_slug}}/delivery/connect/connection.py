"""What a target declares for connect and doctor, and what both begin with."""

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from delivery.connect.project import find
from delivery.connect.resource import Resource
from delivery.process import Runner

Options = Mapping[str, Mapping[str, Any]]  # by name, with the arguments of add_argument()

GITLAB: Options = {
    "--gitlab-project": {"metavar": "GROUP/NAME", "help": "default: git's origin"},
    "--gitlab-url": {"metavar": "URL", "help": "default: git's origin"},
}


@dataclass(frozen=True)
class Finding:
    """A line of doctor's report."""

    fine: bool
    name: str
    detail: str = ""
    then: str = ""  # what to type

    def __str__(self) -> str:
        """Return the line, and below it what to type."""
        first, *rest = self.detail.splitlines() or [""]
        lines = [f"{'ok' if self.fine else 'NO':<4}{self.name}{': ' * bool(first)}{first}"]
        lines += [f"      {line}" for line in rest]
        lines += [f"    > {line}" for line in self.then.splitlines()]
        return "\n".join(lines)


class Connection:
    """A target's list of resources, and what they share; a subclass per target.

    It is made before any thread is, so `__init__` may start programs. `ask` says whether a person
    may be asked for what is not known; without, as for doctor, GitLab is left out if need be. In a
    job, whose credentials are those of a delivery, it always is.
    """

    WHERE: ClassVar[str] = ""
    """What is connected with GitLab, in the help of the command line."""
    PLACES: ClassVar[Options] = {}
    """Options that say where to look, of both verbs."""
    CHOICES: ClassVar[Options] = {}
    """Options that say what to make, of connect."""
    NEXT: ClassVar[str] = ""
    """What to do once all is there."""
    REMOVED: ClassVar[str] = "Removed."
    """What to know once undo has removed what connect made."""

    def __init__(self, runner: Runner, options: argparse.Namespace, *, ask: bool) -> None:
        for option in self.CHOICES:
            options.__dict__.setdefault(_attribute(option), None)
        self.runner = runner
        self.options = options
        self.looks_only = not ask
        self.in_job = self.looks_only and bool(runner.environ.get("CI"))
        self.gitlab = None if self.in_job else find(runner, options, ask=ask)

    def resources(self, *, undo: bool = False) -> list[Resource]:
        """List the resources in the order of making; for undo, those of every option."""
        raise NotImplementedError

    def held(self, permissions: Sequence[str]) -> set[str] | None:
        """Return which of these permissions the caller has; None where that cannot be asked."""
        return set(permissions)

    def begin(self) -> None:
        """Note that changes follow: what was just made may not be known everywhere at once."""

    def findings(self) -> Iterator[Finding]:
        """Return what else doctor finds on a laptop."""
        yield from ()

    def findings_in_job(self) -> Iterator[Finding]:
        """Return what doctor finds in a job: whether its credentials suffice for a delivery."""
        yield from ()

    def again(self) -> str:
        """Return the command that connects the same again."""
        words = ["python -m delivery connect"]
        for option in (*self.PLACES, *GITLAB, *self.CHOICES):
            value = getattr(self.options, _attribute(option))
            words += [option if value is True else f"{option} {shlex.quote(value)}"] * bool(value)
        return " ".join(words)


def add_options_of(
    kind: type[Connection], parser: argparse.ArgumentParser, *, choices: bool = False
) -> None:
    """Declare the options that say where to look; with `choices`, what to make, too."""
    options = {**kind.PLACES, **GITLAB, **(kind.CHOICES if choices else {})}
    for option, arguments in options.items():
        parser.add_argument(option, **arguments)


def _attribute(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
