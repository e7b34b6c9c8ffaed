"""The git hooks of a baked project, with real commits and pushes to a bare repository."""

from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject

KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA " + "PRIVATE KEY-----\n"
GOOD = '"""Adds numbers."""\n\n\ndef add(a: int, b: int) -> int:\n    return a + b\n'
GOOD_TEST = "from app.add import add\n\n\ndef test_add() -> None:\n    assert add(1, 2) == 3\n"
BAD_TEST = "def test_sums() -> None:\n    assert sum([1, 1]) == 3\n"


def commit(project: BakedProject, **files: str) -> tuple[int, str]:
    """Write files (dots in a name as __), add and commit them; tell how that ended."""
    for name, text in files.items():
        path = name.replace("__", ".").replace("_in_", "/")
        project.write(path, text)
        project.must("git", "add", path)
    done = project.run("git", "commit", "--message", "Change something")
    return done.returncode, done.stdout


def head(project: BakedProject) -> str:
    """Return the last commit."""
    return project.must("git", "rev-parse", "HEAD").strip()


def remote(project: BakedProject) -> dict[str, str]:
    """Return the refs of the origin, with their commits."""
    lines = project.must("git", "ls-remote", "origin").splitlines()
    return {ref: sha for sha, ref in (line.split("\t") for line in lines)}


def test_a_good_change_is_committed_and_pushed(project: BakedProject) -> None:
    code, said = commit(project, app_in_add__py=GOOD, tests_in_test_add__py=GOOD_TEST)
    assert code == 0, said

    said = project.must("git", "push", "origin", "main")

    assert "test" in said
    assert remote(project) == {"HEAD": head(project), "refs/heads/main": head(project)}


def test_a_lint_error_is_refused(project: BakedProject) -> None:
    before = head(project)
    code, said = commit(project, app_in_add__py='"""Adds."""\n\nTOTAL = undefined_name\n')

    assert code != 0
    assert "Undefined name `undefined_name`" in said
    assert head(project) == before


def test_what_can_be_mended_is_mended_and_shown_before_it_is_committed(
    project: BakedProject,
) -> None:
    code, said = commit(project, app_in_add__py='"""Adds."""\nimport os\nTOTAL = { "a":1 }\n')
    assert code != 0
    assert "files were modified by this hook" in said
    assert "no file was changed" not in said
    assert project.read("app/add.py") == '"""Adds."""\n\nTOTAL = {"a": 1}\n'

    project.must("git", "add", "app/add.py")
    project.must("git", "commit", "--message", "Change something")


@pytest.mark.parametrize("name", ["deploy__pem", "app_in_key__py", "notes__txt"])
def test_a_private_key_is_refused(project: BakedProject, name: str) -> None:
    before = head(project)
    code, said = commit(project, **{name: f'"""{KEY}"""\n' if name.endswith("py") else KEY})

    assert code != 0
    assert "private key" in said.lower()
    assert head(project) == before


def test_marks_of_a_merge_are_refused(project: BakedProject) -> None:
    marks = "<<<<<<< HEAD\none\n=======\ntwo\n>>>>>>> other\n"
    code, said = commit(project, notes__md=marks)

    assert code != 0
    assert "conflict" in said.lower()


def test_marks_of_a_merge_are_not_buried_in_syntax_errors(project: BakedProject) -> None:
    marks = "<<<<<<< HEAD\none = 1\n=======\ntwo = 2\n>>>>>>> other\n"
    code, said = commit(project, app_in_two__py=marks)

    assert code != 0
    assert "conflict" in said.lower()
    assert "invalid-syntax" not in said


def test_a_file_over_one_megabyte_is_refused(project: BakedProject) -> None:
    assert commit(project, small__txt="x" * 1024 * 1024)[0] == 0

    code, said = commit(project, large__txt="x" * (1024 * 1024 + 1024))
    assert code != 0
    assert "large.txt" in said


