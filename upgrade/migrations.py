"""migrations.json: what answers and files of old projects are called in the wanted version.

answers  old prompt -> new prompt, or null for a prompt that is gone
values   prompt (its new name) -> old choice -> new choice
paths    old path -> new path, for files that changed too much for git to see that they moved
"""

import json
from dataclasses import dataclass, field
from typing import Any

from upgrade.state import Answers
from upgrade.template import Template


@dataclass(frozen=True)
class Migrations:
    """The data of one version."""

    answers: dict[str, str | None] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, template: Template, commit: str) -> "Migrations":
        """Read those of a version; a template without the file has none."""
        return cls(**json.loads(template.read(commit, "upgrade/migrations.json") or "{}"))

    def migrate(self, answers: Answers, prompts: Answers) -> Answers:
        """Return the answers in today's names and values, in the order of the prompts.

        An answer to a prompt that is new is not among them: the template has a default for it.
        """
        renamed = {self.answers.get(name, name): value for name, value in answers.items()}
        known = {name: renamed[name] for name in prompts if name in renamed}
        return {name: self._value(name, value) for name, value in known.items()}

    def moves(self, base: set[str], theirs: set[str], prefix: str = "") -> dict[str, str]:
        """Return the files that the wanted version has elsewhere, as far as these two differ."""
        paths = {prefix + old: prefix + new for old, new in self.paths.items()}
        gone, come = base - theirs, theirs - base
        return {old: new for old, new in paths.items() if old in gone and new in come}

    def broken_promises(self, before: Answers, now: Answers) -> list[str]:
        """Say which prompts of an older version nobody could answer today; a sentence each."""
        broken = []
        for old, was in before.items():
            name = self.answers.get(old, old)
            if name is None:
                continue
            if name not in now:
                broken.append(f"{old} is gone: name its successor, or null, under answers")
            elif _kind(was) != _kind(now[name]):
                broken.append(f"{old} was {_kind(was)} and is {_kind(now[name])}: call it anew")
            elif isinstance(was, list):
                lost = [value for value in was if self._value(name, value) not in now[name]]
                broken += [f"{old} can no longer be {v!r}: map it under values" for v in lost]
        return broken

    def _value(self, name: str, value: Any) -> Any:
        return self.values.get(name, {}).get(value, value) if isinstance(value, str) else value


def _kind(default: Any) -> str:
    return {bool: "yes or no", list: "a choice", str: "a text"}.get(type(default), "data")
