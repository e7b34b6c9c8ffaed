"""A project moves from each target to each other one, and takes its own work along."""

import itertools
from pathlib import Path

import pytest

from tests.support.answers import PROMPTS
from tests.upgrade.real import NEXT, Releases
from tests.upgrade.small import Client

pytestmark = pytest.mark.upgrade


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(PROMPTS["deploy_to"], 2)])
def test_a_move_is_one_commit_that_keeps_the_clients_work(
    releases: Releases, tmp_path: Path, old: str, new: str
) -> None:
    project = Client(releases.bake(NEXT, tmp_path, deploy_to=old).path, template=releases.path)
    project.must("git", "config", "core.hooksPath", "/dev/null")  # its tools are not installed
    project.edit("app/templates/index.html", "Hello World!", "Hello Zoë!")
    project.edit(".gitlab-ci.yml", 'CANARY: "0"', 'CANARY: "10"')
    before = project.commit({"shop/__init__.py": '"""The shop."""\n'})

    said = project.upgrade(NEXT, "--set", f"deploy_to={new}", "--no-checks")

    assert project.must("git", "rev-parse", "HEAD^").strip() == before
    duty = f"You must do:\n- Before you push this: connect the project with {new}, as delivery/"
    assert duty in said
    assert duty in project.must("git", "log", "-1", "--format=%B")
    assert project.status() == []
    (tmp_path / "fresh").mkdir()
    fresh = releases.bake(NEXT, tmp_path / "fresh", deploy_to=new)
    assert project.files() == fresh.files() | {"shop/__init__.py"}
    edited = {"app/templates/index.html", ".gitlab-ci.yml", ".cruft.json"}
    assert [n for n in fresh.files() - edited if project.read(n) != fresh.read(n)] == []
    assert "Hello Zoë!" in project.read("app/templates/index.html")
    ours = project.read(".gitlab-ci.yml")
    assert ours.replace('CANARY: "10"', 'CANARY: "0"') == fresh.read(".gitlab-ci.yml")