def test_a_partly_staged_file_is_judged_by_its_staged_part(project: BakedProject) -> None:
    project.write("app/add.py", GOOD)
    project.must("git", "add", "app/add.py")
    project.write("app/add.py", GOOD + "\nTOTAL = undefined_name\n")

    project.must("git", "commit", "--message", "Add")

    assert project.must("git", "show", "HEAD:app/add.py") == GOOD
    assert project.read("app/add.py") == GOOD + "\nTOTAL = undefined_name\n"


def test_a_bad_staged_part_is_refused_however_good_the_file_is_now(project: BakedProject) -> None:
    project.write("app/add.py", GOOD + "\nTOTAL = undefined_name\n")
    project.must("git", "add", "app/add.py")
    project.write("app/add.py", GOOD)

    done = project.run("git", "commit", "--message", "Add")

    assert done.returncode != 0
    assert project.read("app/add.py") == GOOD


def test_fixes_join_the_edits_that_are_not_staged(project: BakedProject) -> None:
    project.write("app/add.py", '"""Adds."""\nimport os\n' + GOOD.partition("\n")[2])
    project.must("git", "add", "app/add.py")
    edit = "\n\ndef more() -> int:\n    return add( 1, 2 )\n"
    project.write("app/add.py", project.read("app/add.py") + edit)

    assert project.run("git", "commit", "--message", "Add").returncode != 0

    assert project.read("app/add.py") == GOOD.replace("Adds numbers", "Adds") + edit


@pytest.mark.parametrize(
    "setting",
    ["diff.external=echo", "diff.noprefix=true", "color.ui=always", "core.autocrlf=true"],
)
def test_how_a_person_likes_to_see_changes_does_not_spoil_the_fixes(
    project: BakedProject, tmp_path: Path, setting: str
) -> None:
    name, _, value = setting.partition("=")
    settings = tmp_path / "gitconfig"
    project.must("git", "config", "--file", settings, name, value)
    project.env |= {"GIT_CONFIG_GLOBAL": str(settings), "GIT_EXTERNAL_DIFF": "echo"}

    assert commit(project, app_in_add__py='"""Adds."""\nTOTAL = { "a":1 }\n')[0] != 0

    assert project.read("app/add.py") == '"""Adds."""\n\nTOTAL = {"a": 1}\n'


def test_fixes_that_do_not_fit_later_edits_change_nothing(project: BakedProject) -> None:
    project.write("app/add.py", '"""Adds."""\nTOTAL = { "a":1 }\n')
    project.must("git", "add", "app/add.py")
    project.write("app/add.py", '"""Adds."""\nTOTAL = { "b":2 }\n')

    done = project.run("git", "commit", "--message", "Add")

    assert done.returncode != 0
    assert "no file was changed: run bin/check --fix" in done.stdout
    assert project.read("app/add.py") == '"""Adds."""\nTOTAL = { "b":2 }\n'


@pytest.mark.parametrize("command", [["--all"], ["--only", "app/add.py"]], ids=["all", "only"])
def test_a_commit_past_the_index_is_checked(project: BakedProject, command: list[str]) -> None:
    assert commit(project, app_in_add__py=GOOD)[0] == 0
    project.write("app/add.py", GOOD + "\nTOTAL = undefined_name\n")

    done = project.run("git", "commit", "--message", "Change", *command)

    assert done.returncode != 0
    assert "Undefined name `undefined_name`" in done.stdout
    project.write("app/add.py", GOOD + "\n\nTOTAL = 1\n")
    project.must("git", "commit", "--message", "Change", *command)


def test_files_may_be_announced_removed_and_renamed(project: BakedProject) -> None:
    project.write("later.py", "x = {  }\n")
    project.must("git", "add", "--intent-to-add", "later.py")
    project.must("git", "rm", "--quiet", "LICENSE")
    project.must("git", "mv", "app/pages.py", "app/views.py")

    project.must("git", "commit", "--message", "Tidy up")

    assert project.must("git", "status", "--porcelain") == " A later.py\n"


def test_the_very_first_commit_is_checked(bake: Bake, tools: Path) -> None:
    project = bake(init_git=False)
    project.env = {"VENV": str(tools)}
    project.must("git", "init", "--quiet")
    project.must("bin/setup")
    project.must("git", "add", ".")
    assert "lint" in project.must("git", "commit", "--message", "Start")

    project.must("git", "update-ref", "-d", "HEAD")
    project.write("app/add.py", "TOTAL = undefined_name\n")
    project.must("git", "add", ".")
    assert project.run("git", "commit", "--message", "Start").returncode != 0


