"""The GitLab emulator, asked by GitLab's own command line."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.gitlab import GitLab
from tests.conftest import clean_environment
from tests.support.tools import require


@pytest.fixture
def server() -> Iterator[GitLab]:
    """Return a GitLab with an empty project."""
    with GitLab() as emulator:
        yield emulator


def glab(server: GitLab, home: Path, *arguments: str) -> str:
    """Run glab as somebody who signed in to this GitLab; return what it prints."""
    host = server.url.removeprefix("http://")
    config = home / "glab"
    config.mkdir(mode=0o700, exist_ok=True)
    text = "check_update: false\nhosts:\n"
    text += f"  {host}:\n    api_protocol: http\n    api_host: {host}\n    token: {server.token}\n"
    (config / "config.yml").write_text(text, "utf-8")
    (config / "config.yml").chmod(0o600)
    done = subprocess.run(
        [require("glab"), *arguments],
        cwd=home,
        env=clean_environment()
        | {"GITLAB_HOST": server.url, "GLAB_CONFIG_DIR": str(config), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_glab_sets_reads_and_deletes_a_variable(server: GitLab, tmp_path: Path) -> None:
    project = ("--repo", "acme/site")
    glab(server, tmp_path, "variable", "set", "GREETING", "hello", "--protected", *project)
    stored = server.variable("GREETING")
    assert stored is not None
    assert (stored["value"], stored["protected"]) == ("hello", True)
    assert "GREETING" in glab(server, tmp_path, "variable", "list", *project)
    assert glab(server, tmp_path, "variable", "get", "GREETING", *project) == "hello"
    glab(server, tmp_path, "variable", "delete", "GREETING", *project)
    assert server.variable("GREETING") is None
    assert server.unmodelled == []


def test_glab_tells_the_token_that_connect_asks_it_for(server: GitLab, tmp_path: Path) -> None:
    host = server.url.removeprefix("http://")
    said = glab(server, tmp_path, "config", "get", "token", "--host", host)
    assert said.strip() == server.token
