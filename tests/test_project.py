"""The baked project at work: its commands, for every choice of answers and every Python here."""

import json
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT, Bake, BakedProject
from tests.support.answers import HOSTILE, PROMPTS, PROSE, pairs, show
from tests.support.tools import find_python, only, require

SCRIPTS = ("at", "check", "dev", "lock", "setup", "test", "upgrade")


@pytest.mark.parametrize("answers", pairs(), ids=show)
def test_every_pair_of_choices_passes_its_own_check(
    bake: Bake, tools: Path, answers: dict[str, Any]
) -> None:
    project = bake(**answers)

    assert "Success" in project.must("bin/check", VENV=str(tools))


def test_what_a_bake_brings_is_fully_typed(bake: Bake, tools: Path) -> None:
    project = bake()

    strict = ("-m", "mypy", f"--config-file={os.devnull}", "--strict")
    assert "Success" in project.must(tools / "bin" / "python", *strict, "app", "delivery", "tests")


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_project_of_any_name_passes_its_own_tests(bake: Bake, tools: Path, value: str) -> None:
    project = bake(**dict.fromkeys(PROSE, value), project_slug="demo")

    project.must("bin/test", "--quiet", "tests/test_pages.py", VENV=str(tools))
    project.must(tools / "bin" / "ruff", "format", "--check", ".")


def test_a_default_bake_sets_up_and_passes_its_tests(bake: Bake) -> None:
    project = bake()

    assert "Ready: bin/dev" in project.must("bin/setup")
    report = project.must("bin/test", CI="true")

    test = yaml.safe_load(project.read(".gitlab-ci.yml"))["test"]
    assert re.findall(test["coverage"].strip("/"), report) == ["100"]  # what GitLab will show
    assert ET.parse(project.path / "reports" / "junit.xml").getroot().tag == "testsuites"
    files = ET.parse(project.path / "reports" / "coverage.xml").getroot().iter("class")
    rates = {str(f.get("filename")): (f.get("line-rate"), f.get("branch-rate")) for f in files}
    assert rates["app/pages.py"] == ("1", "1")
    assert {rate for name, rate in rates.items() if name.startswith("app/")} == {("1", "1")}
    assert project.must("git", "status", "--porcelain") == ""


def test_check_writes_a_report_for_gitlab(bake: Bake, tools: Path) -> None:
    project = bake()
    project.must("bin/check", VENV=str(tools), CI="true")
    assert json.loads(project.read("reports/code-quality.json")) == []

    project.write("app/extra.py", "import os\n")
    assert project.run("bin/check", VENV=str(tools), CI="true").returncode == 1
    (issue,) = json.loads(project.read("reports/code-quality.json"))
    assert issue["location"]["path"] == "app/extra.py"


@pytest.mark.parametrize("version", PROMPTS["python_version"])
def test_setup_and_tests_work_with_each_python(bake: Bake, tmp_path: Path, version: str) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"needs Python {version}")
    project = bake(python_version=version)
    path = only(tmp_path / "path", python, require("uv"))

    said = project.must("bin/setup", PATH=path)
    assert f"with Python {version}." in said
    assert "was not found" not in said
    project.must("bin/test", PATH=path)


def test_setup_falls_back_to_the_newest_python_and_says_so(bake: Bake, tmp_path: Path) -> None:
    old, newer = find_python("3.11"), find_python("3.12")
    if old is None or newer is None:
        pytest.skip("needs Python 3.11 and 3.12")
    project = bake(python_version="3.14")

    said = project.must("bin/setup", PATH=only(tmp_path / "path", old, newer, require("uv")))

    assert "Python 3.14, which production runs, was not found: using 3.12." in said


