"""The answers that tests give: every choice, few bakes with all pairs of choices, hostile texts."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROMPTS: dict[str, Any] = json.loads(
    Path(__file__).parents[2].joinpath("cookiecutter.json").read_text("utf-8")
)

# Each of these has a meaning in some format that a bake writes, and must not have it there.
HOSTILE = {
    "quotes": "say \"hello\" and 'bye'",
    "backslashes": r"C:\new\table \" \\ \u0041",
    "markup": "<b>bold</b> &amp; <script>alert(1)</script>",
    "shell": "${HOME} $(id) `id` $HOME; id | id",
    "yaml": "key: value # not a comment - [x]",
    "template": "{{ x }} {% raw %} {# note #} ${{ y }}",
    "percent": "100%s %(name)s %d",
    "markdown": "*a* _b_ ~~c~~ [d](e) `f` $g$ :smile: # h",
    "list": "- 1. + item",
    "emoji": "party 🎉 and 👩‍💻",
    "right-to-left": "שלום עולם مرحبا",
    "accents": "Café Zoë & Söhne 2.0",
}
PROSE = ("project_name", "description", "author_name", "owner")


def choices() -> dict[str, list[Any]]:
    """Return the prompts that have a choice, with what can be chosen."""
    lists = {name: value for name, value in PROMPTS.items() if isinstance(value, list)}
    given = {name: value for name, value in lists.items() if not name.startswith("_")}
    return given | {"init_git": [True, False]}


def each_choice() -> Iterator[dict[str, Any]]:
    """Yield every choice of every prompt once."""
    for name, values in choices().items():
        for value in values:
            yield {name: value}


def show(answers: dict[str, Any]) -> str:
    """Name a test after its answers."""
    return "-".join(map(str, answers.values()))


def pairs() -> list[dict[str, Any]]:
    """Return few bakes in which every pair of choices, of any two prompts, occurs."""
    names = list(choices())
    todo = {
        frozenset({(a, va), (b, vb)})
        for a, b in itertools.combinations(names, 2)
        for va in choices()[a]
        for vb in choices()[b]
    }
    bakes = []
    while todo:
        best = max(
            itertools.product(*choices().values()),
            key=lambda values: sum(pair <= set(zip(names, values, strict=True)) for pair in todo),
        )
        answers = set(zip(names, best, strict=True))
        todo = {pair for pair in todo if not pair <= answers}
        bakes.append(dict(zip(names, best, strict=True)))
    return bakes
