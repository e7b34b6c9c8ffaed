"""bin/setup of a baked project: what it makes of an environment that is old, moved or broken."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject
from tests.support.tools import find_python, only, require

OLDEST_PIP = "23.0.1"  # what the venv of Debian 12's Python 3.11 brings


def python_of(version: str) -> str:
    """Return that Python, or skip the test."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"needs Python {version}")
    return python


def make_venv(project: BakedProject, python: str, *packages: str) -> Path:
    """Make .venv with a Python, as its `venv` module does, and install packages there."""
    venv = project.path / ".venv"
    project.must(python, "-m", "venv", venv)
    if packages:
        project.must(venv / "bin" / "python", "-m", "pip", "install", "--quiet", *packages)
    return venv


def test_the_oldest_pip_installs_the_locks(bake: Bake, tmp_path: Path) -> None:
    project = bake(python_version="3.11")
    python = python_of("3.11")
    venv = make_venv(project, python, f"pip=={OLDEST_PIP}")

    project.must("bin/setup", PATH=only(tmp_path / "path", python))

    assert f"pip {OLDEST_PIP} " in project.must(venv / "bin" / "python", "-m", "pip", "--version")
    assert "passed" in project.must("bin/test")


def test_after_a_move_the_environment_is_made_again(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    project.must("bin/setup")
    moved = BakedProject(tmp_path / "moved")
    shutil.move(project.path, moved.path)
    with pytest.raises(FileNotFoundError):  # the Python that its first line names
        moved.run(".venv/bin/flask", "--version")

    assert "bin/setup: making" in moved.must("bin/setup")

    assert "Flask" in moved.must(".venv/bin/flask", "--version")
    assert "making" not in moved.must("bin/setup")


def test_the_wanted_python_is_used_once_it_is_there(bake: Bake, tmp_path: Path) -> None:
    old, wanted = python_of("3.11"), python_of("3.12")
    project = bake(python_version="3.12")
    before = only(tmp_path / "before", old, require("uv"))
    after = only(tmp_path / "after", old, wanted, require("uv"))
    assert "was not found: using 3.11." in project.must("bin/setup", PATH=before)
    assert "making" not in project.must("bin/setup", PATH=before)

    said = project.must("bin/setup", PATH=after)

    assert "with Python 3.12." in said
    assert "was not found" not in said
    assert "making" not in project.must("bin/setup", PATH=before)  # it is kept when it goes


def test_an_environment_whose_python_is_gone_is_made_again(bake: Bake) -> None:
    project = bake()
    (project.path / ".venv" / "bin").mkdir(parents=True)
    project.write(".venv/pyvenv.cfg", "home = /nowhere/bin\n")
    (project.path / ".venv" / "bin" / "python").symlink_to("/nowhere/bin/python3")
    shutil.copy(project.path / "requirements-dev.txt", project.path / ".venv")

    assert "bin/setup: making" in project.must("bin/setup")

    done = subprocess.run([project.path / ".venv" / "bin" / "python", "-c", ""], check=False)
    assert done.returncode == 0
