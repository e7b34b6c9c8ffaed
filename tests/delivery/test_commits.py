"""What git knows of commits, asked of a real git."""

import getpass
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery.commits import SUBJECTS, Repository, who
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import MisuseError, RefusedError
from delivery.process import Runner

from tests.delivery.machine import posix, program
from tests.support.tools import require

# No configuration of this machine, and nothing of a git hook that runs these tests.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
DATE = "2026-11-23T01:02:03+0200"


def git(folder: Path, *args: str, date: str = DATE) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    local = ("-c", "protocol.file.allow=always")  # for submodules that lie in a folder
    done = subprocess.run(
        ["git", *identity, *local, *args],
        cwd=folder,
        env=PLAIN | {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": date},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def write(folder: Path, name: str, text: str | bytes = "one\n") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def commit(folder: Path, subject: str, *options: str, date: str = DATE) -> str:
    """Commit everything; return the name of the commit's version."""
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", subject, "--allow-empty", *options, date=date)
    return repository(folder).version()


def new(folder: Path) -> Path:
    """Make an empty repository."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "--initial-branch=main")
    return folder


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateFolder]:
    """Make one private folder for all tests: each would start a process."""
    with PrivateFolder(outside=Path("/nowhere")) as made:
        yield made


@pytest.fixture(autouse=True)
def _shared(private: PrivateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHARED, "private", private)


SHARED: dict[str, PrivateFolder] = {}


def repository(root: Path, **environ: str) -> Repository:
    """Ask about a repository as a verb does."""
    return Repository(Runner(Console({}), SHARED["private"], root, PLAIN | environ))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a repository with one commit."""
    require("git")
    made = new(tmp_path / "project")
    write(made, "file")
    commit(made, "One")
    return made


def export(root: Path, **environ: str) -> dict[str, str]:
    """Export the commit; return what there is: the text of files, "-> target" of links."""
    private = SHARED["private"]
    folder = private.folder("source")
    try:
        repository(root, **environ).export(folder)
        assert [path.name for path in private.path.iterdir()] == ["source"], "nothing is left over"
        return contents(folder)
    finally:
        shutil.rmtree(folder)


def contents(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes().decode()
    return found


def test_a_version_is_named_after_the_commits_time_in_utc_and_its_hash(root: Path) -> None:
    sha = git(root, "rev-parse", "HEAD")
    assert repository(root).version() == f"v20261122t230203-{sha[:8]}"


def test_settings_of_a_person_do_not_disturb_it(root: Path) -> None:
    sha = git(root, "rev-parse", "HEAD")
    git(root, "config", "log.showSignature", "true")
    git(root, "config", "core.abbrev", "20")
    assert repository(root, LANGUAGE="de", LC_ALL="de_DE.UTF-8").version().endswith(sha[:8])


def test_the_variables_of_a_git_hook_do_not_lead_elsewhere(root: Path, tmp_path: Path) -> None:
    elsewhere = {
        "GIT_DIR": str(tmp_path / "elsewhere"),
        "GIT_INDEX_FILE": "elsewhere",
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_PREFIX": "elsewhere/",
    }
    assert repository(root, **elsewhere).version() == repository(root).version()
    repository(root, **elsewhere).refuse_uncommitted()
    assert export(root, **elsewhere) == {"file": "one\n"}


def test_a_folder_without_a_commit_is_explained_in_gits_words(tmp_path: Path) -> None:
    with pytest.raises(MisuseError) as caught:
        repository(tmp_path).version()
    assert "fatal" in caught.value.why
    with pytest.raises(MisuseError):
        repository(new(tmp_path / "empty")).version()


@posix
def test_git_sees_no_secret(tmp_path: Path) -> None:
    program(tmp_path / "bin", "git", "env >&2; exit 1")
    secrets = {"GAE_KEY": "s3cr3t", "GITLAB_OIDC_TOKEN": "s3cr3t", "CI_JOB_TOKEN": "s3cr3t"}
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    with pytest.raises(MisuseError) as caught:
        repository(tmp_path, **secrets, GITLAB_TOKEN="s3cr3t", PATH=path).version()
    assert "LC_ALL=C" in caught.value.why
    assert "s3cr3t" not in caught.value.why


# What must not be delivered


def test_a_clean_tree_may_be_deployed_whatever_lies_around_untracked(root: Path) -> None:
    write(root, "notes")
    repository(root).refuse_uncommitted()


def test_a_new_file_of_the_application_is_refused_because_it_may_be_forgotten(root: Path) -> None:
    write(root, "app/.DS_Store")
    repository(root).refuse_uncommitted()
    write(root, "app/caf\u00e9.py")
    with pytest.raises(RefusedError) as caught:
        repository(root).refuse_uncommitted()
    assert "app/caf\u00e9.py" in caught.value.why
    assert "git stash" in caught.value.then


def test_so_is_a_new_package_beside_it(root: Path) -> None:
    write(root, "stall/__init__.py", "")
    with pytest.raises(RefusedError) as caught:
        repository(root).refuse_uncommitted()
    assert "stall/__init__.py" in caught.value.why


@pytest.mark.parametrize("staged", [True, False])
def test_changes_that_are_not_committed_are_refused_and_listed(root: Path, *, staged: bool) -> None:
    write(root, "file", "two\n")
    if staged:
        git(root, "add", "file")
    with pytest.raises(RefusedError) as caught:
        repository(root).refuse_uncommitted()
    assert "file" in caught.value.why


def test_changes_elsewhere_in_the_repository_are_nobodys_business(root: Path) -> None:
    write(root, "web/app.yaml")
    commit(root, "Two")
    write(root, "file", "two\n")
    repository(root / "web").refuse_uncommitted()


# The export


def test_what_is_exported_is_the_commit_whatever_the_working_tree_holds(root: Path) -> None:
    write(root, ".gitignore", "*.key\nbuild/\n")
    write(root, "static/.gitignore", "*.json\n")
    write(root, "kept", "kept\n")
    write(root, "hidden", "hidden\n")
    commit(root, "Two")
    write(root, "app.key", "secret")
    write(root, "static/secrets.json", "secret")
    write(root, "build/page", "built")
    write(root, "untracked", "mine")
    write(root, "file", "edited\n")
    git(root, "update-index", "--assume-unchanged", "file")
    git(root, "update-index", "--skip-worktree", "hidden")
    (root / "hidden").unlink()
    (root / "kept").unlink()
    write(root, "staged", "staged\n")
    git(root, "add", "staged")
    index = (root / ".git" / "index").read_bytes()
    assert export(root) == {
        ".gitignore": "*.key\nbuild/\n",
        "static/.gitignore": "*.json\n",
        "file": "one\n",
        "kept": "kept\n",
        "hidden": "hidden\n",
    }
    assert (root / ".git" / "index").read_bytes() == index


def test_nothing_is_left_out_and_nothing_put_in_by_attributes_for_archives(root: Path) -> None:
    write(root, ".gitattributes", "secret export-ignore\nversion export-subst\n")
    write(root, "secret", "needed\n")
    write(root, "version", "$Format:%H$\n")
    commit(root, "Two")
    found = export(root)
    assert found["secret"] == "needed\n"
    assert found["version"] == "$Format:%H$\n"


def test_line_ends_are_those_of_the_attributes_and_not_those_of_a_person(root: Path) -> None:
    write(root, ".gitattributes", "*.bat eol=crlf\n*.sh eol=lf\n")
    for name in ("run.bat", "run.sh", "plain.txt"):
        write(root, name, "a\nb\n")
    commit(root, "Two")
    git(root, "config", "core.autocrlf", "true")
    found = export(root)
    assert found["run.bat"] == "a\r\nb\r\n"
    assert found["run.sh"] == found["plain.txt"] == "a\nb\n"


@posix
def test_executable_files_stay_executable(root: Path) -> None:
    write(root, "run").chmod(0o755)
    commit(root, "Two")
    folder = SHARED["private"].folder("modes")
    repository(root).export(folder)
    assert os.access(folder / "run", os.X_OK)
    assert not (folder / "file").stat().st_mode & 0o111
    shutil.rmtree(folder)


@posix
def test_odd_names_are_exported_as_they_are(root: Path) -> None:
    names = {"-x.py", "--all", "a b", "caf\u00e9", "tab\there", 'quote"', "*", "new\nline", "dir/-"}
    for name in names:
        write(root, name)
    commit(root, "Two")
    assert set(export(root)) == names | {"file"}


def test_a_project_in_a_folder_of_a_repository_is_exported_alone(tmp_path: Path) -> None:
    top = new(tmp_path / "my work -x")
    write(top, ".gitattributes", "*.up eol=crlf\n")
    write(top, "other/file")
    write(top, "caf\u00e9/web/.gitattributes", "*.here eol=crlf\n")
    write(top, "caf\u00e9/web/a.up", "a\n")
    write(top, "caf\u00e9/web/sub/b.here", "b\n")
    commit(top, "One")
    assert export(top / "caf\u00e9" / "web") == {
        ".gitattributes": "*.here eol=crlf\n",
        "a.up": "a\r\n",
        "sub/b.here": "b\r\n",
    }


def test_a_commit_without_a_file_is_exported_as_nothing(tmp_path: Path) -> None:
    empty = new(tmp_path / "empty")
    commit(empty, "Nothing")
    assert export(empty) == {}


def test_files_that_a_sparse_checkout_leaves_out_are_exported(root: Path) -> None:
    write(root, "seen/file")
    write(root, "unseen/file")
    commit(root, "Two")
    git(root, "sparse-checkout", "set", "seen")
    assert not (root / "unseen").exists()
    assert {"seen/file", "unseen/file"} <= set(export(root))


@pytest.fixture
def with_submodules(root: Path, tmp_path: Path) -> Path:
    """Add a submodule that has one itself, to a project in a folder of its repository."""
    inner, outer = new(tmp_path / "inner"), new(tmp_path / "outer")
    write(inner, "deep")
    commit(inner, "Inner")
    write(outer, "shallow")
    git(outer, "submodule", "add", "-q", str(inner), "nested")
    commit(outer, "Outer")
    git(root, "submodule", "add", "-q", str(outer), "web/lib one")
    commit(root, "Use it")
    return root


def test_submodules_are_exported_at_the_commit_that_is_named(with_submodules: Path) -> None:
    root = with_submodules
    git(root, "submodule", "update", "-q", "--init", "--recursive")
    write(root / "web" / "lib one", "shallow", "edited\n")
    commit(root / "web" / "lib one", "Moved on")
    files = {"shallow": "one\n", "nested/deep": "one\n"}
    found = export(root / "web")
    assert found.pop("lib one/.gitmodules")
    assert found == {f"lib one/{name}": text for name, text in files.items()}
    assert export(root).keys() >= {f"web/lib one/{name}" for name in files}


def test_a_submodule_that_is_not_here_is_named(with_submodules: Path) -> None:
    root = with_submodules
    with pytest.raises(RefusedError, match="the submodule nested is not here") as caught:
        export(root)
    assert "submodule update --init" in caught.value.then
    git(root, "submodule", "deinit", "-q", "--all", "--force")
    for present in (True, False):
        with pytest.raises(RefusedError, match="the submodule web/lib one is not here"):
            export(root)
        if present:
            (root / "web" / "lib one").rmdir()


@posix
def test_links_inside_the_project_are_exported_as_links(root: Path) -> None:
    (root / "app").mkdir()
    (root / "near").symlink_to("file")
    (root / "app" / "up").symlink_to("../file")
    (root / "app" / "folder").symlink_to("../app")
    (root / "dangling").symlink_to("not/there/yet")
    commit(root, "Two")
    found = export(root)
    assert found["near"] == "-> file"
    assert found["app/up"] == "-> ../file"
    assert found["dangling"] == "-> not/there/yet"


@posix
@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("../../outside", "app/link -> ../../outside"),
        ("/etc/passwd", "app/link -> /etc/passwd"),
        ("../app/../../project/file", "app/link -> ../app/../../project/file"),
        ("link", "app/link -> link"),
    ],
)
def test_a_link_out_of_the_project_is_refused_because_it_would_be_followed(
    root: Path, tmp_path: Path, target: str, shown: str
) -> None:
    write(tmp_path, "outside", "secret")
    (root / "app").mkdir()
    (root / "app" / "link").symlink_to(target)
    commit(root, "Two")
    with pytest.raises(RefusedError, match="leads out of the project") as caught:
        export(root)
    assert caught.value.why == shown
    assert "in place of the link" in caught.value.then


@posix
def test_a_link_to_elsewhere_in_the_repository_leads_out_of_the_project(root: Path) -> None:
    (root / "web").mkdir()
    (root / "web" / "shared").symlink_to("../file")
    commit(root, "Two")
    with pytest.raises(RefusedError, match="leads out of the project"):
        export(root / "web")
    assert export(root)["web/shared"] == "-> ../file"


# Which commit is built on which


def test_ancestry_is_gits_whatever_the_dates_say(root: Path) -> None:
    first = repository(root).version()
    ahead = commit(root, "A clock ten minutes ahead", date="2026-11-23T01:12:03+0200")
    later = commit(root, "Built on it")
    same = commit(root, "In the same second")
    ask = repository(root).is_ancestor
    for older, newer in ((first, ahead), (ahead, later), (later, same), (first, same)):
        assert ask(older, newer) is True
        assert ask(newer, older) is False


def test_commits_that_have_gone_separate_ways_are_not_built_on_each_other(root: Path) -> None:
    git(root, "checkout", "-qb", "side")
    side = commit(root, "Side")
    git(root, "checkout", "-q", "main")
    main = commit(root, "Main")
    git(root, "checkout", "-q", "--orphan", "stranger")
    stranger = commit(root, "Stranger")
    ask = repository(root).is_ancestor
    for one, other in ((side, main), (main, side), (stranger, main), (side, stranger)):
        assert ask(one, other) is False


def test_what_git_cannot_say_is_not_guessed(root: Path, tmp_path: Path) -> None:
    here = repository(root).version()
    ask = repository(root).is_ancestor
    assert ask(here, here) is None
    assert ask(here, "v20261122t230203-00000000") is None
    assert ask("v20261122t230203-00000000", here) is None
    assert ask("hotfix", here) is None
    assert ask(here, "mr-7") is None
    assert repository(tmp_path).is_ancestor(here, "v20261122t230203-00000000") is None


def test_a_shallow_clone_says_yes_and_never_no(root: Path, tmp_path: Path) -> None:
    old = repository(root).version()
    git(root, "checkout", "-qb", "side")
    side = commit(root, "Side")
    git(root, "checkout", "-q", "main")
    commit(root, "Main")
    git(root, "merge", "-q", "--no-edit", "side")
    merged = repository(root).version()
    newest = commit(root, "Newest")
    git(tmp_path, "clone", "-q", "--depth=2", root.as_uri(), "shallow")
    git(tmp_path / "shallow", "fetch", "-q", "--depth=1", "origin", "side")
    ask = repository(tmp_path / "shallow").is_ancestor
    assert ask(merged, newest) is True
    assert ask(newest, merged) is None
    assert ask(side, newest) is None, "it is here, and what lies between is not"
    assert ask(old, newest) is None, "it is not here"


# The commits between two versions


def test_the_commits_between_two_versions_are_listed_newest_first(root: Path) -> None:
    old = repository(root).version()
    commit(root, "Caf\u00e9")
    git(root, "checkout", "-qb", "side")
    commit(root, "Within the merge")
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-ff", "-m", "Merge it", "side")
    here = repository(root).version()
    found = repository(root).between(old, here)
    assert [line.partition(" ")[2] for line in found] == ["Merge it (Test)", "Caf\u00e9 (Test)"]
    assert repository(root).between(here, old) == []
    assert repository(root).between(here, here) == []


@pytest.mark.parametrize("more", [0, 1, 3])
def test_a_long_list_is_cut_and_counted(root: Path, more: int) -> None:
    old = repository(root).version()
    for number in range(SUBJECTS + more):
        git(root, "commit", "-q", "--allow-empty", "-m", f"Commit {number}")
    found = repository(root).between(old, repository(root).version())
    assert len(found) == SUBJECTS + bool(more)
    assert found[0].endswith(f"Commit {SUBJECTS + more - 1} (Test)")
    assert (found[-1] == f"and {more} more") is bool(more)


def test_nothing_is_listed_where_git_cannot_say(root: Path) -> None:
    here = repository(root).version()
    ask = repository(root).between
    assert ask("hotfix", here) == ask(here, "mr-7") == []
    assert ask("v20261122t230203-00000000", here) == []


# Who delivers


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CI_JOB_ID": "42", "GITLAB_USER_LOGIN": "ada"}, "ada, job 42"),
        ({"CI_JOB_ID": "42"}, "GitLab, job 42"),
        ({}, "bob@desk"),
    ],
)
def test_a_delivery_is_signed_with_the_job_or_the_person(
    environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "desk")
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    assert who(environ) == expected


@pytest.mark.parametrize("error", [OSError("no name"), KeyError("uid")])
def test_who_has_no_name_delivers_all_the_same(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(platform, "node", lambda: "")
    monkeypatch.setattr(getpass, "getuser", fail)
    assert who({}) == "somebody@a laptop"
