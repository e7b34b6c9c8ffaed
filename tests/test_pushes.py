"""What the pre-push hook of a baked project looks at: each pushed commit, exactly as it is."""

from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject
from tests.support.answers import PROMPTS

BAD_TEST = "def test_sums() -> None:\n    assert sum([1, 1]) == 3\n"
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA " + "PRIVATE KEY-----\n"
MARKS = "<<<<<<< HEAD\none\n=======\ntwo\n>>>>>>> other\n"
UNTESTED = '"""Numbers that no test looks at."""\n\n' + "".join(f"N{n} = {n}\n" for n in range(20))
FILE_PROTOCOL = ("-c", "protocol.file.allow=always")  # which git refuses to submodules by default


@pytest.fixture
def project(project: BakedProject) -> BakedProject:
    """Return a project whose first commit is on its origin."""
    project.must("git", "push", "--no-verify", "--set-upstream", "origin", "main")
    return project


def commit(project: BakedProject, name: str, text: str) -> str:
    """Commit a file past the hooks, as a rebase does; return the commit."""
    project.write(name, text)
    project.must("git", "add", "--", name)
    project.must("git", "commit", "--no-verify", "--message", f"Write {name}")
    return project.must("git", "rev-parse", "HEAD").strip()


def refused(project: BakedProject, *refs: str) -> str:
    """Push what has to be refused; return what was said."""
    before = project.must("git", "ls-remote", "origin")
    done = project.run("git", "push", "--force", "origin", *refs)
    assert done.returncode != 0, done.stdout
    assert project.must("git", "ls-remote", "origin") == before
    return done.stdout


@pytest.mark.parametrize("target", PROMPTS["deploy_to"])
def test_the_first_push_of_a_bake_is_accepted(
    bake: Bake, tools: Path, tmp_path: Path, target: str
) -> None:
    project = bake(deploy_to=target)
    project.env = {"VENV": str(tools)}
    project.add_origin(tmp_path)

    project.must("git", "push", "origin", "main")


def test_a_commit_that_the_remote_has_under_another_name_is_tested(project: BakedProject) -> None:
    project.must("git", "switch", "--quiet", "--create", "bad")
    commit(project, "tests/test_sums.py", BAD_TEST)
    project.must("git", "push", "--no-verify", "origin", "bad")
    project.must("git", "switch", "--quiet", "main")
    commit(project, "notes.md", "# Notes\n")
    project.must("git", "push", "--no-verify", "origin", "main")

    assert "test_sums" in refused(project, "bad:main")


def test_a_commit_that_is_named_by_a_search_is_tested(project: BakedProject) -> None:
    commit(project, "tests/test_sums.py", BAD_TEST)

    assert "test_sums" in refused(project, "main^{/Write tests}:refs/heads/found")


def test_a_file_that_archives_leave_out_is_tested(project: BakedProject) -> None:
    commit(project, ".gitattributes", "tests/test_sums.py export-ignore\n")
    commit(project, "tests/test_sums.py", BAD_TEST)

    assert "test_sums" in refused(project, "main")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("deploy.pem", KEY, "private key"),
        ("notes.md", MARKS, "merge conflict"),
        ("large.txt", "x" * 1024 * 1025, "large.txt"),
    ],
    ids=["key", "marks", "large"],  # a text of that size is too long for the name of a test
)
def test_what_no_commit_may_hold_is_not_pushed_either(
    project: BakedProject, name: str, text: str, said: str
) -> None:
    commit(project, name, text)

    assert said in refused(project, "main").lower()


def test_marks_that_a_rebase_has_committed_are_not_pushed(project: BakedProject) -> None:
    commit(project, "notes.md", "one\n")
    project.must("git", "switch", "--quiet", "--create", "other", "HEAD~1")
    commit(project, "notes.md", "two\n")
    assert project.run("git", "rebase", "main").returncode != 0
    assert ">>>>>>>" in project.read("notes.md")
    project.must("git", "add", "notes.md")
    project.must("git", "rebase", "--continue", GIT_EDITOR="true")

    assert "notes.md" in refused(project, "other")


