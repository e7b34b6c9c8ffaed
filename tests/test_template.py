"""The template's own repository: its documents say what is so, and its code is clean."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, Bake, clean_environment
from tests.support.answers import PROMPTS
from tests.support.tools import require

README = (TEMPLATE / "README.md").read_text("utf-8")
# Parts of addresses and paths that only some machines know.
LOCAL = re.compile(r"pypi\.org|pythonhosted|npmjs\.org|/(?:root|work)/[a-z]|index-url *=")


def run(*command: str | Path, **env: str) -> str:
    """Run a command that has to succeed in the template's folder."""
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=TEMPLATE,
        env=clean_environment() | env,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[Path]:
    """List the files that git has."""
    return [TEMPLATE / name for name in run("git", "ls-files", "-z").split("\0") if name]


@pytest.mark.parametrize(
    "command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join
)
def test_hooks_and_tests_are_clean(command: tuple[str, ...]) -> None:
    run(*command)


def test_ci_is_clean_shell() -> None:
    run("shellcheck", ".ci/run", "upgrade/start")


def test_ci_says_what_a_machine_lacks(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "id"):
        (tools / name).symlink_to(str(shutil.which(name)))
    script = tmp_path / "template" / ".ci" / "run"
    script.parent.mkdir(parents=True)
    shutil.copy(TEMPLATE / ".ci" / "run", script)

    done = subprocess.run(
        [tools / "bash", script],
        check=False,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    for lacking in ("Python", "gcloud", "shared/tools/container-engine", "chromium"):
        assert f"\n  - {lacking}" in done.stderr.replace("- ../", "- "), done.stderr
    assert done.stderr.endswith("pip install uv && uv run pytest\n")
    assert "not found" not in done.stderr


def test_contributing_has_every_folder_on_its_map() -> None:
    """The map has a line for each; `.github` explains itself."""
    guide = (TEMPLATE / "CONTRIBUTING.md").read_text("utf-8").partition("\n## Run the tests")[0]
    folders = {path.relative_to(TEMPLATE).parts[0] for path in tracked() if path.parent != TEMPLATE}

    assert not [
        f
        for f in folders - {".github"}
        if not re.search(rf"^\| `{re.escape(f)}/", guide, re.MULTILINE)
    ]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    named = [
        f"{path.relative_to(TEMPLATE)}: {found.group()}"
        for path in tracked()
        if path.suffix != ".png" and path != Path(__file__)
        if (found := LOCAL.search(path.read_text("utf-8")))
    ]

    assert named == []


def test_the_readme_has_the_two_commands_as_typed() -> None:
    lines = README.splitlines()

    assert "pip install uv && uvx cookiecutter --output-dir .. ." in lines
    assert "pip install uv && uv run pytest" in lines


def test_the_readme_explains_every_prompt() -> None:
    table = README.partition("## The questions")[2].partition("\n## ")[0]

    assert set(re.findall(r"`(\w+)`", table)) >= {n for n in PROMPTS if not n.startswith("_")}


def test_what_the_documents_link_to_is_there() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", (TEMPLATE / name).read_text("utf-8"))
        assert [link for link in links if not (TEMPLATE / link).exists()] == []


def test_what_contributing_names_is_there() -> None:
    text = (TEMPLATE / "CONTRIBUTING.md").read_text("utf-8")
    paths = set(re.findall(r"`((?:tests|hooks|emulators|bench|docs|\.ci)/[\w./]*)`", text))

    assert [path for path in paths if not (TEMPLATE / path).exists()] == []


def test_the_recipe_for_a_file_of_answers_bakes(tmp_path: Path) -> None:
    recipe = README.partition("## One file of answers per client")[2]
    (tmp_path / "answers.yaml").write_text(recipe.partition("```yaml\n")[2].partition("```")[0])
    command = ("cookiecutter", "--no-input", "--output-dir", tmp_path / "out")
    config = ("--config-file", tmp_path / "answers.yaml")

    run(*command, *config, ".", "project_name=Café Zoë", "owner=Zoë Ltd", HOME=str(tmp_path))
    pyproject = (tmp_path / "out" / "cafe-zoe" / "pyproject.toml").read_text("utf-8")
    assert 'name = "Ada Lovelace", email = "ada@example.com"' in pyproject

    (replay,) = (tmp_path / ".cookiecutter_replay").glob("*.json")
    run("cookiecutter", "--replay-file", replay, "-o", tmp_path / "again", ".", HOME=str(tmp_path))
    again = (tmp_path / "again" / "cafe-zoe" / "pyproject.toml").read_text("utf-8")
    assert again == pyproject


def test_an_unknown_prompt_cannot_slip_into_a_test(bake: Bake) -> None:
    with pytest.raises(AssertionError, match="no prompt"):
        bake(projekt_name="Oops")


def test_a_missing_tool_skips_a_test_or_fails_it_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-tool"):
        require("no-such-tool")
    for required in ("all", "docker,no-such-tool"):
        monkeypatch.setenv("REQUIRE_TOOLS", required)
        with pytest.raises(pytest.fail.Exception, match="no-such-tool is required"):
            require("no-such-tool")


def test_locking_the_template_again_changes_nothing(tmp_path: Path) -> None:
    """The documented command, in a copy: `python -m tests.lock`."""
    copy = tmp_path / "template"
    for path in tracked():
        target = copy / path.relative_to(TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    before = {p.name: p.read_bytes() for p in copy.glob("*slug*/requirements*.txt")}

    subprocess.run(
        ["python", "-m", "tests.lock"], cwd=copy, env=clean_environment(), check=True, timeout=120
    )

    assert {p.name: p.read_bytes() for p in copy.glob("*slug*/requirements*.txt")} == before
    assert len(before) == 2


def test_delivery_is_covered_by_its_unit_tests() -> None:
    """They are not in the bake, so nobody else asks."""
    gate = ("--cov=delivery", "--cov-branch", "--cov-report=term-missing", "--cov-fail-under=95")

    # Coverage imports delivery/ before conftest.py can lead its bytecode elsewhere.
    elsewhere = {"PYTHONPYCACHEPREFIX": str(sys.pycache_prefix)}
    # Kills, races, and whole programs run the same lines again, slowly.
    again = ("kills", "races", "cli", "credentials", "chosen")
    others = [f"--ignore-glob=*_{name}.py" for name in again]
    run("pytest", "tests/delivery", "--numprocesses=0", *others, *gate, **elsewhere)
