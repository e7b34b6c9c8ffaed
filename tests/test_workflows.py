"""The template's own pipeline on GitHub: sound, pinned, and with no more rights than it needs."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import TEMPLATE, clean_environment
from tests.support.answers import PROMPTS

FOLDER = TEMPLATE / ".github/workflows"
WORKFLOWS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.yml"))}
USES = re.compile(r"^ *(?:- )?uses: (\S+)(.*)$", re.MULTILINE)


def parsed(name: str) -> dict[str, Any]:
    """Read a workflow; YAML 1.1 takes its `on` for a yes."""
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOWS[name])
    return workflow


def audit(*command: str) -> None:
    """Run a tool over the workflows that has to be content."""
    done = subprocess.run(
        [*command, *map(str, sorted(FOLDER.glob("*.yml")))],
        cwd=TEMPLATE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    audit("zizmor", "--offline", "--quiet")


def test_the_workflows_obey_githubs_schema() -> None:
    audit("check-jsonschema", "--builtin-schema", "vendor.github-workflows")


@pytest.mark.fast
@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    for action, comment in USES.findall(WORKFLOWS[name]):
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


@pytest.mark.fast
@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_what_publishes_may_write(name: str) -> None:
    workflow = parsed(name)

    assert workflow["permissions"] == {"contents": "read"}
    may = {job for job, what in workflow["jobs"].items() if "write" in str(what.get("permissions"))}
    assert may == {"relock": {"relock"}, "release": {"publish"}}.get(name, set())
    assert WORKFLOWS[name].count("actions/checkout") == WORKFLOWS[name].count(
        "persist-credentials: false"
    )


@pytest.mark.fast
def test_every_system_and_python_is_in_the_matrix() -> None:
    matrix = parsed("tests")["jobs"]["elsewhere"]["strategy"]["matrix"]

    assert sorted(matrix["python"]) == sorted(PROMPTS["python_version"])
    assert [os.partition("-")[0] for os in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.fast
def test_the_readmes_test_command_runs_where_all_tools_are() -> None:
    steps = parsed("tests")["jobs"]["all"]["steps"]

    assert "pip install uv && uv run pytest" in [step.get("run") for step in steps]
    assert steps[0]["with"]["fetch-depth"] == 0
