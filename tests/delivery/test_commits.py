"""Naming versions after commits, with a real git."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery.commits import Repository
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import MisuseError, RefusedError
from delivery.process import Runner

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

# No configuration of this machine, and nothing of a git hook that runs these tests.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
WHEN = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-11-23T01:02:03+0200"}


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    done = subprocess.run(
        ["git", *identity, *args],
        cwd=folder,
        env=PLAIN | WHEN,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """Give a runner in a clone with one commit, as inside a hook of some other repository."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").write_text("one\n")
    git(project, "init", "-q")
    git(project, "add", "file")
    git(project, "commit", "-qm", "One")
    environ = PLAIN | {"GIT_DIR": str(tmp_path / "elsewhere"), "GIT_INDEX_FILE": "elsewhere"}
    with PrivateFolder(outside=project) as private:
        yield Runner(Console({}), private, project, environ)


def test_a_version_is_named_after_the_commits_time_in_utc_and_its_hash(runner: Runner) -> None:
    sha = git(runner.root, "rev-parse", "HEAD")
    assert Repository(runner).version() == f"v20261122t230203-{sha[:8]}"


def test_a_clean_tree_may_be_deployed_whatever_lies_around_untracked(runner: Runner) -> None:
    (runner.root / "notes").write_text("mine")
    Repository(runner).refuse_uncommitted()


def test_a_new_file_of_the_application_is_refused_because_it_would_be_uploaded(
    runner: Runner,
) -> None:
    (runner.root / "app").mkdir()
    (runner.root / "app" / ".DS_Store").write_text("")
    Repository(runner).refuse_uncommitted()
    (runner.root / "app" / "draft.py").write_text("")
    with pytest.raises(RefusedError) as caught:
        Repository(runner).refuse_uncommitted()
    assert "app/draft.py" in caught.value.why


@pytest.mark.parametrize("staged", [True, False])
def test_changes_that_are_not_committed_are_refused_and_listed(
    runner: Runner, *, staged: bool
) -> None:
    (runner.root / "file").write_text("two\n")
    if staged:
        git(runner.root, "add", "file")
    with pytest.raises(RefusedError) as caught:
        Repository(runner).refuse_uncommitted()
    assert "file" in caught.value.why
    assert "git stash" in caught.value.then


def test_a_folder_without_a_commit_is_explained_in_gits_words(tmp_path: Path) -> None:
    runner = Runner(Console({}), PrivateFolder(outside=tmp_path), tmp_path, PLAIN)
    with pytest.raises(MisuseError) as caught:
        Repository(runner).version()
    assert "fatal" in caught.value.why


def test_what_is_exported_is_the_commit_and_nothing_else(runner: Runner, tmp_path: Path) -> None:
    (runner.root / "ignored").write_text("secret")
    (runner.root / "file").write_text("changed\n")
    folder = tmp_path / "export"
    folder.mkdir()
    Repository(runner).export(folder)
    assert [file.name for file in folder.iterdir()] == ["file"]
    assert (folder / "file").read_text() == "one\n"


def test_git_says_which_of_two_commits_is_built_on_the_other(runner: Runner) -> None:
    repository = Repository(runner)
    old = repository.version()
    git(runner.root, "commit", "-q", "--allow-empty", "-m", "Two")
    new = repository.version()
    assert repository.is_ancestor(old, new) is True
    assert repository.is_ancestor(new, old) is False
    assert repository.is_ancestor(old, "hotfix") is None
    assert repository.is_ancestor(old, "v20261122t230203-00000000") is None
    assert [line.split(" ", 1)[1] for line in repository.between(old, new)] == ["Two (Test)"]
    assert repository.between(old, "hotfix") == []
