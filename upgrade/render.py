"""Renders a version of the template with some answers, and makes a tree of git's of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from upgrade import git as git_module
from upgrade.choice import keep_chosen
from upgrade.errors import RefusedError
from upgrade.git import Git
from upgrade.state import Answers, State
from upgrade.template import Template

ROOT = Path(__file__).parents[1]
CONFIG = "cookiecutters_dir: {0}\nreplay_dir: {0}\n"


def render(template: Template, state: State, work: Path, *, strict: bool) -> tuple[Path, Answers]:
    """Render a state into a new folder; return the project's folder there, and all its answers.

    All: with the defaults of prompts that the state has no answer for. With `strict`, the template
    looks at the answers first, and RefusedError has its objections. The hook that makes a
    repository never runs: a render is its files alone.
    """
    source = work / "template"
    template.export(state.commit, source)
    source = source / (state.directory or "")
    for hook in (source / "hooks").glob("post_gen_project.*"):
        hook.unlink()
    (work / "config.yaml").write_text(CONFIG.format(json.dumps(str(work / "home"))), "utf-8")
    prompts = template.prompts(state.commit, state.directory)
    asked = {
        "template": str(source),
        "answers": {name: value for name, value in state.answers.items() if name in prompts},
        "output_dir": str(work / "out"),
        "config_file": str(work / "config.yaml"),
        "accept_hooks": strict,
    }
    done = subprocess.run(
        [sys.executable, "-m", "upgrade.bake"],
        capture_output=True,
        check=False,
        cwd=work,
        encoding="utf-8",
        env=git_module.environment() | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        input=json.dumps(asked),
    )
    if done.returncode:
        said = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-20:])
        raise RefusedError(f"version {state.name} cannot be rendered with these answers:\n{said}")
    (project,) = (work / "out").iterdir()
    (replay,) = (work / "home").glob("*.json")
    context = json.loads(replay.read_text("utf-8"))["cookiecutter"]
    keep_chosen(project, context)
    return project, {name: context[name] for name in prompts}


def write_tree(git: Git, project: Path, prefix: str, work: Path) -> str:
    """Put the files of a render into the repository as a tree, and return its hash.

    `prefix` is the project's folder in the repository, with a slash at its end, or nothing. The
    bytes go in as they are; no attribute, filter or setting of the repository changes them.
    """
    files = sorted(path for path in project.rglob("*") if path.is_file())
    blobs = git(
        *("hash-object", "-w", "--no-filters", "--stdin-paths"),
        stdin="".join(f"{path}\n" for path in files),
    ).split()
    lines = [
        f"{_mode(path)} {blob}\t{prefix}{path.relative_to(project).as_posix()}\0"
        for path, blob in zip(files, blobs, strict=True)
    ]
    index = git.using(GIT_INDEX_FILE=str(work / "index"))
    index("update-index", "-z", "--index-info", stdin="".join(lines))
    return index.line("write-tree")


def put(git: Git, tree: str, work: Path, files: dict[str, str | None]) -> str:
    """Return the tree with some paths changed: to a blob, given by its hash, or to nothing."""
    index = git.using(GIT_INDEX_FILE=str(work / "index"))
    index("read-tree", tree)
    modes = {path: about.split()[0] for path, about in entries(git, tree).items()}
    gone = f"0 {'0' * len(tree)}"
    lines = [
        f"{f'{modes.get(path, 100644)} {blob}' if blob else gone}\t{path}\0"
        for path, blob in files.items()
    ]
    index("update-index", "-z", "--index-info", stdin="".join(lines))
    return index.line("write-tree")


def entries(git: Git, tree: str) -> dict[str, str]:
    """Return the files of a tree: path -> mode, type and hash."""
    lines = git.paths("ls-tree", "-r", "-z", "--full-tree", tree)
    return {path: about for about, _, path in (line.partition("\t") for line in lines)}


def blob(git: Git, text: str) -> str:
    """Put a text into the repository as a blob, and return its hash."""
    return git.line("hash-object", "-w", "--no-filters", "--stdin", stdin=text)


def _mode(path: Path) -> str:
    """Return a file's mode as git has it; Windows has no such bit: there, scripts start with #!."""
    if os.name == "nt":
        with path.open("rb") as file:
            executable = file.read(2) == b"#!"
    else:
        executable = bool(path.stat().st_mode & 0o100)
    return "100755" if executable else "100644"
