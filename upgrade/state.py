""".cruft.json: which template, which commit of it, which answers. The format is cruft's."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upgrade.errors import RefusedError

NAME = ".cruft.json"

Answers = dict[str, Any]


@dataclass(frozen=True)
class State:
    """Where a project comes from.

    `template` is an address that `git clone` understands, `commit` a full hash, `release` its tag
    if it had one, `directory` the template's folder in its repository, and `extra` what else cruft
    keeps in the file.
    """

    template: str
    commit: str
    release: str | None
    answers: Answers
    directory: str | None
    extra: dict[str, Any]

    @property
    def name(self) -> str:
        """What a person calls this version: its tag, or the beginning of its commit."""
        return self.release or self.commit[:9]

    def text(self) -> str:
        """Return the file's text, byte for byte as a bake writes it."""
        state = {
            "template": self.template,
            "commit": self.commit,
            "checkout": self.release,
            "context": {"cookiecutter": self.answers},
            "directory": self.directory,
        }
        return json.dumps(state | self.extra, ensure_ascii=False, indent=2) + "\n"


def read(folder: Path) -> State:
    """Read a project's file; RefusedError says what is wrong with it."""
    path = folder / NAME
    try:
        state = json.loads(path.read_text("utf-8"))
        answers = state.pop("context")["cookiecutter"]
        return State(
            template=state.pop("template"),
            commit=state.pop("commit"),
            release=state.pop("checkout", None),
            # cruft also keeps what the template computes: not an answer.
            answers={k: v for k, v in answers.items() if not k.startswith("_")},
            directory=state.pop("directory", None),
            extra=state,
        )
    except FileNotFoundError as error:
        raise RefusedError(
            f"{path} is missing, so nothing says which version this project has. To write it, type:"
            " bin/upgrade --adopt TAG --template ADDRESS"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(
            f"{path} cannot be read ({type(error).__name__}: {error}):"
            f" git log -- {NAME} shows who changed it"
        ) from error
