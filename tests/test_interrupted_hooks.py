"""Edits outlive the git hooks of a baked project: while a hook runs, and when it is ended early."""

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject
from tests.support.slow import SlowHook

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and named pipes are POSIX")

COMMANDS = (("git", "commit", "--message", "Stage"), ("git", "push", "origin", "HEAD:main"))
ENDED = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)


@pytest.fixture
def slow(bake: Bake, tools: Path, tmp_path: Path) -> SlowHook:
    """Return the slow hook of a project that has an origin, a staged file and an edit beside it."""
    project = bake()
    project.env = {"VENV": str(tools)}
    project.add_origin(tmp_path)
    project.must("git", "push", "--no-verify", "origin", "main")
    hook = SlowHook(project, tmp_path / "slow")
    project.write("app/add.py", '"""Adds numbers."""\n')
    project.must("git", "add", "app/add.py")
    project.write("app/add.py", '"""Adds numbers."""\n\nFIRST = 1\n')
    return hook


def edits(project: BakedProject) -> str:
    """Return what is staged and what is not."""
    return project.must("git", "diff", "--cached") + project.must("git", "diff")


@pytest.mark.parametrize("command", COMMANDS, ids=["commit", "push"])
def test_edits_made_before_and_during_a_hook_survive(
    slow: SlowHook, command: tuple[str, ...]
) -> None:
    project = slow.project
    text = '"""Adds numbers."""\n\nFIRST = 1\n'

    running = slow.start(*command)
    assert project.read("app/add.py") == text
    project.write("app/add.py", text + "SECOND = 2\n")
    code, said = slow.finish(running)

    assert code == 0, said
    assert project.read("app/add.py") == text + "SECOND = 2\n"
    assert list(slow.temporary.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=["commit", "push"])
@pytest.mark.parametrize("number", ENDED)
def test_a_hook_that_is_ended_leaves_every_edit_where_it_was(
    slow: SlowHook, command: tuple[str, ...], number: signal.Signals
) -> None:
    before = edits(slow.project)
    refs = slow.project.must("git", "show-ref")

    slow.stop(slow.start(*command), number)

    assert edits(slow.project) == before
    assert slow.project.must("git", "show-ref") == refs
    if number != signal.SIGKILL:  # after which nothing can tidy up
        assert list(slow.temporary.iterdir()) == []


def test_after_a_kill_the_next_commit_and_push_work(slow: SlowHook) -> None:
    slow.stop(slow.start(*COMMANDS[0]), signal.SIGKILL)
    (slow.project.path / ".git" / "index.lock").unlink(missing_ok=True)  # git's own, as it says

    for command in COMMANDS:
        code, said = slow.finish(slow.start(*command))
        assert code == 0, said
