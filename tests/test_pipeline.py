"""The pipeline that a bake ships: the rules of each kind of pipeline, and real runs of its jobs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Bake, BakedProject
from tests.support.gitlab import (
    DEFAULT_BRANCH,
    FORK,
    MERGE_REQUEST,
    OTHER_BRANCH,
    TAG,
    GitLab,
    Variables,
)
from tests.support.tools import require

CHECKS = {"check": "on_success", "test": "on_success", "audit": "on_success", "build": "on_success"}
DELIVERY = {"deploy": "on_success", "prune": "on_success", "rollback": "manual"}
REVIEW = {"review": "on_success", "stop_review": "manual"}
MOVES_TRAFFIC = ("deploy", "canary", "promote", "rollback", "prune")
BAD_TEST = "def test_sums() -> None:\n    assert sum([1, 1]) == 3\n"


@pytest.fixture
def pipeline(render: Bake) -> dict[str, Any]:
    """Give the pipeline as GitLab reads it, `extends` resolved."""
    parsed: dict[str, Any] = yaml.safe_load(render().read(".gitlab-ci.yml"))

    def resolve(name: str) -> dict[str, Any]:
        job: dict[str, Any] = parsed[name]
        return (resolve(job["extends"]) if "extends" in job else {}) | job

    return {n: resolve(n) if isinstance(v, dict) else v for n, v in parsed.items()}


@pytest.fixture
def project(bake: Bake, tmp_path: Path) -> BakedProject:
    """Give a project that was pushed to a bare repository."""
    project = bake()
    project.add_origin(tmp_path)
    push(project)
    return project


@pytest.fixture
def gitlab(project: BakedProject, tmp_path: Path) -> GitLab:
    """Give the GitLab that the project was pushed to."""
    assert project
    (tmp_path / "gitlab").mkdir()
    return GitLab(tmp_path / "origin.git", tmp_path / "gitlab")


def push(project: BakedProject, **files: str) -> None:
    """Commit files and push them, past the hooks: as from a clone in which nobody ran bin/setup."""
    for name, text in files.items():
        project.write(name.replace("_in_", "/").replace("__", "."), text)
    if files:
        project.must("git", "add", "--all")
        project.must("git", "commit", "--quiet", "--no-verify", "--message", "Change something")
    project.must("git", "push", "--quiet", "--no-verify", "origin", "main")


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("kind", "variables", "jobs"),
    [
        (MERGE_REQUEST, {}, CHECKS),
        (MERGE_REQUEST, {"REVIEW_APPS": "true"}, CHECKS | REVIEW),
        (FORK, {"REVIEW_APPS": "true"}, CHECKS),
        (DEFAULT_BRANCH, {}, CHECKS | DELIVERY | {"promote": "on_success"}),
        (DEFAULT_BRANCH, {"REVIEW_APPS": "true"}, CHECKS | DELIVERY | {"promote": "on_success"}),
        (DEFAULT_BRANCH, {"PROMOTE": "manual"}, CHECKS | DELIVERY | {"promote": "manual"}),
        (
            DEFAULT_BRANCH,
            {"CANARY": "10"},
            CHECKS | DELIVERY | {"canary": "on_success", "promote": "delayed"},
        ),
        (
            DEFAULT_BRANCH,
            {"CANARY": "10", "PROMOTE": "manual"},
            CHECKS | DELIVERY | {"canary": "on_success", "promote": "manual"},
        ),
        (TAG, {}, CHECKS),
    ],
)
def test_each_kind_of_pipeline_has_these_jobs(
    gitlab: GitLab, kind: Variables, variables: dict[str, str], jobs: dict[str, str]
) -> None:
    assert gitlab.jobs(kind, **variables) == jobs


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("kind", "starts"),
    [
        (MERGE_REQUEST, True),
        (FORK, True),
        (DEFAULT_BRANCH, True),
        (TAG, True),
        (OTHER_BRANCH, False),
    ],
)
def test_a_change_is_piped_once(gitlab: GitLab, kind: Variables, *, starts: bool) -> None:
    assert gitlab.starts(kind) is starts
    assert gitlab.starts(kind, CI_OPEN_MERGE_REQUESTS="client/project!7") is starts


def test_the_pipeline_obeys_gitlabs_schema(render: Bake) -> None:
    project = render()
    options = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")

    project.must("check-jsonschema", *options, ".gitlab-ci.yml")


@pytest.mark.fast
@pytest.mark.parametrize("job", MOVES_TRAFFIC)
def test_what_moves_traffic_runs_alone_and_to_its_end(pipeline: dict[str, Any], job: str) -> None:
    assert pipeline[job]["resource_group"] == "production"
    assert pipeline[job]["interruptible"] is False
    assert pipeline[job]["environment"]["name"] == "production"


@pytest.mark.fast
@pytest.mark.parametrize("job", CHECKS)
def test_checks_stop_when_a_newer_push_makes_them_pointless(
    pipeline: dict[str, Any], job: str
) -> None:
    assert pipeline["workflow"]["auto_cancel"] == {"on_new_commit": "interruptible"}
    assert pipeline[job]["interruptible"] is True
    assert "resource_group" not in pipeline[job]


@pytest.mark.fast
@pytest.mark.parametrize("job", [*MOVES_TRAFFIC, *REVIEW])
def test_whoever_talks_to_google_has_a_token_for_it(pipeline: dict[str, Any], job: str) -> None:
    token = {"GITLAB_OIDC_TOKEN": {"aud": "https://gitlab.com"}}

    assert pipeline[job]["id_tokens"] == token
    assert pipeline[job]["timeout"] == "20 minutes"  # Google's token lasts as long as the job may


@pytest.mark.fast
def test_checks_have_no_token(pipeline: dict[str, Any]) -> None:
    assert not [job for job in CHECKS if "id_tokens" in pipeline[job]]


@pytest.mark.fast
def test_a_review_app_ends_with_its_merge_request(pipeline: dict[str, Any]) -> None:
    start, stop = pipeline["review"], pipeline["stop_review"]

    assert start["environment"]["on_stop"] == "stop_review"
    assert start["environment"]["auto_stop_in"] == "1 week"
    assert stop["environment"] == {"name": start["environment"]["name"], "action": "stop"}
    assert stop["rules"][0]["if"] == start["rules"][0]["if"]
    assert stop["resource_group"] == start["resource_group"] == "review/$CI_MERGE_REQUEST_IID"
    assert "GIT_STRATEGY" not in str(stop)  # the command that stops it is in the checkout


@pytest.mark.fast
def test_images_are_pinned(pipeline: dict[str, Any]) -> None:
    images = {job["image"] for job in pipeline.values() if isinstance(job, dict) and "image" in job}
    images |= set(pipeline["build"]["services"])

    assert len(images) == 5
    for image in images:
        tag = image.rpartition(":")[2]
        assert tag[0].isdigit(), image


@pytest.mark.fast
def test_every_script_line_is_a_command_of_the_project(pipeline: dict[str, Any]) -> None:
    jobs = [job for job in pipeline.values() if isinstance(job, dict)]
    lines = {line for job in jobs for line in job.get("script", []) + job.get("before_script", [])}

    commands = ("bin/", "python3 -m delivery ", "docker build ", "uv ", "uvx ")
    assert not [line for line in lines if not line.startswith(commands)]


@pytest.mark.fast
def test_the_pipeline_is_short(render: Bake) -> None:
    assert render().read(".gitlab-ci.yml").count("\n") <= 180


def test_the_audit_lists_what_production_installs_with_licences(
    bake: Bake, pipeline: dict[str, Any]
) -> None:
    require("uv")
    project = bake()
    for line in pipeline["audit"]["script"]:
        if "pip-audit" not in line:  # it asks the world of today
            project.must("sh", "-c", line)

    found = json.loads(project.read("sbom.cdx.json"))
    assert pipeline["audit"]["artifacts"]["paths"] == ["sbom.cdx.json"]
    assert found["bomFormat"] == "CycloneDX"
    locked = re.findall(r"^([a-z][\w-]+)==", project.read("requirements.txt"), re.MULTILINE)
    here = {c["name"].lower() for c in found["components"]}
    assert here == set(locked) - {"colorama"}  # which only Windows needs
    assert [c["name"] for c in found["components"] if not c.get("licenses")] == []


@pytest.mark.pipeline
@pytest.mark.containers
@pytest.mark.parametrize("kind", [MERGE_REQUEST, FORK, TAG], ids=["merge request", "fork", "tag"])
def test_a_change_is_checked_by_the_jobs_as_they_are(gitlab: GitLab, kind: Variables) -> None:
    require("docker")
    pipeline = gitlab.run(kind)

    assert pipeline.jobs.pop("audit") in {"passed", "warned"}  # it asks the world of today
    assert pipeline.jobs == {"check": "passed", "test": "passed", "build": "passed"}, pipeline.said


@pytest.mark.pipeline
def test_a_red_test_stops_everything_behind_it(project: BakedProject, gitlab: GitLab) -> None:
    push(project, tests_in_test_sums__py=BAD_TEST)

    pipeline = gitlab.run(DEFAULT_BRANCH, host_network=True, GAE_PROJECT="demo")

    assert pipeline.jobs["test"] == "failed", pipeline.said
    assert not set(pipeline.jobs) & set(MOVES_TRAFFIC)


@pytest.mark.pipeline
def test_a_missing_variable_stops_the_delivery_at_once(gitlab: GitLab) -> None:
    pipeline = gitlab.run(DEFAULT_BRANCH, "deploy", host_network=True)

    assert pipeline.jobs == {"deploy": "failed"}, pipeline.said
    assert "GAE_PROJECT" in pipeline.said
    assert "Settings > CI/CD > Variables" in pipeline.said
