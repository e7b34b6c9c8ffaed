"""Naming versions after commits, with a real git."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from delivery import revision
from delivery.console import Console
from delivery.errors import MisuseError, RefusedError
from delivery.process import Runner
from delivery.target import Version
from delivery.vault import Vault

from tests.delivery.fakes import DEPLOYED, NEW, OLD

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
def runner(tmp_path: Path) -> Runner:
    """Give a runner in a clone with one commit, as inside a hook of some other repository."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").write_text("one\n")
    git(project, "init", "-q")
    git(project, "add", "file")
    git(project, "commit", "-qm", "One")
    environ = PLAIN | {"GIT_DIR": str(tmp_path / "elsewhere"), "GIT_INDEX_FILE": "elsewhere"}
    return Runner(Console({}), Vault(outside=project), project, environ)


def test_a_version_is_named_after_the_commits_time_in_utc_and_its_hash(runner: Runner) -> None:
    sha = git(runner.root, "rev-parse", "HEAD")
    assert revision.of_commit(runner) == f"v20261122t230203-{sha[:8]}"


def test_a_clean_tree_may_be_deployed_whatever_lies_around_untracked(runner: Runner) -> None:
    (runner.root / "notes").write_text("mine")
    revision.refuse_uncommitted(runner)


def test_a_new_file_of_the_application_is_refused_because_it_would_be_uploaded(
    runner: Runner,
) -> None:
    (runner.root / "app").mkdir()
    (runner.root / "app" / ".DS_Store").write_text("")
    revision.refuse_uncommitted(runner)
    (runner.root / "app" / "draft.py").write_text("")
    with pytest.raises(RefusedError) as caught:
        revision.refuse_uncommitted(runner)
    assert "app/draft.py" in caught.value.why


@pytest.mark.parametrize("staged", [True, False])
def test_changes_that_are_not_committed_are_refused_and_listed(
    runner: Runner, *, staged: bool
) -> None:
    (runner.root / "file").write_text("two\n")
    if staged:
        git(runner.root, "add", "file")
    with pytest.raises(RefusedError) as caught:
        revision.refuse_uncommitted(runner)
    assert "file" in caught.value.why
    assert "--version" in caught.value.then


def test_a_folder_without_a_commit_is_explained_in_gits_words(tmp_path: Path) -> None:
    runner = Runner(Console({}), Vault(outside=tmp_path), tmp_path, PLAIN)
    with pytest.raises(MisuseError) as caught:
        revision.of_commit(runner)
    assert "fatal" in caught.value.why


def test_a_version_tells_when_its_commit_was_made() -> None:
    assert revision.commit_time("v20261122t230203-abcdef01") == datetime(
        2026, 11, 22, 23, 2, 3, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "name",
    ["mr-7", "v1", "v20261122t230203", "v20261122t230203-ABCDEF01", "v20269922t230203-abcdef01"],
)
def test_other_names_tell_no_time(name: str) -> None:
    assert revision.commit_time(name) is None


def test_of_two_commits_the_later_is_newer_whenever_it_was_deployed() -> None:
    late = Version(OLD, "", DEPLOYED.replace(year=2027))
    assert Version(NEW, "", DEPLOYED).is_newer_than(late)
    assert not late.is_newer_than(Version(NEW, "", DEPLOYED))
    assert not late.is_newer_than(late)
