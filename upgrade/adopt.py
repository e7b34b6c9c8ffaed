"""`bin/upgrade --adopt TAG`: writes .cruft.json for a project that was baked without one."""

import argparse
import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

from upgrade import errors, render, state
from upgrade.errors import RefusedError
from upgrade.one import Project
from upgrade.plan import changed
from upgrade.state import Answers, State
from upgrade.template import Template

SIMILAR = 0.5  # of the files that the version writes must be in the project as they were written
LICENSES = {"LicenseRef-Proprietary": "proprietary"}


def adopt(project: Project, template: Template, options: argparse.Namespace, place: Path) -> int:
    """Write the file, if a render of that version resembles the project; say what to type next."""
    folder = project.git.folder
    if (folder / state.NAME).exists():
        raise RefusedError(f"{state.NAME} is there already: bin/upgrade without --adopt uses it")
    if not options.template:
        raise RefusedError("say where the template is: --template ADDRESS")
    commit = template.commit(options.adopt)
    prompts = template.prompts(commit)
    found = {name: value for name, value in guess(folder).items() if name in prompts}
    known = changed(found, prompts, dict(options.set))
    old = State(options.template, commit, template.release(commit), known, None, {})
    (place / "work").mkdir()
    rendered, answers = render.render(template, old, place / "work", strict=True)
    old = dataclasses.replace(old, answers=answers)

    same, total = resemblance(rendered, folder)
    said = "\n".join(f"  {name}={value}" for name, value in answers.items())
    print(
        f"{same} of the {total} files of {old.name} are in the project as they were, with:\n{said}"
    )
    if same < total * SIMILAR:
        raise RefusedError(
            f"that is too few for a project of {old.name}: try another TAG, or mend an answer with"
            " --set PROMPT=VALUE"
        )
    (folder / state.NAME).write_text(old.text(), "utf-8", newline="\n")
    print(
        f"{state.NAME} is written. If an answer is wrong, change it there. Then type:\n"
        f"  git add {state.NAME} && git commit --message 'Say which template this project has'"
    )
    return errors.DONE


def resemblance(rendered: Path, project: Path) -> tuple[int, int]:
    """Count the files that the project has as they were rendered, and all that were rendered."""
    files = [path for path in rendered.rglob("*") if path.is_file()]
    same = [
        path for path in files if _content(path) == _content(project / path.relative_to(rendered))
    ]
    return len(same), len(files)


def guess(project: Path) -> Answers:
    """Read the answers out of the files that they were written into, as far as they are there."""
    metadata = _metadata(project / "pyproject.toml")
    author: dict[str, Any] = next(iter(metadata.get("authors", [])), {})
    license_ = metadata.get("license")
    answers = {
        "project_name": _find(project / "README.md", r"^# (.+)$"),
        "project_slug": metadata.get("name"),
        "description": metadata.get("description"),
        "author_name": author.get("name"),
        "author_email": author.get("email"),
        "owner": _find(project / "LICENSE", r"^ *Copyright (?:\(c\) )?(.+?)(?:\. All rights .*)?$"),
        "license": LICENSES.get(str(license_), license_),
        "python_version": _find(project / "bin" / "setup", r"^wanted=(.+)$"),
    }
    # Markdown has backslashes before what would mean something to it.
    answers["project_name"] = re.sub(r"\\([^\w\s])", r"\1", answers["project_name"] or "")
    return {name: value for name, value in answers.items() if value}


def _metadata(path: Path) -> dict[str, Any]:
    try:
        project = tomllib.loads(path.read_text("utf-8")).get("project", {})
    except (OSError, ValueError):
        return {}
    return project if isinstance(project, dict) else {}


def _find(path: Path, pattern: str) -> str | None:
    try:
        found = re.search(pattern, path.read_text("utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return None
