"""From every release to the next: what a client gets, and what happens to the client's own work."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT, BakedProject
from tests.support.answers import HOSTILE, PROMPTS
from tests.support.tools import only, require
from tests.upgrade.real import AFTER, NEXT, UNTAGGED, Releases
from tests.upgrade.small import Client
from upgrade.migrations import Migrations
from upgrade.template import Template

pytestmark = pytest.mark.upgrade

ANSWERS = {
    "project_name": "Café Zoë & Söhne",
    "description": HOSTILE["quotes"],
    "owner": HOSTILE["template"],
    "license": "MIT",
    "python_version": "3.12",
}
README = "# Café Zoë\n\nNothing is left of what stood here.\n"
PAGE = """

@blueprint.get("/menu")
def menu() -> str:
    \"\"\"Show what there is to eat.\"\"\"
    return "Soup"
"""
# Besides the files that a client has made its own: where a release changed lines next to an edit.
CONFLICTS = {"0.1.0": {"app/pages.py"}}  # what follows the page there is another function now
PAGE_TEST = """from app import create_app


def test_the_menu_has_soup() -> None:
    assert create_app().test_client().get("/menu").text == "Soup"
"""


@pytest.fixture
def tags(releases: Releases) -> list[str]:
    """Return all releases so far, and the next one as if it were."""
    return [*releases.tags(), NEXT]


def client(releases: Releases, tag: str, folder: Path) -> Client:
    """Bake a release for a client, and give it its .cruft.json if that release wrote none."""
    baked = releases.bake(tag, folder, **ANSWERS)
    project = Client(baked.path, template=releases.path)
    if ".cruft.json" not in project.files():
        changes = [f"--set={name}={ANSWERS[name]}" for name in ("owner", "project_name")]
        address = ("--template", str(folder / f"template-{tag}"))
        project.upgrade(NEXT, "--adopt", tag, *address, *changes)
        project.must("git", "add", ".cruft.json")
        project.must("git", "commit", "--no-verify", "--quiet", "--message", "Adopt")
    return project


def tree(project: BakedProject) -> dict[str, str]:
    """Return what the commit has: mode and hash of each file, wherever the template came from."""
    lines = project.must("git", "ls-tree", "-r", "-z", "HEAD").split("\0")
    files = {line.partition("\t")[2]: line.partition("\t")[0] for line in filter(None, lines)}
    files[".cruft.json"] = re.sub(r'"template": ".*"', "", project.read(".cruft.json"))
    return files


def test_every_release_is_upgraded_from(tags: list[str]) -> None:
    assert set(UNTAGGED) <= set(tags)


def test_an_unedited_project_ends_as_a_fresh_bake(
    releases: Releases, tags: list[str], tmp_path: Path
) -> None:
    for tag in tags:
        (tmp_path / tag).mkdir()
        project = client(releases, tag, tmp_path / tag)
        project.upgrade(AFTER, "--no-checks")
        fresh = releases.bake(AFTER, tmp_path / tag, **ANSWERS)

        assert tree(project) == tree(fresh), tag
        assert project.status() == []


def edit(project: Client) -> set[str]:
    """Edit a project as a client does in half a year; return the files that are all theirs now."""
    project.edit("Dockerfile", "EXPOSE 5000\n", "EXPOSE 5000\nENV CLIENT=zoe\n")
    project.must("git", "mv", "tests/test_pages.py", "tests/test_views.py")
    project.must("git", "rm", "--quiet", "compose.production.yaml")
    project.write("app/pages.py", project.read("app/pages.py") + PAGE)
    project.write("tests/test_menu.py", PAGE_TEST)
    project.write("README.md", README)
    project.edit("pyproject.toml", '  "flask>=3.1",\n', '  "flask>=3.1",\n  "iniconfig",\n')
    project.must("bin/lock")
    project.must("git", "add", "--all")
    project.must("git", "commit", "--no-verify", "--quiet", "--message", "Half a year of work")
    return {"README.md", "compose.production.yaml"}


def test_an_edited_project_ends_green_or_with_the_named_conflicts(
    releases: Releases, tags: list[str], tmp_path: Path
) -> None:
    require("uv")
    for tag in tags:
        (tmp_path / tag).mkdir()
        project = client(releases, tag, tmp_path / tag)
        theirs = edit(project)
        changed = {n for n in theirs if source(releases, tag, n) != source(releases, AFTER, n)}
        assert "README.md" in changed

        said = project.upgrade(AFTER, "--no-checks", code=5)
        listed = said.partition("these files need you:\n")[2].partition("\nEdit them")[0]
        found = {line.split()[0] for line in listed.splitlines()}
        assert found == changed | CONFLICTS.get(tag, set())
        for name in found:
            settle(project, name)
        project.must("bin/lock")
        project.must("git", "add", "--update")
        quiet = ("-c", "core.hooksPath=/dev/null")
        project.must("git", *quiet, "cherry-pick", "--continue", GIT_EDITOR="true")
        assert project.status() == []

        project.must("bin/setup")
        project.must("bin/check")
        assert "passed" in project.must("bin/test")
        assert project.read("README.md") == README
        assert "ENV CLIENT=zoe\n" in project.read("Dockerfile")
        assert "iniconfig==" in project.read("requirements.txt")
        assert "/menu" in project.read("app/pages.py")
        assert "/* after */" in project.read("app/static/style.css")
        assert not {"compose.production.yaml", "tests/test_pages.py"} & project.files()
        project.must("bin/lock")
        assert project.status() == []


def settle(project: Client, name: str) -> None:
    """Decide as this client does."""
    if name == "compose.production.yaml":
        project.must("git", "rm", "--quiet", name)
        return
    side = "--ours" if name == "README.md" else "--theirs"
    project.must("git", "checkout", side, name)
    if name == "app/pages.py":
        project.write(name, project.read(name) + PAGE)
    project.must("git", "add", name)


def source(releases: Releases, tag: str, name: str) -> str:
    """Return a file of the template at a release."""
    return releases.run("git", "show", f"{tag}:{PROJECT.name}/{name}").stdout


def test_bin_upgrade_fetches_the_newest_release_and_is_quick(
    releases: Releases, tmp_path: Path
) -> None:
    require("uv")
    project = Client(releases.bake(NEXT, tmp_path).path)
    project.must("bin/upgrade", "--dry-run")  # which fetches Cookiecutter, once
    before, started = os.times(), time.monotonic()
    said = project.must("bin/upgrade", "--no-checks")
    wall, after = time.monotonic() - started, os.times()

    assert f"Upgrade to cookiecutter-flask-delivery {AFTER} from {NEXT}" in said
    assert project.branch() == f"upgrade/{AFTER}"
    assert project.read("app/static/style.css").endswith("/* after */\n")
    # Seconds of the CPU: others may keep the machine busy, and it hardly waits for anything else.
    work = sum(after[2:4]) - sum(before[2:4])
    print(f"bin/upgrade took {wall:.1f} s, {work:.1f} s of the CPU")
    assert work < 10


def test_bin_upgrade_works_with_pip_alone(releases: Releases, tmp_path: Path) -> None:
    project = Client(releases.bake(NEXT, tmp_path).path)
    path = only(tmp_path / "path", sys.executable)

    said = project.must("bin/upgrade", "--no-checks", "--to", AFTER, PATH=path)
    assert project.branch() == f"upgrade/{AFTER}"
    assert "one commit on branch" in said


def test_bin_upgrade_at_the_end_has_checked_and_tested(
    releases: Releases, tools: Path, tmp_path: Path
) -> None:
    require("uv")
    project = Client(releases.bake(NEXT, tmp_path).path, env={"VENV": str(tools)})

    said = project.must("bin/upgrade")
    assert "Ready: bin/dev" in said
    assert "Success: no issues found" in said
    assert " passed" in said
    assert said.index(" passed") < said.index("To take it: git switch main")


def test_bin_upgrade_says_what_it_lacks(releases: Releases, tmp_path: Path) -> None:
    project = Client(releases.bake(NEXT, tmp_path).path)
    before = project.everything()

    done = project.run("bin/upgrade", "--to", "12.0")
    assert done.returncode == 3
    assert "has no version 12.0" in done.stdout
    done = project.run("bin/upgrade", "--to", "0.1.0")
    assert done.returncode == 3
    assert "version 0.1.0 is too old to upgrade a project" in done.stdout
    done = project.run("bin/upgrade", "--template", str(tmp_path / "nowhere"))
    assert done.returncode != 0
    assert "nowhere" in done.stdout
    assert project.everything() == before

    (project.path / ".cruft.json").unlink()
    done = project.run("bin/upgrade")
    assert done.returncode == 2
    assert "add --template ADDRESS" in done.stdout


def test_versions_are_ordered_by_number(releases: Releases, tmp_path: Path) -> None:
    clone = Releases(tmp_path / "template")
    releases.must("git", "clone", "--quiet", releases.path, clone.path)
    for tag in ("99.10.0", "99.9.0", "100.0.0-rc1", "not-a-version"):
        clone.must("git", "tag", tag, NEXT)

    assert Template.at(clone.path).releases()[:3] == ["99.10.0", "99.9.0", "99.0.0"]
    project = Client(clone.bake(AFTER, tmp_path).path)
    said = project.must("bin/upgrade", "--no-checks", "--dry-run")
    assert "Nothing to do: the project has version 99.10.0" in said


def test_every_prompt_of_every_release_can_be_answered_today(
    releases: Releases, tags: list[str]
) -> None:
    template = Template.at(releases.path)
    now = {name: value for name, value in PROMPTS.items() if not name.startswith("_")}
    migrations = Migrations.of(template, template.commit(NEXT))
    broken = [
        f"{tag}: {promise}"
        for tag in tags
        for promise in migrations.broken_promises(template.prompts(template.commit(tag)), now)
    ]
    assert broken == [], "upgrade/migrations.json has to say what became of them"


def test_every_move_leads_from_a_release_to_a_file(releases: Releases, tags: list[str]) -> None:
    template = Template.at(releases.path)
    paths = Migrations.of(template, template.commit(NEXT)).paths
    assert paths

    for old, new in paths.items():
        assert (PROJECT / new).is_file(), new
        assert any(source(releases, tag, old) for tag in tags), old
        assert not (PROJECT / old).exists(), old


def test_an_edit_follows_a_file_that_moved(releases: Releases, tmp_path: Path) -> None:
    project = client(releases, "0.1.0", tmp_path)
    edited = project.read("delivery/check.py") + "\n# ours\n"
    project.write("delivery/check.py", edited)
    project.must("git", "commit", "--no-verify", "--quiet", "--all", "--message", "Our check")

    project.upgrade(AFTER, "--no-checks")
    assert "# ours\n" in project.read("delivery/probe.py")
    assert "delivery/check.py" not in project.files()


@pytest.mark.fast
def test_a_broken_promise_is_named() -> None:
    before = {"a": "text", "b": ["x", "y"], "c": True, "d": "text"}
    now = {"b": ["x", "z"], "c": "n", "dd": "text"}

    assert Migrations().broken_promises(before, now) == [
        "a is gone: name its successor, or null, under answers",
        "b can no longer be 'y': map it under values",
        "c was yes or no and is a text: call it anew",
        "d is gone: name its successor, or null, under answers",
    ]
    good = Migrations({"a": None, "d": "dd", "c": None}, {"b": {"y": "z"}})
    assert good.broken_promises(before, now) == []


def test_a_stranger_is_not_adopted(releases: Releases, tmp_path: Path) -> None:
    stranger = Client(tmp_path / "stranger", template=releases.path)
    stranger.path.mkdir()
    stranger.must("git", "init", "--quiet", "--initial-branch=main")
    stranger.commit({"setup.py": "print('old')\n", "README.md": "# Old\n"})

    said = stranger.upgrade(NEXT, "--adopt", "0.1.0", "--template", "anywhere", code=3)
    assert re.search(r"0 of the \d+ files of 0.1.0 are in the project", said)
    assert "too few for a project of 0.1.0" in said
    assert ".cruft.json" not in stranger.files()


def test_adopting_reads_the_answers_out_of_the_project(releases: Releases, tmp_path: Path) -> None:
    baked = releases.bake("0.1.0", tmp_path, license="BSD-3-Clause", owner="Zoë & Co")
    project = Client(baked.path, template=releases.path)

    said = project.upgrade(NEXT, "--adopt", "0.1.0", "--template", "anywhere")
    for line in ("owner=Zoë & Co", "license=BSD-3-Clause", "project_name=Hello Delivery"):
        assert f"  {line}\n" in said
    assert "is there already" in project.upgrade(NEXT, "--adopt", "0.1.0", code=3)
