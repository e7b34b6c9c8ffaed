"""bin/push-image: the image that was tested goes to GitLab's registry, and is named by digest."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.cloudrun.emulator import GitLabRegistry
from tests.conftest import Bake, BakedProject
from tests.support.engine import docker
from tests.support.tools import require

pytestmark = pytest.mark.containers
JOB = {"CI_COMMIT_SHORT_SHA": "1a2b3c4d", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[GitLabRegistry]:
    """Serve GitLab's registry."""
    made = GitLabRegistry(tmp_path / "registry")
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    """Build the smallest image that there is."""
    require("docker")
    alone = uuid.uuid4().hex  # others run beside it: neither its name nor its contents are theirs
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nLABEL made={alone}\n")
    (tmp_path / "docker").mkdir()
    tag = f"delivery-test/{alone}:tested"
    docker("build", "--quiet", f"--tag={tag}", str(tmp_path))
    yield tag
    docker("image", "rm", "--force", docker("image", "inspect", "--format", "{{.Id}}", tag))


@pytest.fixture
def project(bake: Bake, tmp_path: Path) -> BakedProject:
    """Bake for Cloud Run, with a place for docker's login."""
    project = bake(deploy_to="cloud-run")
    project.env = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    return project


@pytest.mark.parametrize("pipeline", [{}, {"CI_COMMIT_BRANCH": "", "REVIEW_APPS": "true"}])
def test_what_was_tested_is_pushed_and_named_by_digest(
    project: BakedProject, registry: GitLabRegistry, image: str, pipeline: dict[str, str]
) -> None:
    said = project.must("bin/push-image", image, **JOB | registry.variables() | pipeline)

    name = project.read("image.env").strip().removeprefix("IMAGE=")
    assert name.startswith(f"{registry.host}/client/project/app@sha256:")
    assert registry.password not in said
    docker_config = project.env["DOCKER_CONFIG"]
    pulled = subprocess.run(
        ["docker", "--config", docker_config, "pull", "--quiet", name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert pulled.stdout.strip() == name
    ids = [json.loads(docker("image", "inspect", each))[0]["Id"] for each in (image, name)]
    assert ids[0] == ids[1]
    assert project.run("git", "check-ignore", "image.env").returncode == 0


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ({"CI_COMMIT_BRANCH": "feature"}, "delivers nothing"),
        ({"CI_REGISTRY_IMAGE": ""}, "no container registry"),
    ],
)
def test_other_pipelines_push_nothing(
    project: BakedProject, image: str, pipeline: dict[str, str], reason: str
) -> None:
    said = project.must("bin/push-image", image, **JOB | pipeline)

    assert reason in said
    assert "image.env" not in project.files()


def test_a_wrong_password_fails_the_job(
    project: BakedProject, registry: GitLabRegistry, image: str
) -> None:
    wrong = registry.variables() | {"CI_REGISTRY_PASSWORD": "wr0ng-pass"}
    done = project.run("bin/push-image", image, **JOB, **wrong)

    assert done.returncode != 0
    assert "wr0ng-pass" not in done.stdout
    assert "image.env" not in project.files()


def test_it_asks_which_image(project: BakedProject) -> None:
    done = project.run("bin/push-image")
    assert done.returncode == 2
    assert "which image?" in done.stdout
