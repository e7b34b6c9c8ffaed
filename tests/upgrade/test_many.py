"""Many projects at once, from a clone of the template, as README.md has it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, clean_environment
from tests.support.tools import require
from tests.upgrade.real import AFTER, NEXT, Releases
from tests.upgrade.small import Client

pytestmark = pytest.mark.upgrade

CLIENTS = ("bakery", "florist", "tailor")
README = (TEMPLATE / "README.md").read_text("utf-8").partition("## Twenty projects, one release")[2]


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Return the template with all its releases, and two more."""
    return Releases.at(tmp_path_factory.mktemp("many") / "template")


@pytest.fixture
def clients(releases: Releases, tmp_path: Path) -> dict[str, Client]:
    """Return three projects beside a clone of the template; the second will be in conflict."""
    baked = releases.bake(NEXT, tmp_path)
    made = {name: Client(tmp_path / name) for name in CLIENTS}
    for client in made.values():
        shutil.copytree(baked.path, client.path, symlinks=True)
    florist = made["florist"]
    florist.write("README.md", "# Florist\n")
    florist.must("git", "commit", "--quiet", "--no-verify", "--all", "--message", "Our README")
    made["tailor"].write("app/pages.py", "work of today\n")
    clone = tmp_path / "template"
    releases.must("git", "clone", "--quiet", releases.path.as_uri(), clone)
    made["template"] = Client(clone)
    return made


def rows(said: str) -> dict[str, tuple[str, str, str]]:
    """Read the table: client -> from, to, result."""
    lines = said.partition("seconds\n")[2].partition("\n\n")[0].splitlines()
    cut = [(line[:28], line[29:39], line[40:50], line[51:73]) for line in lines]
    return {name.strip(): (a.strip(), b.strip(), c.strip()) for name, a, b, c in cut}


def run(clients: dict[str, Client], *arguments: str, code: int) -> str:
    """Upgrade from the clone, without the time that its checks take."""
    done = clients["template"].run(sys.executable, "-m", "upgrade", "--no-checks", *arguments)
    assert done.returncode == code, done.stdout
    return done.stdout


def test_the_readme_as_typed(clients: dict[str, Client]) -> None:
    require("uv")
    here = clients["template"]
    block = (
        README.partition("For all clients at once")[2].partition("```sh\n")[2].partition("```")[0]
    )
    assert block.count("../") == 3
    before = {name: clients[name].everything() for name in ("florist", "tailor")}
    main = clients["bakery"].head()

    # The environment that the tests run in is the one that `uv run` makes.
    done = here.run("sh", "-c", block, UV_PROJECT_ENVIRONMENT=sys.prefix)
    assert done.returncode == 5, done.stdout
    assert rows(done.stdout) == {
        "bakery": (NEXT, AFTER, "clean"),
        "florist": (NEXT, AFTER, "conflicts"),
        "tailor": (NEXT, AFTER, "clean"),
    }
    assert "README.md: both changed the same lines\n" in done.stdout
    assert f"By hand: cd ../florist && bin/upgrade --to {AFTER}\n" in done.stdout
    bakery = clients["bakery"]
    assert (bakery.head(), bakery.branch(), bakery.status()) == (main, "main", [])
    branch = f"upgrade/{AFTER}"
    assert bakery.must("git", "show", f"{branch}:app/static/style.css").endswith("/* after */\n")
    assert bakery.must("git", "rev-list", "--count", f"main..{branch}").strip() == "1"
    assert clients["florist"].everything() == before["florist"]
    assert clients["tailor"].read("app/pages.py") == "work of today\n"
    assert clients["tailor"].everything()[1:] == before["tailor"][1:]  # but for the new branch

    done = here.run("sh", "-c", block, UV_PROJECT_ENVIRONMENT=sys.prefix)
    assert rows(done.stdout)["bakery"][2] == "refused"  # the branch is there, and not merged
    bakery.must("git", "merge", "--quiet", branch)
    said = run(clients, "../bakery", code=0)
    assert rows(said) == {"bakery": (AFTER, AFTER, "nothing to do")}


def test_the_first_problem_stops_nothing(clients: dict[str, Client], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (clients["tailor"].path / ".cruft.json").unlink()
    clients["tailor"].must(
        "git", "commit", "--no-verify", "--all", "--quiet", "--message", "Lose it"
    )

    said = run(clients, "../nowhere", "../empty", "../florist", "../tailor", "../bakery", code=5)
    assert {name: row[2] for name, row in rows(said).items()} == {
        "nowhere": "failed",
        "empty": "failed",
        "florist": "conflicts",
        "tailor": "refused",
        "bakery": "clean",
    }


def test_addresses_are_pushed_to_only_when_asked(
    clients: dict[str, Client], tmp_path: Path
) -> None:
    bare = tmp_path / "bakery.git"
    clients["bakery"].must("git", "clone", "--quiet", "--bare", ".", bare)
    origin = Client(bare)
    before = origin.must("git", "for-each-ref")

    said = run(clients, bare.as_uri(), code=0)
    assert rows(said) == {"bakery": (NEXT, AFTER, "clean, not pushed")}
    assert origin.must("git", "for-each-ref") == before

    said = run(clients, "--push", bare.as_uri(), code=0)
    assert rows(said) == {"bakery": (NEXT, AFTER, "clean, pushed")}
    css = origin.must("git", "show", f"upgrade/{AFTER}:app/static/style.css")
    assert css.endswith("/* after */\n")
    assert before.strip() in origin.must("git", "for-each-ref")


def test_red_checks_are_in_the_table(clients: dict[str, Client]) -> None:
    bakery = clients["bakery"]
    bakery.write("bin/setup", "#!/bin/sh\n")
    bakery.write("bin/check", "#!/bin/sh\necho the roof leaks\nexit 1\n")
    bakery.must("git", "commit", "--quiet", "--no-verify", "--all", "--message", "Break it")

    done = clients["template"].run(sys.executable, "-m", "upgrade", "../bakery")
    assert done.returncode == 1
    assert rows(done.stdout) == {"bakery": (NEXT, AFTER, "bin/check red")}
    assert "the roof leaks" in done.stdout
    assert f"upgrade/{AFTER}" in bakery.must("git", "branch", "--list")


def test_an_older_project_is_adopted_where_it_is(
    releases: Releases, clients: dict[str, Client], tmp_path: Path
) -> None:
    old = Client(releases.bake("0.1.0", tmp_path).path)

    run(clients, "--adopt", "0.1.0", str(old.path), code=0)
    old.must("git", "add", ".cruft.json")
    old.must("git", "commit", "--quiet", "--no-verify", "--message", "Adopt")
    said = run(clients, str(old.path), code=0)
    assert rows(said) == {old.path.name: ("0.1.0", AFTER, "clean")}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_the_rest_alone(clients: dict[str, Client], tmp_path: Path) -> None:
    bakery = clients["bakery"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    bakery.write("bin/setup", f"#!/bin/sh\necho >{pipe}\nsleep 60\n")
    bakery.must("git", "commit", "--quiet", "--no-verify", "--all", "--message", "Take long")
    before = [clients[name].everything() for name in CLIENTS]

    with subprocess.Popen(
        [sys.executable, "-m", "upgrade", "../bakery", "../florist"],
        cwd=clients["template"].path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        pipe.read_text()  # until bin/setup is at work
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert "interrupted" in process.stdout.read()
    assert process.returncode == 130
    assert [clients[name].everything() for name in CLIENTS] == before