def test_a_push_of_a_failing_test_is_refused_and_the_remote_stays(project: BakedProject) -> None:
    project.must("git", "push", "origin", "main")
    before = remote(project)
    assert commit(project, tests_in_test_sums__py=BAD_TEST)[0] == 0

    done = project.run("git", "push", "origin", "main")

    assert done.returncode != 0
    assert "test_sums" in done.stdout
    assert remote(project) == before


def test_a_push_of_a_type_error_is_refused(project: BakedProject) -> None:
    assert commit(project, app_in_add__py='"""Adds."""\n\nTOTAL: int = "one"\n')[0] == 0

    done = project.run("git", "push", "origin", "main")

    assert done.returncode != 0
    assert "Incompatible types in assignment" in done.stdout


def test_what_is_not_committed_cannot_save_a_push(project: BakedProject) -> None:
    assert commit(project, tests_in_test_add__py=GOOD_TEST)[0] == 0
    project.write("app/add.py", GOOD)  # what the test needs, and nobody added

    done = project.run("git", "push", "origin", "main")

    assert done.returncode != 0
    assert "No module named 'app.add'" in done.stdout
    assert project.read("app/add.py") == GOOD


def test_what_is_not_committed_cannot_stop_a_push(project: BakedProject) -> None:
    project.write("tests/test_sums.py", BAD_TEST)
    project.write("app/pages.py", "syntax error\n")

    project.must("git", "push", "origin", "main")

    assert project.read("app/pages.py") == "syntax error\n"
    assert project.read("tests/test_sums.py") == BAD_TEST


def test_every_branch_of_a_push_is_tested(project: BakedProject) -> None:
    project.must("git", "push", "origin", "main")
    before = remote(project)
    project.must("git", "switch", "--quiet", "--create", "good")
    assert commit(project, app_in_add__py=GOOD, tests_in_test_add__py=GOOD_TEST)[0] == 0
    project.must("git", "switch", "--quiet", "--create", "bad", "main")
    assert commit(project, tests_in_test_sums__py=BAD_TEST)[0] == 0

    assert project.run("git", "push", "origin", "good", "bad").returncode != 0
    assert remote(project) == before


def test_deleting_a_branch_tests_nothing(project: BakedProject) -> None:
    project.must("git", "push", "origin", "main", "main:extra")

    said = project.must("git", "push", "origin", "--delete", "extra")

    assert "Passed" not in said
    assert "refs/heads/extra" not in remote(project)


def test_hooks_leave_no_more_behind_the_more_often_they_run(
    project: BakedProject, tmp_path: Path
) -> None:
    project.env |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""}
    kept: list[set[Path]] = []
    for text in ("one\n", "two\n"):
        assert commit(project, notes__txt=text)[0] == 0
        project.must("git", "push", "origin", "main")
        kept.append(set((project.path / ".git" / "prek").rglob("*")))

    assert kept[0] == kept[1]
    assert "config-tracking.json" not in {path.name for path in kept[1]}
    assert not (tmp_path / "home").exists()


def test_a_commit_before_setup_says_what_to_type(bake: Bake) -> None:
    project = bake()
    project.write("notes.md", "# Notes\n")
    project.must("git", "add", "notes.md")

    done = project.run("git", "commit", "--message", "Add notes")

    assert done.returncode != 0
    assert "run bin/setup" in done.stdout


def test_a_fresh_clone_is_wired_by_setup(project: BakedProject, tmp_path: Path) -> None:
    project.must("git", "push", "origin", "main")
    project.must("git", "clone", "--quiet", tmp_path / "origin.git", tmp_path / "clone")
    clone = BakedProject(tmp_path / "clone", project.env)

    clone.must("bin/setup")

    assert clone.must("git", "config", "core.hooksPath") == ".githooks\n"
    assert commit(clone, app_in_add__py="import os\n")[0] != 0
