"""The bake as a person runs it: refused answers leave nothing, and git is set up or explained."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, Bake, clean_environment

COOKIECUTTER = (sys.executable, "-m", "cookiecutter", "--no-input", "--default-config")


def cookiecutter(
    folder: Path, *answers: str, **env: str
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Bake from the command line; return how it ended, and where the project should be."""
    done = subprocess.run(
        [*COOKIECUTTER, "--output-dir", folder, TEMPLATE, *answers],
        capture_output=True,
        check=False,
        cwd=folder,
        encoding="utf-8",
        env=clean_environment() | {"PWD": str(folder)} | env,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    return done, folder / "hello-delivery"


def git(project: Path, *arguments: str) -> str:
    """Ask git about the project."""
    command = ["git", "-C", str(project), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def without_git(folder: Path) -> str:
    """Return a PATH on which there is everything that a bake needs, and no git."""
    folder.mkdir()
    (folder / "python3").symlink_to(sys.executable)
    return str(folder)


@pytest.mark.parametrize(
    "slug", ["", ".", "..", "Hello", "a/b", "a/b/c", "../up", "nul", "a\\b", "$(touch x)"]
)
def test_a_refused_slug_leaves_nothing_on_disk(tmp_path: Path, slug: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()

    done, _ = cookiecutter(folder, f"project_slug={slug}")

    assert done.returncode != 0
    assert f"project_slug: {slug!r} " in done.stderr
    assert list(tmp_path.rglob("*")) == [folder]


def test_a_name_that_gives_no_slug_is_refused_in_a_line(tmp_path: Path) -> None:
    done, _ = cookiecutter(tmp_path, "project_name=!!!")

    assert done.returncode != 0
    assert done.stderr.startswith("project_slug: '' is empty: project_name has no letter or digit")
    assert list(tmp_path.iterdir()) == []


def test_every_problem_is_told_in_one_go(tmp_path: Path) -> None:
    done, _ = cookiecutter(tmp_path, "project_slug=A B", "author_email=nobody", "owner=a\nb")

    assert done.returncode != 0
    problems = [line for line in done.stderr.splitlines() if "must be" in line]
    assert [line.split(": ")[0] for line in problems] == [
        "project_slug",
        "author_email",
        "owner",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_bake_is_a_clean_repository_with_hooks_and_one_commit(tmp_path: Path) -> None:
    done, project = cookiecutter(tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("\nNext:\n  cd hello-delivery\n  bin/setup\n  bin/dev\n")
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "branch", "--show-current") == "main"
    assert git(project, "config", "core.hooksPath") == ".githooks"
    assert git(project, "log", "--format=%an: %s") == (
        "Ada: Start from cookiecutter-flask-delivery 0.1.0"
    )


def test_what_is_run_is_executable(tmp_path: Path) -> None:
    _, project = cookiecutter(tmp_path)

    modes = git(project, "ls-files", "--stage", "bin", ".githooks").splitlines()
    executable = {line.split("\t")[1] for line in modes if line.startswith("100755")}
    assert executable == {
        *(f"bin/{name}" for name in ("at", "check", "dev", "lock", "setup", "test", "upgrade")),
        ".githooks/pre-commit",
        ".githooks/pre-push",
    }
    assert all(os.access(project / name, os.X_OK) for name in executable)


def test_the_next_commands_work_from_where_the_bake_was_typed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done, _ = cookiecutter(tmp_path, PWD=str(home))

    assert "  cd ../hello-delivery\n" in done.stdout


def test_a_bake_inside_a_repository_makes_none_of_its_own(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")

    done, project = cookiecutter(tmp_path)

    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "is a git repository already: made none inside it, and wired no hooks" in done.stderr
    assert not (project / ".git").exists()
    assert (project / "bin" / "setup").exists()


def test_init_git_false_leaves_git_alone(tmp_path: Path) -> None:
    done, project = cookiecutter(tmp_path, "init_git=false")

    assert done.returncode == 0
    assert done.stderr == ""
    assert not (project / ".git").exists()


def test_without_git_the_bake_succeeds_and_says_what_to_type(tmp_path: Path) -> None:
    path = without_git(tmp_path / "path")

    done, project = cookiecutter(tmp_path, PATH=path)

    assert done.returncode == 0, done.stderr
    upgrades, repository = done.stderr.splitlines()
    assert "cannot be upgraded" in upgrades
    assert repository.startswith("warning: git is not installed; when it works, type: git init")
    assert (project / "app" / "__init__.py").exists()


def test_without_an_identity_everything_but_the_commit_is_done(tmp_path: Path) -> None:
    nobody = dict.fromkeys(
        ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"), ""
    )
    done, project = cookiecutter(tmp_path, HOME=str(tmp_path / "home"), **nobody)

    assert done.returncode == 0
    assert done.stderr.startswith("warning: no first commit (")
    assert done.stderr.count("\n") == 1
    assert "git commit --no-verify --message" in done.stderr
    assert git(project, "config", "core.hooksPath") == ".githooks"
    assert git(project, "diff", "--cached", "--name-only").count("\n") > 20


def test_a_signing_set_up_is_never_asked_for_its_passphrase(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    signer = tmp_path / "signer"
    signer.write_text(f"#!/bin/sh\ntouch '{asked}'\nexit 1\n")
    signer.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f'[commit]\n gpgSign = true\n[gpg]\n program = "{signer}"\n')

    done, project = cookiecutter(tmp_path, GIT_CONFIG_GLOBAL=str(config))

    assert done.returncode == 0
    assert done.stderr == (
        "warning: the first commit is not signed; "
        "to sign it, type: git commit --amend --no-edit -S\n"
    )
    assert not asked.exists()
    assert git(project, "status", "--porcelain") == ""


def test_hooks_that_the_person_has_for_all_repositories_do_not_stop_the_bake(
    tmp_path: Path,
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f'[core]\n hooksPath = "{hooks}"\n')

    done, project = cookiecutter(tmp_path, GIT_CONFIG_GLOBAL=str(config))

    assert done.stderr == ""
    assert git(project, "log", "--format=%s") != ""


def test_baking_inside_a_git_hook_leaves_the_outer_repository_alone(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    away = tmp_path / "away"
    away.mkdir()

    done, project = cookiecutter(
        away, GIT_DIR=str(outer / ".git"), GIT_INDEX_FILE=str(outer / ".git" / "index")
    )

    assert done.stderr == ""
    assert git(project, "log", "--format=%s") != ""
    assert git(outer, "status", "--porcelain") == ""


def test_baking_needs_no_network(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("needs unshare, as root, to take the network away")
    done = subprocess.run(
        [unshare, "--net", *COOKIECUTTER, "--output-dir", tmp_path, TEMPLATE],
        capture_output=True,
        check=False,
        env=clean_environment(),
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


def test_a_value_typed_at_the_prompt_may_look_like_a_template(
    bake: Bake,
) -> None:
    project = bake(description="{{ x }} and {% y %}")

    assert 'description = "{{ x }} and {% y %}"' in project.read("pyproject.toml")
    assert project.must("git", "status", "--porcelain") == ""
