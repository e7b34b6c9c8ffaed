"""Fixtures for all tests: `bake` makes a project, `tools` has the development tools for it."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter
from filelock import FileLock
from pytest_cookies.plugin import Cookies

from tests.support.answers import PROMPTS
from upgrade.choice import keep_chosen

collect_ignore = ["extensions"]  # is tested in a bake

TEMPLATE = Path(__file__).parents[1]
PROJECT = TEMPLATE / "{{cookiecutter.project_slug}}"
# tests/delivery imports the template's own files: what Python writes beside them would be baked.
sys.pycache_prefix = str(TEMPLATE / ".pytest_cache" / "bytecode")
# Started by nohup or in the background, this process ignores these signals, and so would all that
# the tests start and send them to.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Variables of the shell, editor or git hook that started the tests must not reach a project.
FOREIGN = (
    *("GIT_", "GAE_", "GCP_", "CI", "FLASK_"),
    *("VIRTUAL_ENV", "VENV", "UV_PROJECT", "PYTHON", "PYTEST_ADDOPTS"),
)
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def run(
    command: Sequence[str | Path],
    folder: Path,
    env: Mapping[str, str],
    stderr: int = subprocess.STDOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a command as from a person's shell, with `env` added; the caller reads the outcome."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment() | dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


@dataclass
class BakedProject:
    """A project as a person gets it, with the verbs that tests speak in."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, as from its owner's shell; the test reads the outcome."""
        return run(command, self.path, self.env | env)

    def must(self, *command: str | Path, **env: str) -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.run(*command, **env)
        assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}"
        return done.stdout

    def add_origin(self, folder: Path) -> Path:
        """Make an empty bare repository in a folder, and the project's origin of it."""
        bare = folder / "origin.git"
        self.must("git", "init", "--quiet", "--bare", "--initial-branch=main", bare)
        self.must("git", "remote", "add", "origin", bare)
        return bare

    def read(self, name: str) -> str:
        """Read a file of the project."""
        return (self.path / name).read_text("utf-8")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project, and the folder that it stands in."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, "utf-8")

    def files(self) -> set[str]:
        """List the files, git's own excepted."""
        paths = (p.relative_to(self.path) for p in self.path.rglob("*") if not p.is_dir())
        return {p.as_posix() for p in paths if p.parts[0] != ".git"}


def clean_environment() -> dict[str, str]:
    """Return the environment of a person's shell, with an identity for git."""
    return {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)} | IDENTITY


Bake = Callable[..., BakedProject]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest test first: the others fill the other workers' time."""
    items.sort(key=lambda item: "test_promise" not in item.nodeid)


@pytest.fixture(autouse=True)
def _own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bake as from a person's shell, too: Cookiecutter's hooks inherit this process's variables.

    All projects share mypy's cache, which knows files by what is in them.
    """
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MYPY_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "mypy"))


def refuse_unknown(answers: dict[str, Any]) -> None:
    """Fail on an answer without a prompt: Cookiecutter ignores it, so the test tests nothing."""
    unknown = [name for name in answers if name.startswith("_") or name not in PROMPTS]
    assert not unknown, f"cookiecutter.json has no prompt {unknown}"


def literal(value: Any) -> Any:
    """Return a value that comes out of Cookiecutter as it is, as one typed at a prompt does.

    Without prompts, Cookiecutter takes values for templates.
    """
    if isinstance(value, str) and "{" in value:
        return "{% raw %}" + value + "{% endraw %}"
    return value


@pytest.fixture
def bake(cookies: Cookies) -> Bake:
    """Bake with some answers, and the defaults for the rest."""

    def bake_project(**answers: Any) -> BakedProject:
        refuse_unknown(answers)
        result = cookies.bake(extra_context={k: literal(v) for k, v in answers.items()})
        assert result.project_path is not None, f"the bake failed: {result.exception}"
        return BakedProject(result.project_path)

    return bake_project


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Bake without Cookiecutter's hooks, and so without any other program: for fast tests.

    Tests that give the same answers share the project, and only read it.
    """

    @functools.cache
    def render_project(**answers: Any) -> BakedProject:
        refuse_unknown(answers)
        return BakedProject(bake_quickly(tmp_path_factory.mktemp("rendered"), **answers))

    return render_project


def bake_quickly(
    folder: Path, *, template: Path = TEMPLATE, hooks: bool = False, **answers: Any
) -> Path:
    """Bake into a folder, without hooks unless wanted, and without asking git who is there."""
    answers = {"author_name": "Your Name", "author_email": "you@example.com"} | answers
    path = cookiecutter(
        str(template),
        no_input=True,
        extra_context={k: literal(v) for k, v in answers.items()},
        output_dir=str(folder),
        accept_hooks=hooks,
        default_config=True,
    )
    if not hooks:  # one of which does this
        keep_chosen(Path(path), {**PROMPTS, "deploy_to": "app-engine"} | answers)
    return Path(path)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder with the locked development tools, for projects to use as their VENV.

    All workers of a run share it: bin/setup fills it once, in a bake of the defaults.
    """
    root = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        root = root.parent
    venv = root / "tools"
    with FileLock(root / "tools.lock"):
        if not venv.exists():
            project = BakedProject(bake_quickly(tmp_path_factory.mktemp("tools")))
            project.must("bin/setup", VENV=str(venv))
    return venv


@pytest.fixture
def project(bake: Bake, tools: Path, tmp_path: Path) -> BakedProject:
    """Return a project with its tools, and a bare repository as its origin."""
    project = bake()
    project.env = {"VENV": str(tools)}
    project.add_origin(tmp_path)
    return project
