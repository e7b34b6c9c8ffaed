"""A release: one command makes it, and what the workflow then publishes of it."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import PROJECT, TEMPLATE, BakedProject, bake_quickly, clean_environment
from tests.upgrade.real import copy_of_template

pytestmark = pytest.mark.upgrade


@pytest.fixture
def repository(tmp_path: Path) -> BakedProject:
    """Return the template as it stands, with release 1.1.0 and two fragments for the next."""
    folder = tmp_path / "template"
    copy_of_template(folder)
    repository = BakedProject(folder)
    for path in (folder / "changes").glob("+*"):
        path.unlink()
    repository.write("changes/+door.fixed.md", "The door closes.\n")
    repository.must("git", "init", "--quiet", "--initial-branch=main")
    commit(repository)
    repository.must("git", "tag", "1.1.0")
    return repository


def commit(repository: BakedProject, **files: str) -> None:
    """Write files of changes/ (`must` for changes/+must.must.md), and commit all there is."""
    for kind, text in files.items():
        repository.write(f"changes/+{kind}.{kind}.md", text)
    repository.must("git", "add", "--all")
    repository.must("git", "commit", "--quiet", "--allow-empty", "--message", "Work")


def release(repository: BakedProject, version: str, code: int = 0) -> str:
    """Make a release by the documented command."""
    done = repository.run(sys.executable, "-m", "release", version)
    assert done.returncode == code, done.stdout
    return done.stdout


def test_one_command_makes_a_release(repository: BakedProject) -> None:
    commit(repository, must="Set `NEW` in GitLab.\n", added="A window.\n")

    said = release(repository, "2.0.0")
    assert "git push --follow-tags origin main" in said
    assert repository.must("git", "describe").strip() == "2.0.0"
    assert repository.must("git", "status", "--porcelain") == ""
    assert '"_template_version": "2.0.0"' in repository.read("cookiecutter.json")
    changelog = repository.read("CHANGELOG.md")
    newest = changelog.partition("\n## ")[2].partition("\n## ")[0]
    assert newest.startswith("2.0.0 (")
    assert newest.index("### You must do") < newest.index("### Added") < newest.index("### Fixed")
    assert "- Set `NEW` in GitLab." in newest
    assert "## 0.1.0" in changelog
    assert sorted(p.name for p in (repository.path / "changes").iterdir()) == ["README.md"]
    one_place = [
        name for name in ("cookiecutter.json", "pyproject.toml") if "2.0.0" in repository.read(name)
    ]
    assert one_place == ["cookiecutter.json"]


def test_what_a_server_has_for_all_projects_says_which_is_newer(repository: BakedProject) -> None:
    host, proxy = (
        f"{PROJECT.name}/delivery/dockerhost/{name}" for name in ("host.py", "Caddyfile")
    )
    before = repository.read(proxy)
    repository.write(host, repository.read(host).replace("SERIAL = 1 ", "SERIAL = 9 "))
    commit(repository)
    release(repository, "1.1.1")
    assert "\nSERIAL = 10 " in repository.read(host)
    assert repository.read(proxy) == before
    assert "SERIAL = 1," in before

    prepare = f"{PROJECT.name}/delivery/dockerhost/prepare.py"  # names the proxy's image
    repository.write(prepare, repository.read(prepare).replace("caddy:2.11", "caddy:2.12"))
    commit(repository, fixed="Newer.\n")
    release(repository, "1.1.2")
    assert "SERIAL = 2," in repository.read(proxy)
    assert "\nSERIAL = 10 " in repository.read(host)
    assert repository.must("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("kind", "version", "advice"),
    [
        ("fixed", "1.1.0", "after 1.1.0 comes 2.0.0, 1.2.0, 1.1.1; not 1.1.0"),
        ("fixed", "1.3.0", "after 1.1.0 comes 2.0.0, 1.2.0, 1.1.1; not 1.3.0"),
        ("added", "1.1.1", "with added, fixed in changes/, it has to be 1.2.0 at least"),
        ("must", "1.2.0", "with fixed, must in changes/, it has to be 2.0.0 at least"),
        ("new", "1.2.0", "changes/+new.new.md: 'new' is none of must, removed"),
    ],
)
def test_a_version_that_does_not_come_next_is_refused(
    repository: BakedProject, kind: str, version: str, advice: str
) -> None:
    commit(repository, **{kind: "Something.\n"})
    before = repository.must("git", "for-each-ref")

    assert advice in release(repository, version, code=3)
    assert repository.must("git", "for-each-ref") == before
    assert repository.must("git", "status", "--porcelain") == ""


def test_a_fix_may_be_a_patch(repository: BakedProject) -> None:
    release(repository, "1.1.1")


def test_what_is_not_ready_is_refused(repository: BakedProject) -> None:
    assert "'2.0' is no version such as 0.2.0" in release(repository, "2.0", code=2)
    repository.write("changes/+more.added.md", "More.\n")
    assert "in no commit:\n?? changes/+more.added.md" in release(repository, "1.2.0", code=3)
    commit(repository)
    repository.must("git", "switch", "--quiet", "--create", "feature")
    assert "git switch main" in release(repository, "1.2.0", code=3)
    repository.must("git", "switch", "--quiet", "main")
    release(repository, "1.2.0")
    assert "changes/ has no fragment" in release(repository, "1.3.0", code=3)


def test_a_release_that_fails_halfway_leaves_nothing(repository: BakedProject) -> None:
    hook = repository.path / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)

    assert "nothing was released" in release(repository, "1.1.1", code=3)
    assert repository.must("git", "status", "--porcelain") == ""
    assert repository.must("git", "tag").split() == ["1.1.0"]


def publish(repository: BakedProject, tag: str, folder: Path) -> None:
    """Publish as the workflow does."""
    subprocess.run(
        [sys.executable, "-m", "release.publish", tag, folder],
        cwd=repository.path,
        env=clean_environment() | {"PYTHONPATH": str(TEMPLATE)},
        check=True,
    )


def test_what_a_release_publishes(repository: BakedProject, tmp_path: Path) -> None:
    release(repository, "1.1.1")
    publish(repository, "1.1.1", tmp_path / "one")
    notes = (tmp_path / "one/notes.md").read_text("utf-8")
    assert notes == "### Fixed\n\n- The door closes.\n"

    with tarfile.open(tmp_path / "one/hello-delivery-1.1.1.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = BakedProject(tmp_path / "unpacked/hello-delivery-1.1.1")
    fresh = BakedProject(bake_quickly(tmp_path, template=repository.path))
    assert unpacked.files() == fresh.files()
    for name in fresh.files():
        assert (unpacked.path / name).read_bytes() == (fresh.path / name).read_bytes()
    assert (unpacked.path / "bin/setup").stat().st_mode & 0o100

    repository.write(f"{PROJECT.name}/app/static/style.css", "/* new */\n")
    commit(repository, added="A style.\n")
    release(repository, "1.2.0")
    publish(repository, "1.2.0", tmp_path / "two")
    log = ("log", "--format=%s", "--name-only", "demo")
    assert repository.must("git", *log).split()[:3] == ["1.2.0", "app/static/style.css", "1.1.1"]
    difference = repository.must("git", "diff", "demo^", "demo")
    assert "+/* new */" in difference


def test_a_release_without_notes_is_not_published(repository: BakedProject, tmp_path: Path) -> None:
    done = repository.run(sys.executable, "-m", "release.publish", "1.1.0", str(tmp_path / "out"))
    assert done.returncode == 3
    assert "CHANGELOG.md has no section 1.1.0" in done.stdout
