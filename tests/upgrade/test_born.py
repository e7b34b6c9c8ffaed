"""Every project is born with .cruft.json: which template, which version, which answers."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, TEMPLATE, BakedProject, clean_environment
from tests.support.answers import HOSTILE, PROMPTS
from tests.support.tools import require
from tests.test_hooks import load
from tests.upgrade.real import copy_of_template
from upgrade import state

pytestmark = pytest.mark.upgrade

OLDEST = "cookiecutter==2.4.0"  # README.md says so
NEWEST = "cookiecutter==2.7.1"
CRUFT = "cruft==2.16.0"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """Return a bare repository that has this template, as it stands here, as its release 7.0.0."""
    folder = tmp_path_factory.mktemp("born")
    work = BakedProject(folder / "work")
    copy_of_template(work.path)
    work.must("git", "init", "--quiet", "--initial-branch=main")
    work.must("git", "add", "--all")
    work.must("git", "commit", "--quiet", "--message", "7.0.0")
    work.must("git", "tag", "--annotate", "--message", "7.0.0", "7.0.0")
    bare = folder / "template.git"
    work.must("git", "clone", "--quiet", "--bare", ".", bare)
    return BakedProject(bare)


def bake(
    where: Path, *options: str | Path, tool: str = NEWEST, command: tuple[str, ...] = ()
) -> tuple[BakedProject, str]:
    """Bake with a released tool, as from a shell in a folder; return the project and the words."""
    where.mkdir(exist_ok=True)
    output = where / "out"
    command = command or ("cookiecutter", "--no-input")
    done = subprocess.run(
        [require("uv"), "tool", "run", "--quiet", "--with=setuptools", "--from", tool, *command,
         "--output-dir", output, *options],
        cwd=where,
        env=clean_environment() | {"PWD": str(where), "COOKIECUTTER_CONFIG": str(config(where))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (project,) = output.iterdir()
    return BakedProject(project), done.stdout


def config(where: Path) -> Path:
    """Write a configuration in which `gh:` leads to repositories on this machine."""
    path = where / "config.yaml"
    settings = {
        "cookiecutters_dir": str(where / "clones"),
        "replay_dir": str(where / "replay"),
        "abbreviations": {"gh": where.parent.as_uri() + "/{0}.git"},
    }
    path.write_text(json.dumps(settings))
    return path


def tree(project: BakedProject) -> str:
    """Return the first commit's tree: names, modes and bytes of all files."""
    assert project.must("git", "status", "--porcelain") == ""
    return project.must("git", "rev-parse", "HEAD^{tree}").strip()


def pure(project: BakedProject) -> dict[str, tuple[int, bytes]]:
    """Return the files with their modes: all but .cruft.json, which is no part of the render."""
    paths = {name: project.path / name for name in project.files() - {state.NAME}}
    return {n: (p.stat().st_mode & 0o111, p.read_bytes()) for n, p in paths.items()}


def test_the_first_commit_has_it(repository: BakedProject, tmp_path: Path) -> None:
    project, said = bake(tmp_path / "a", repository.path.as_uri(), "owner=Café Zoë")

    found = state.read(project.path)
    assert found.template == repository.path.as_uri()
    assert found.commit == repository.must("git", "rev-parse", "7.0.0^{commit}").strip()
    assert found.release == "7.0.0"
    assert found.directory is None
    assert list(found.answers) == [name for name in PROMPTS if not name.startswith("_")]
    assert found.answers["owner"] == "Café Zoë"
    assert found.answers["init_git"] is True
    assert state.NAME in project.must("git", "show", "--format=", "--name-only").split()
    assert "warning" not in said
    assert found.text() == project.read(state.NAME)


@pytest.mark.parametrize("how", ["address", "abbreviation", "clone", "here", "bare"])
def test_however_the_template_is_named(repository: BakedProject, tmp_path: Path, how: str) -> None:
    place = tmp_path / "a"
    shutil.copytree(repository.path, tmp_path / "template.git")
    address = (tmp_path / "template.git").as_uri()
    clone = tmp_path / "clone"
    repository.must("git", "clone", "--quiet", address, clone)
    if how == "here":
        shutil.copytree(clone, place)
    named = {"address": address, "abbreviation": "gh:template", "here": ".", "bare": address}
    project, _ = bake(place, *(("--checkout", "7.0.0") if how == "bare" else ()),
                      named.get(how, str(clone)))  # fmt: skip

    found = state.read(project.path)
    assert found.template == address
    assert (found.release, len(found.commit)) == ("7.0.0", 40)


def test_a_commit_that_was_never_pushed_is_found_where_it_is(
    repository: BakedProject, tmp_path: Path
) -> None:
    clone = BakedProject(tmp_path / "clone")
    repository.must("git", "clone", "--quiet", repository.path.as_uri(), clone.path)
    clone.must("git", "commit", "--quiet", "--allow-empty", "--message", "Not pushed")

    project, _ = bake(tmp_path / "a", clone.path)
    found = state.read(project.path)
    assert found.template == str(clone.path)
    assert found.release is None


