"""An upgrade that is killed or interrupted: the branch that one began on is untouched."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, clean_environment
from tests.upgrade.small import POEM, Client, SmallTemplate

pytestmark = [
    pytest.mark.upgrade,
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]

TALL = POEM.replace("line 3\n", "a taller line 3\n")
WIDE = POEM.replace("line 3\n", "a wider line 3\n")

# Counts its calls. The call that DIE_AT names, or the first of the command DIE_IN in the project
# itself, ends all that belongs to the upgrade, before or after git has worked. Calls side by side
# may count as one: so it is the first that is not before it, and no other.
GIT = """#!/bin/sh
echo >>{count}
n=$(wc -l <{count})
case " $* " in *" $DIE_IN "*) [ "$DIE_IN" ] && [ "$PWD" = {project} ] && n=$DIE_AT ;; esac
if [ $n -ge $DIE_AT ] && mkdir {count}.reached 2>/dev/null; then
  [ -z "$DIE_AFTER" ] || {git} "$@"
  kill -$DIE_OF 0
fi
exec {git} "$@"
"""

NEVER = 9999


@pytest.fixture
def wrapped(client: Client, tmp_path: Path) -> Path:
    """Put a git first that can end the upgrade; return the folder that it is in."""
    folder = tmp_path / "wrapped"
    folder.mkdir()
    script = GIT.format(
        count=folder / "count", git=shutil.which("git"), project=client.path.resolve()
    )
    (folder / "git").write_text(script)
    (folder / "git").chmod(0o755)
    return folder


def run(client: Client, wrapped: Path, die_at: int, how: str = "KILL", **env: str) -> int:
    """Upgrade in a process group of its own; return the exit code."""
    (wrapped / "count").write_text("")
    shutil.rmtree(wrapped / "count.reached", ignore_errors=True)
    path = f"{wrapped}{os.pathsep}{os.environ['PATH']}"
    env = {"DIE_AT": str(die_at), "DIE_OF": how, "DIE_IN": "", "DIE_AFTER": "", "PATH": path} | env
    done = subprocess.run(
        client.upgrade_command("2.0"),
        cwd=client.path,
        env=clean_environment() | {"PYTHONPATH": str(TEMPLATE)} | env,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode in {0, 5, 130, -9}, done.stderr
    return done.returncode


def untouched(client: Client) -> tuple[str, ...]:
    """Return what an upgrade may never change."""
    return (
        client.must("git", "rev-parse", "main"),
        client.must("git", "show", "main:app/pages.py"),
        client.read("notes.txt"),
    )


@pytest.fixture(params=["clean", "conflict"])
def outcome(request: pytest.FixtureRequest, template: SmallTemplate, client: Client) -> int:
    """Prepare an upgrade that ends clean, or in a conflict; return its exit code."""
    files = {f"app/new{n}.py": f"new {n}\n" for n in range(5)}
    template.release("2.0", {"app/pages.py": TALL, "app/other.py": None, **files})
    client.commit({"app/pages.py": WIDE if request.param == "conflict" else POEM + "the end\n"})
    client.write("notes.txt", "nobody's business\n")
    return 5 if request.param == "conflict" else 0


def assert_works(client: Client, outcome: int) -> None:
    """Upgrade at last, and find everything as if nothing had been."""
    client.upgrade("2.0", code=outcome)
    assert client.branch() == "upgrade/2.0"
    if outcome == 0:
        assert client.read("app/pages.py") == TALL + "the end\n"
        assert client.status() == ["?? notes.txt"]
        assert client.must("git", "rev-list", "--count", "main..").strip() == "1"
    else:
        assert "UU app/pages.py" in client.status()
    assert client.must("git", "worktree", "list").count("\n") == 1
    assert not (client.path / ".git/upgrade/journal.json").exists()
    assert [path.name for path in (client.path / ".git/upgrade").iterdir()] == ["lock"]


def test_killed_anywhere_and_repeated(client: Client, wrapped: Path, outcome: int) -> None:
    before = untouched(client)
    killed = 0
    for die_at in range(1, 400, 11):
        ended = run(client, wrapped, die_at)
        assert untouched(client) == before
        if ended != -signal.SIGKILL:
            break
        killed += 1
    assert ended in {0, outcome}
    assert killed > 3
    if client.branch() != "main":
        client.run("git", "cherry-pick", "--abort")
        client.must("git", "switch", "--quiet", "main")
        client.must("git", "branch", "--quiet", "-D", "upgrade/2.0")
    assert_works(client, outcome)


@pytest.mark.parametrize("after", ["", "yes"])
@pytest.mark.parametrize("step", [0, 1])
def test_killed_at_the_worst_moment(
    client: Client, wrapped: Path, outcome: int, step: int, after: str
) -> None:
    """What changes the project itself: the branch first, then its files."""
    command = {0: ("branch", "switch"), 5: ("switch", "cherry-pick")}[outcome][step]
    before = untouched(client)

    assert run(client, wrapped, NEVER, DIE_IN=command, DIE_AFTER=after) == -signal.SIGKILL
    assert untouched(client) == before
    if (command, after) == ("cherry-pick", "yes"):  # git is done: the conflict is a person's
        client.must("git", "cherry-pick", "--abort")
    assert_works(client, outcome)


@pytest.mark.parametrize("file", range(1, 7))
def test_killed_while_git_writes_the_files(
    client: Client, tmp_path: Path, outcome: int, file: int
) -> None:
    """A filter that git runs for each file that it writes ends git, and all that called it."""
    before = untouched(client)
    count = tmp_path / "count"
    count.write_text("0")
    smudge = tmp_path / "smudge"
    smudge.write_text(
        f"#!/bin/sh\ncase $PWD in *.git/upgrade*) exec cat ;; esac\n"
        f"n=$(($(cat {count}) + 1))\necho $n >{count}\n[ $n != {file} ] || kill -9 0\nexec cat\n"
    )
    smudge.chmod(0o755)
    client.must("git", "config", "filter.deadly.smudge", str(smudge))
    (client.path / ".git/info").mkdir(exist_ok=True)
    (client.path / ".git/info/attributes").write_text("app/*.py filter=deadly\n")

    done = subprocess.run(
        client.upgrade_command("2.0"),
        cwd=client.path,
        env=clean_environment() | {"PYTHONPATH": str(TEMPLATE)},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert untouched(client) == before
    assert (client.path / ".git/upgrade/journal.json").exists()
    assert_works(client, outcome)


def test_what_a_person_edits_after_a_kill_is_kept(
    client: Client, wrapped: Path, outcome: int
) -> None:
    assert run(client, wrapped, NEVER, DIE_IN="switch", DIE_AFTER="yes") == -signal.SIGKILL
    client.edit("app/pages.py", "line 20\n", "a night's work\n")
    before = client.everything()

    said = client.upgrade("2.0", code=3)
    assert "was interrupted, and these files have changed since:\n  app/pages.py\n" in said
    assert client.everything() == before
    assert outcome in {0, 5}


def test_what_a_person_commits_after_a_kill_is_kept(
    template: SmallTemplate, client: Client, wrapped: Path
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    assert run(client, wrapped, NEVER, DIE_IN="switch", DIE_AFTER="yes") == -signal.SIGKILL
    client.edit("app/pages.py", "line 20\n", "a night's work\n")
    head = client.commit()

    assert "Nothing to do" in client.upgrade("2.0")
    assert client.head() == head


def test_ctrl_c_goes_back_to_where_one_was(client: Client, wrapped: Path, outcome: int) -> None:
    before = client.everything()
    for command in ("worktree add", "switch"):
        assert run(client, wrapped, NEVER, how="INT", DIE_IN=command) == 130
        assert client.everything() == before
    for die_at in (3, 12, 25, 37):
        assert run(client, wrapped, die_at, how="INT") == 130
        assert client.everything() == before
    assert_works(client, outcome)


def test_ctrl_c_in_the_checks_leaves_the_branch_and_says_so(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"bin/check": "#!/bin/sh\necho waiting\nread -r line <pipe\n"})
    os.mkfifo(client.path / "pipe")
    with subprocess.Popen(
        client.upgrade_command("2.0"),
        cwd=client.path,
        env=clean_environment() | {"PYTHONPATH": str(TEMPLATE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "waiting\n":
                break
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 130
    assert "The upgrade is one commit on branch upgrade/2.0." in said
    assert client.branch() == "upgrade/2.0"
    assert client.status() == []
    assert "Nothing to do" in client.upgrade("2.0")


def test_two_at_once_are_one_too_many(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"bin/check": "#!/bin/sh\necho waiting\nread -r line <pipe\n"})
    pipe = client.path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        client.upgrade_command("2.0"),
        cwd=client.path,
        env=clean_environment() | {"PYTHONPATH": str(TEMPLATE)},
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert any(line == "waiting\n" for line in first.stdout)
        assert "another bin/upgrade is at work" in client.upgrade("2.0", code=3)
        pipe.write_text("go on\n")
        assert "To take it" in first.stdout.read()
    assert first.returncode == 0


def test_the_journal_of_an_upgrade_that_is_over_changes_nothing(client: Client) -> None:
    place = client.path / ".git/upgrade"
    place.mkdir()
    start = client.head()
    client.commit({"app/mine.py": "mine\n"})
    client.commit({"app/mine.py": "more\n"})
    tree = client.must("git", "rev-parse", f"{start}^{{tree}}").strip()
    entry = {"head": "refs/heads/main", "start": start, "branch": "upgrade/2.0", "was": None}
    (place / "journal.json").write_text(json.dumps(entry | {"tree": tree}))
    before = client.everything()

    client.upgrade("1.0")
    assert client.everything() == before