@pytest.mark.parametrize("name", ["-x.py", "tests/with space.py", "größe.md", "-ü x.py"])
def test_a_file_of_any_name_is_committed_and_pushed(project: BakedProject, name: str) -> None:
    project.write(name, "# Nothing\n")
    project.must("git", "add", "--", name)
    project.must("git", "commit", "--message", "Add a file")

    project.must("git", "push", "origin", "main")


def test_tags_are_tested_where_their_commit_is_new_to_the_remote(project: BakedProject) -> None:
    project.must("git", "tag", "v1")
    assert "Passed" not in project.must("git", "push", "origin", "v1")

    commit(project, "tests/test_sums.py", BAD_TEST)
    project.must("git", "tag", "--annotate", "--message", "Two", "v2")
    assert "test_sums" in refused(project, "v2")


def test_a_tag_of_a_file_is_let_through(project: BakedProject) -> None:
    project.must("git", "tag", "licence", "HEAD:LICENSE")

    project.must("git", "push", "origin", "licence")


def test_a_branch_without_hooks_is_let_through_and_that_is_said(project: BakedProject) -> None:
    tree = project.must("git", "rev-parse", "HEAD:app").strip()
    orphan = project.must("git", "commit-tree", "-m", "Pages", tree).strip()

    said = project.must("git", "push", "origin", f"{orphan}:refs/heads/pages")

    assert "is to get a commit without .pre-commit-config.yaml" in said


def test_work_in_progress_may_lack_tests_and_the_default_branch_may_not(
    project: BakedProject,
) -> None:
    commit(project, "app/extra.py", UNTESTED)

    said = project.must("git", "push", "origin", "main:wip")
    assert "app/extra.py" in said  # what is not covered is shown
    assert "Coverage failure" in refused(project, "main")


def test_the_default_branch_is_the_one_that_the_remote_has(project: BakedProject) -> None:
    project.must("git", "push", "--no-verify", "origin", "main:trunk")
    project.must("git", "remote", "set-head", "origin", "trunk")
    commit(project, "app/extra.py", UNTESTED)

    project.must("git", "push", "origin", "main")
    assert "Coverage failure" in refused(project, "main:trunk")


def test_the_copy_is_a_repository_of_its_own(project: BakedProject) -> None:
    commit(project, "notes.md", "# Notes\n")
    head = project.must("git", "rev-parse", "HEAD")

    said = project.must("bin/at", "HEAD~1", "git", "log", "--format=%H")
    assert said == project.must("git", "log", "--format=%H", "HEAD~1")
    moves = "git switch --quiet --create moved && git reset --quiet --hard HEAD~0 && ls"
    assert "notes.md" not in project.must("bin/at", "HEAD~1", "sh", "-c", moves)

    assert project.must("git", "rev-parse", "HEAD") == head
    assert project.must("git", "branch", "--format=%(refname:short)") == "main\n"


def test_at_names_a_commit_that_is_not_there(project: BakedProject) -> None:
    done = project.run("bin/at", "nowhere", "true")

    assert done.returncode == 2
    assert done.stdout == "bin/at: no such commit: nowhere\n"


def test_at_ends_as_its_command_does(project: BakedProject) -> None:
    assert project.run("bin/at", "HEAD", "sh", "-c", "exit 7").returncode == 7


def test_at_works_where_the_project_is_a_part_of_its_repository(
    bake: Bake, tools: Path, tmp_path: Path
) -> None:
    inner = bake(init_git=False)
    outer = BakedProject(inner.path.parent, {"VENV": str(tools)})
    outer.must("git", "init", "--quiet")
    outer.must("git", "add", inner.path.name)
    lib = make_repository(tmp_path / "lib", "lib.txt", "one\n")
    side = f"{inner.path.name}/lib"
    outer.must("git", *FILE_PROTOCOL, "submodule", "add", "--quiet", lib.path, side)
    outer.must("git", "commit", "--message", "Start")

    assert "Success" in outer.must(inner.path / "bin" / "at", "HEAD", "bin/check")
    assert outer.must(inner.path / "bin" / "at", "HEAD", "cat", "lib/lib.txt") == "one\n"


