"""What the questions offer: as the author, the person whom git knows."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from git_identity import git_user
from tests.conftest import Bake, BakedProject
from tests.support.answers import HOSTILE

NOBODY = {"name": "Your Name", "email": "you@example.com"}


def author(project: BakedProject) -> dict[str, str]:
    """Read who the project says has built it."""
    (found,) = tomllib.loads(project.read("pyproject.toml"))["project"]["authors"]
    return dict(found)


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes the person's own configuration of git."""

    def write(text: str) -> None:
        (tmp_path / "gitconfig").write_text(text, "utf-8")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

    return write


def test_the_person_whom_git_knows_is_the_author(
    bake: Bake, configure: Any, tmp_path: Path
) -> None:
    (tmp_path / "person").write_text('[user]\nname = "Zoë O\'Hara"\nemail = zoe@example.org\n')
    configure('[include]\npath = "person"\n')

    assert author(bake()) == {"name": "Zoë O'Hara", "email": "zoe@example.org"}


def test_an_answer_goes_before_what_git_knows(bake: Bake, configure: Any) -> None:
    configure("[user]\nname = Zoë\nemail = zoe@example.org\n")

    project = bake(author_name="Ada", author_email="ada@example.com")
    assert author(project) == {"name": "Ada", "email": "ada@example.com"}


def test_a_name_in_git_is_never_taken_for_a_template(bake: Bake, configure: Any) -> None:
    name = HOSTILE["template"]
    configure(f'[user]\nname = "{name}"\n')

    assert author(bake())["name"] == name


@pytest.mark.parametrize(
    "config",
    ["", "[user]\nname = \nemail = root@localhost\n", f"[user]\nname = {'x' * 201}\n", "[user\n"],
    ids=["nobody", "no address", "too long", "broken"],
)
def test_whom_the_template_would_refuse_is_not_offered(
    bake: Bake, configure: Any, config: str
) -> None:
    configure(config)

    assert author(bake()) == NOBODY


def test_without_git_nobody_is_offered_and_nothing_is_said_of_it(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "python3").symlink_to(str(shutil.which("python3")))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    assert author(bake(init_git=False)) == NOBODY
    (said,) = capfd.readouterr().err.splitlines()
    assert "cannot be upgraded" in said


def test_a_git_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path('/usr/bin')}:/bin")
    monkeypatch.setattr("git_identity.GIT_SECONDS", 0.2)

    assert git_user("name") == ""