def test_setup_works_without_uv(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    path = only(tmp_path / "path", sys.executable)

    project.must("bin/setup", PATH=path)
    assert "passed" in project.must("bin/test", PATH=path)


def test_setup_without_any_python_says_what_to_install(bake: Bake, tmp_path: Path) -> None:
    done = bake().run("bin/setup", PATH=only(tmp_path / "path"))

    assert done.returncode == 1
    assert "no Python >= 3.11 found: install Python 3.14" in done.stdout


def test_setup_again_does_only_what_is_left(bake: Bake) -> None:
    project = bake()
    project.must("bin/setup")
    config = (project.path / ".venv" / "pyvenv.cfg").stat().st_mtime_ns

    assert "installing" not in project.must("bin/setup")
    assert (project.path / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == config


def test_a_changed_lock_is_noticed_and_set_up(bake: Bake, tools: Path, tmp_path: Path) -> None:
    venv = tmp_path / "tools"
    shutil.copytree(tools, venv, symlinks=True)
    project = bake()
    project.write("requirements-dev.txt", project.read("requirements-dev.txt") + "# changed\n")

    said = project.must("bin/test", "tests/test_health.py", VENV=str(venv))
    assert "requirements-dev.txt has changed since the last bin/setup: run bin/setup" in said
    assert "installing" in project.must("bin/setup", VENV=str(venv))


@pytest.mark.parametrize("script", ["check", "dev", "test"])
def test_a_forgotten_setup_is_told(bake: Bake, script: str) -> None:
    done = bake().run(f"bin/{script}")

    assert done.returncode == 1
    assert done.stdout.endswith("run bin/setup\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_explains_itself(bake: Bake, script: str) -> None:
    project = bake()

    assert project.must(f"bin/{script}", "-h").startswith(f"Usage: bin/{script}")


@pytest.mark.parametrize("script", ["check", "lock", "setup"])
def test_an_unknown_option_is_refused(bake: Bake, script: str) -> None:
    done = bake().run(f"bin/{script}", "--fxi")

    assert done.returncode == 2
    assert f"bin/{script}: unknown option: --fxi (see bin/{script} -h)" in done.stdout


@pytest.mark.parametrize("command", ["check --fix app", "lock --upgrade flask", "setup -h now"])
def test_more_than_a_command_takes_is_refused(bake: Bake, command: str) -> None:
    script, *arguments = command.split()
    done = bake().run(f"bin/{script}", *arguments)

    assert done.returncode == 2
    assert f"unknown option: {' '.join(arguments)} (see bin/{script} -h)" in done.stdout


def test_commands_work_from_any_folder_and_under_a_path_with_spaces(
    bake: Bake, tmp_path: Path
) -> None:
    spaced = tmp_path / "Client's work & more"
    shutil.move(bake().path, spaced)
    project = BakedProject(spaced / "app")

    project.must("../bin/setup", CDPATH="/")
    project.must("../bin/check")
    project.must("../bin/test")
    project.must(spaced / "bin" / "test", "tests/test_health.py")


def test_a_renamed_project_needs_no_new_setup(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    project.must("bin/setup")
    moved = tmp_path / "moved"
    shutil.move(project.path, moved)

    BakedProject(moved).must("bin/check")
    BakedProject(moved).must("bin/test")


def test_check_fix_mends_what_can_be_mended(bake: Bake, tools: Path) -> None:
    project = bake()
    project.write("app/extra.py", '"""Extra."""\nimport os\nx = { "a":1 }\n')

    assert project.run("bin/check", VENV=str(tools)).returncode == 1
    project.must("bin/check", "--fix", VENV=str(tools))
    assert project.read("app/extra.py") == '"""Extra."""\n\nx = {"a": 1}\n'


def test_too_little_coverage_fails(bake: Bake, tools: Path) -> None:
    project = bake()
    branches = "\n".join(f"    if n == {n}:\n        return {n}\n" for n in range(2, 60))
    project.write("app/extra.py", f"def pick(n: int) -> int:\n{branches}    return 0\n")
    project.write("tests/test_extra.py", "import app.extra  # noqa: F401\n")

    done = project.run("bin/test", VENV=str(tools))
    assert done.returncode == 1
    assert "Coverage failure: total of" in done.stdout


def test_locking_again_gives_the_same_bytes(bake: Bake) -> None:
    require("uv")
    project = bake(project_slug="zz-another-name", license="MIT", python_version="3.12")

    project.must("bin/lock")

    for name in ("requirements.txt", "requirements-dev.txt"):
        assert project.read(name) == (PROJECT / name).read_text("utf-8"), name
    assert "requirements" not in project.must("git", "status", "--porcelain")


def test_locks_hold_a_hash_for_every_package_and_no_address() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (PROJECT / name).read_text("utf-8")
        packages = re.findall(
            r"^[a-z].*==.*$(?:\n +--hash=sha256:[0-9a-f]{64}.*$)+", text, re.MULTILINE
        )
        assert len(packages) == len(re.findall(r"^[a-z]", text, re.MULTILINE)) > 5
        assert "//" not in text


def test_lock_without_uv_says_how_to_get_it(bake: Bake, tmp_path: Path) -> None:
    done = bake().run("bin/lock", PATH=only(tmp_path / "path"))

    assert done.returncode == 1
    assert "uv is not installed; get it with: python3 -m pip install uv" in done.stdout


def test_variables_of_the_environment_do_not_disturb_the_tests(bake: Bake, tools: Path) -> None:
    project = bake()
    platform = {"GAE_ENV": "standard", "GAE_VERSION": "v1", "LOG_LEVEL": "CRITICAL"}
    settings = {
        "FLASK_DEBUG": "1",
        "FLASK_SECRET_KEY": "sesame",
        "FLASK_SESSION_COOKIE_SECURE": "false",
        "FLASK_TESTING": "true",
    }

    project.must("bin/test", VENV=str(tools), **platform, **settings)


@pytest.mark.skipif(os.name == "nt", reason="POSIX sh is checked on POSIX")
def test_the_scripts_are_posix_sh(bake: Bake) -> None:
    shellcheck = require("shellcheck")
    project = bake()
    scripts = [f"bin/{name}" for name in (*SCRIPTS, "common.sh", "copy.sh")]

    project.must(
        shellcheck, "--shell=sh", "--external-sources", "--source-path=bin", *scripts,
        ".githooks/pre-commit", ".githooks/pre-push",
    )  # fmt: skip


@pytest.mark.delivery
def test_a_new_package_is_uploaded_by_itself_and_what_git_ignores_is_not(
    bake: Bake, tmp_path: Path
) -> None:
    project = bake()
    for name in ("shop/__init__.py", "shop/prices/tea.csv"):
        project.write(name, "")
    ignored = {".env", ".env.production", "app/svc.key.json", "instance/shop.db", "shop/x.sqlite"}
    for name in ignored:
        project.write(name, "")
        project.must("git", "check-ignore", name)

    said = project.must(
        require("gcloud"), "meta", "list-files-for-upload", ".", CLOUDSDK_CONFIG=str(tmp_path)
    )

    app = {name for name in project.files() - ignored if name.startswith("app/")}
    assert set(said.splitlines()) == app | {
        *("app.yaml", "gunicorn.conf.py", "requirements.txt"),
        *("shop/__init__.py", "shop/prices/tea.csv"),
    }