def test_a_push_from_a_linked_worktree_tests_its_commit(
    project: BakedProject, tmp_path: Path
) -> None:
    project.must("git", "worktree", "add", "--quiet", "-b", "linked", tmp_path / "linked")
    linked = BakedProject(tmp_path / "linked", project.env)
    linked.write("notes.md", "# Notes\n")
    linked.must("git", "add", "notes.md")
    linked.must("git", "commit", "--message", "Add notes")
    linked.must("git", "push", "origin", "linked")

    commit(linked, "tests/test_sums.py", BAD_TEST)
    assert "test_sums" in refused(linked, "linked")


def clone(project: BakedProject, folder: Path, *options: str) -> BakedProject:
    """Clone the project's origin, after a push to it."""
    commit(project, "notes.md", "# Notes\n")
    project.must("git", "push", "--quiet", "--no-verify", "origin", "main")
    origin = project.must("git", "remote", "get-url", "origin").strip()
    for setting in ("allowFilter", "allowAnySHA1InWant"):
        project.must("git", "-C", origin, "config", f"uploadpack.{setting}", "true")
    project.must("git", "clone", "--quiet", *options, f"file://{origin}", folder)
    cloned = BakedProject(folder, project.env)
    cloned.must("git", "config", "core.hooksPath", ".githooks")
    return cloned


def test_a_clone_that_lacks_files_gets_them_all_at_once(
    project: BakedProject, tmp_path: Path
) -> None:
    partial = clone(project, tmp_path / "partial", "--filter=blob:none", "--sparse")
    partial.must("git", "sparse-checkout", "set", ".githooks", "bin")
    trace = tmp_path / "trace"

    partial.must("git", "commit", "--allow-empty", "--message", "Say", GIT_TRACE=str(trace))

    assert partial.must("bin/at", "HEAD", "cat", "app/health.py") == project.read("app/health.py")
    assert trace.read_text("utf-8").count("built-in: git fetch") == 1


def test_a_copy_from_a_shallow_clone_has_as_much_history(
    project: BakedProject, tmp_path: Path
) -> None:
    shallow = clone(project, tmp_path / "shallow", "--depth=1")
    said = shallow.must("bin/at", "HEAD", "git", "log", "--format=%H")
    assert said == shallow.must("git", "log", "--format=%H")


def make_repository(folder: Path, name: str, text: str) -> BakedProject:
    """Make a repository of one file."""
    folder.mkdir()
    repository = BakedProject(folder)
    repository.must("git", "init", "--quiet")
    commit(repository, name, text)
    return repository


def test_submodules_are_part_of_the_copy(project: BakedProject, tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner", "inner.txt", "inner\n")
    outer = make_repository(tmp_path / "outer", "outer.txt", "outer\n")
    outer.must("git", *FILE_PROTOCOL, "submodule", "add", "--quiet", inner.path, "in side")
    outer.must("git", "commit", "--message", "Add inner")
    project.must("git", *FILE_PROTOCOL, "submodule", "add", "--quiet", outer.path, "lib")
    project.must("git", *FILE_PROTOCOL, "submodule", "update", "--init", "--recursive", "--quiet")
    project.must("git", "commit", "--message", "Add a library")
    project.write("lib/outer.txt", "edited\n")

    project.must("git", "push", "origin", "main")

    shown = project.must("bin/at", "HEAD", "cat", "lib/outer.txt", "lib/in side/inner.txt")
    assert shown == "outer\ninner\n"


def test_the_code_of_a_submodule_is_checked_where_it_is_at_home(
    project: BakedProject, tmp_path: Path
) -> None:
    lib = make_repository(tmp_path / "lib", "lib.py", "import os\nz=1\ndef  f( x ): y: int = ''\n")
    project.must("git", *FILE_PROTOCOL, "submodule", "add", "--quiet", lib.path, "vendor/lib")
    project.must("git", "commit", "--message", "Add a library")

    project.must("git", "push", "origin", "main")


def test_a_submodule_that_is_not_here_is_told(project: BakedProject, tmp_path: Path) -> None:
    lib = make_repository(tmp_path / "lib", "lib.txt", "one\n")
    project.must("git", *FILE_PROTOCOL, "submodule", "add", "--quiet", lib.path, "lib")
    project.must("git", "commit", "--message", "Add a library")
    project.must("git", "submodule", "deinit", "--quiet", "--force", "lib")

    said = refused(project, "main")

    assert "of the submodule lib is not here" in said
    assert "git submodule update --init --recursive" in said
