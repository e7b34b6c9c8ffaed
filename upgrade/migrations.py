"""migrations.json: what answers and files of old projects are called today.

answers  old prompt -> new prompt, or null for a prompt that is gone
values   prompt (its new name) -> old choice -> new choice
paths    old path -> new path, for files that changed too much for git to see that they moved
"""

import json
from pathlib import Path
from typing import Any

from upgrade.state import Answers

DATA: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))


def migrate(answers: Answers, prompts: Answers, data: dict[str, Any] = DATA) -> Answers:
    """Return the answers in today's names and values, in the order of the prompts.

    An answer to a prompt that is new is not among them: the template has a default for it.
    """
    renamed = {data["answers"].get(name, name): value for name, value in answers.items()}
    known = {name: renamed[name] for name in prompts if name in renamed}
    for name, value in known.items():
        values = data["values"].get(name, {})
        known[name] = values.get(value, value) if isinstance(value, str) else value
    return known


def moves(base: set[str], theirs: set[str], data: dict[str, Any] = DATA) -> dict[str, str]:
    """Return the files that the wanted version has elsewhere, as far as these two differ in it."""
    return {
        old: new
        for old, new in data["paths"].items()
        if old in base - theirs and new in theirs - base
    }


def broken_promises(before: Answers, now: Answers, data: dict[str, Any] = DATA) -> list[str]:
    """Say which prompts of a release an upgrade could not answer today; a sentence each."""
    broken = []
    for old, was in before.items():
        name = data["answers"].get(old, old)
        if name is None:
            continue
        if name not in now:
            broken.append(f"{old} is gone: name its successor, or null, under answers")
        elif _kind(was) != _kind(now[name]):
            broken.append(f"{old} was {_kind(was)} and is {_kind(now[name])}: old answers fail")
        elif isinstance(was, list):
            values = data["values"].get(name, {})
            lost = [v for v in was if values.get(v, v) not in now[name]]
            broken += [f"{old} can no longer be {value!r}: map it under values" for value in lost]
    return broken


def _kind(default: Any) -> str:
    return {bool: "yes or no", list: "a choice", str: "a text"}.get(type(default), "data")
