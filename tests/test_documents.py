"""What a baked project tells its owner: the links lead somewhere, and the commands are real."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import Bake, BakedProject, clean_environment
from tests.support.answers import PROMPTS
from tests.support.tools import require

DOCUMENTS = ("README.md", "delivery/README.md", "docs/recipes.md")
every_target = pytest.mark.parametrize("deploy_to", PROMPTS["deploy_to"])


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a document that are in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return what the headings of a document can be linked to by."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.fast
def test_the_readme_takes_a_minute_to_read(render: Bake) -> None:
    assert render().read("README.md").count("\n") <= 100


@pytest.mark.fast
@every_target
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_links_to_is_there(render: Bake, name: str, deploy_to: str) -> None:
    project = render(deploy_to=deploy_to)
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", project.read(name))

    for link in links:
        path, _, anchor = link.partition("#")
        target = (project.path / name).parent / path if path else project.path / name
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@pytest.mark.fast
@every_target
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_is_there(render: Bake, name: str, deploy_to: str) -> None:
    project = render(deploy_to=deploy_to)
    text = project.read(name)

    for command in set(re.findall(r"(?<![\w/])bin/[a-z]+\b", text)):
        assert (project.path / command).exists(), command
    for path in set(re.findall(r"`((?:app|docs|tests)/[\w./]+)`", text)) - {
        "app/secret_manager.py"
    }:
        assert (project.path / path).exists(), path


@pytest.mark.fast
@every_target
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_verb_that_a_document_names_exists(render: Bake, name: str, deploy_to: str) -> None:
    project = render(deploy_to=deploy_to)
    text = project.read(name)
    sources = "".join(file.read_text("utf-8") for file in (project.path / "delivery").rglob("*.py"))

    for verb in set(re.findall(r"python3? -m delivery ([a-z]+)", text)):
        assert f'"{verb}"' in sources, verb


@pytest.mark.fast
def test_every_setting_of_the_pipeline_is_explained(render: Bake) -> None:
    project = render()
    variables = yaml.safe_load(project.read(".gitlab-ci.yml"))["variables"]
    table = project.read("delivery/README.md").partition("\n## Settings")[2].partition("\n## ")[0]

    for name, default in variables.items():
        assert re.search(rf"^\| `{name}` \|.*default `{default}`", table, re.MULTILINE), name


@pytest.mark.fast
def test_the_recipe_for_another_python_names_every_place(render: Bake) -> None:
    """A place that it forgot would go on with the version before."""
    old, new = render(python_version="3.12"), render(python_version="3.13")
    recipe = old.read("docs/recipes.md").partition("\n## Update Python")[2]

    places = {name for name in old.files() if old.read(name) != new.read(name)} - {"README.md"}

    assert places == {".gitlab-ci.yml", "Dockerfile", "app.yaml", "bin/setup"}
    assert not [place for place in places if not re.search(rf"\sin\s+`{place}`", recipe)]


def test_the_recipe_for_a_secret_passes_the_checks(bake: Bake, tools: Path) -> None:
    project = bake()
    (code,) = [
        code for code in blocks(project.read("docs/recipes.md"), "python") if "def read" in code
    ]
    project.write("app/secret_manager.py", code)
    ruff = tools / "bin" / "ruff"

    project.must(ruff, "check", "app/secret_manager.py")
    project.must(ruff, "format", "--check", "app/secret_manager.py")


def test_gitlab_is_asked_to_fold_what_nobody_reviews(bake: Bake) -> None:
    project = bake()
    files = ("requirements.txt", "requirements-dev.txt", "delivery/cli.py", "app/pages.py")

    said = project.must("git", "check-attr", "gitlab-generated", "eol", "--", *files).splitlines()

    folded = {line.split(":")[0] for line in said if line.endswith("gitlab-generated: set")}
    assert folded == set(files) - {"app/pages.py"}
    assert "requirements.txt: eol: lf" in said


@pytest.mark.delivery
@pytest.mark.parametrize("name", DOCUMENTS[1:])
def test_gcloud_understands_every_command_of_a_document(
    render: Bake, name: str, tmp_path: Path
) -> None:
    """Without an account each of them fails: with 1, or with 2 where the command is wrong."""
    script = "\n".join(blocks(render().read(name), "sh"))
    stand_in = tmp_path / "gcloud"
    stand_in.write_text(
        f'#!/bin/sh\n"{require("gcloud")}" "$@" </dev/null >>"{tmp_path}/said" 2>&1\n'
        f'echo "$? $*" >>"{tmp_path}/codes"\n'
    )
    stand_in.chmod(0o755)
    env = clean_environment() | {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "CLOUDSDK_CONFIG": str(tmp_path / "config"),
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
    }
    # The other programs of the document are not asked: none of them may touch this machine.
    others = ("bin/", "docker", "APP_REVISION", "curl", "python -m", "git ")
    lines = script.replace("\\\n", " ").splitlines()
    kept = "\n".join(line for line in lines if not line.lstrip().startswith(others))

    subprocess.run(["sh", "-c", kept], env=env, cwd=tmp_path, check=True, timeout=300)

    codes = (tmp_path / "codes").read_text().splitlines()
    assert len(codes) >= {"delivery/README.md": 18, "docs/recipes.md": 3}[name]
    assert not [line for line in codes if line.startswith("2 ")], (tmp_path / "said").read_text()


@every_target
def test_the_documents_commands_are_posix_sh(render: Bake, tmp_path: Path, deploy_to: str) -> None:
    shellcheck = require("shellcheck")
    project: BakedProject = render(deploy_to=deploy_to)

    for name in DOCUMENTS:
        script = tmp_path / "commands.sh"
        script.write_text("\n".join(blocks(project.read(name), "sh")))
        # Ids and commits have no spaces; a secret is made up here, not on the server.
        quoting = "--exclude=SC2046,SC2086,SC2034,SC2087"
        project.must(shellcheck, "--shell=sh", quoting, script)