def test_changes_of_the_template_that_are_in_no_commit_are_said(
    repository: BakedProject, tmp_path: Path
) -> None:
    clone = BakedProject(tmp_path / "clone")
    repository.must("git", "clone", "--quiet", repository.path.as_uri(), clone.path)
    (clone.path / PROJECT.name / "app.yaml").write_text("changed\n")

    _, said = bake(tmp_path / "a", clone.path)
    assert f"warning: {clone.path} has changes that are in no commit" in said


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in another repository"])
def test_a_template_without_history_says_so_in_a_line(tmp_path: Path, *, inside: bool) -> None:
    copy_of_template(tmp_path / "outer" / "template")
    if inside:
        BakedProject(tmp_path / "outer").must("git", "init", "--quiet")

    project, said = bake(tmp_path / "a", tmp_path / "outer" / "template")
    (line,) = [line for line in said.splitlines() if line.startswith("warning")]
    assert "has no git history" in line
    assert line.endswith("it cannot be upgraded to a newer version of the template later")
    assert state.NAME not in project.files()


@pytest.mark.parametrize("tool", [OLDEST, NEWEST])
def test_every_cookiecutter_bakes_the_same(
    repository: BakedProject, tmp_path: Path, tool: str
) -> None:
    options = (repository.path.as_uri(), "license=MIT", f"description={HOSTILE['quotes']}")
    one, _ = bake(tmp_path / "a", *options, tool=tool)
    two, _ = bake(tmp_path / "b", *options)

    assert tree(one) == tree(two)
    assert pure(one) == pure(two)


def test_cruft_bakes_the_same_and_takes_what_it_finds(
    repository: BakedProject, tmp_path: Path
) -> None:
    address = repository.path.as_uri()
    plain, _ = bake(tmp_path / "a", address)
    by_cruft, _ = bake(
        tmp_path / "b", address, tool=CRUFT, command=("cruft", "create", "--no-input")
    )

    assert pure(plain) == pure(by_cruft)
    assert tree(by_cruft)  # nothing to commit: cruft wrote the very same .cruft.json
    for project in (plain, by_cruft):
        found = state.read(project.path)
        assert found.answers == state.read(plain.path).answers
        for verb in (("check",), ("diff", "--exit-code"), ("update", "--skip-apply-ask")):
            done = project.run(
                require("uv"), "tool", "run", "--quiet", "--from", CRUFT, "cruft", *verb
            )
            assert done.returncode == 0, done.stdout
        assert tree(project)


def test_cruft_brings_an_unedited_project_to_the_next_release(
    repository: BakedProject, tmp_path: Path
) -> None:
    """Whoever uses cruft may go on with it."""
    newer = BakedProject(tmp_path / "newer")
    repository.must("git", "clone", "--quiet", repository.path.as_uri(), newer.path)
    project, _ = bake(tmp_path / "a", newer.path)
    (newer.path / PROJECT.name / "app/static/style.css").write_text("/* new */\n")
    newer.must("git", "commit", "--quiet", "--all", "--message", "Next")

    command = ("tool", "run", "--quiet", "--from", CRUFT, "cruft", "update", "--skip-apply-ask")
    project.write(
        state.NAME, project.read(state.NAME).replace(repository.path.as_uri(), str(newer.path))
    )
    project.must("git", "commit", "--no-verify", "--all", "--message", "The template moved")
    project.must(require("uv"), *command)
    assert project.read("app/static/style.css") == "/* new */\n"
    assert not list(project.path.rglob("*.rej"))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("origin", "kept"),
    [
        ("https://user:secret@example.com/t.git", "https://example.com/t.git"),
        ("https://token@example.com/t.git", "https://example.com/t.git"),
        ("https://example.com/t.git", "https://example.com/t.git"),
        ("git@example.com:group/t.git", "git@example.com:group/t.git"),
        ("ssh://git@example.com/t.git", "ssh://git@example.com/t.git"),
    ],
)
def test_no_password_gets_into_the_project(
    monkeypatch: pytest.MonkeyPatch, origin: str, kept: str
) -> None:
    post = load("post_gen_project")
    answers = {"remote": origin, "branch": "  origin/main"}
    monkeypatch.setattr(post, "git", lambda *arguments: answers[arguments[2]])

    assert post.address(Path(), "anything") == kept


def test_executable_bits_stand_in_the_templates_git() -> None:
    """Where the file system has no such bit, scripts are known by how they begin."""
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "-z", PROJECT.name],
        cwd=TEMPLATE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    entries = [entry.split("\t") for entry in filter(None, listed.stdout.split("\0"))]
    executable = {name for about, name in entries if about.startswith("100755")}
    scripts = {n for _, n in entries if (TEMPLATE / n).read_bytes().startswith(b"#!")}
    assert executable == scripts
    assert len(scripts) > 5


@pytest.mark.fast
def test_the_program_pins_the_cookiecutter_that_the_tests_run() -> None:
    pinned: dict[str, Any] = dict(
        line.split(" ")[0].split("==")
        for line in (TEMPLATE / "upgrade/requirements.txt").read_text().splitlines()
        if "==" in line
    )
    assert f"cookiecutter=={pinned['cookiecutter']}" == NEWEST
    group = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    assert any(line.startswith("cookiecutter") for line in group)
