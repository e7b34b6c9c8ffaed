"""The pipeline that a bake ships: the rules of each kind of pipeline, and real runs of its jobs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from delivery import cli
from delivery.appengine import target as appengine

from emulators.cloudrun.emulator import GitLabRegistry
from tests.conftest import Bake, BakedProject, bake_quickly
from tests.support.answers import PROMPTS
from tests.support.gitlab import (
    DEFAULT_BRANCH,
    FORK,
    MACHINES,
    MERGE_REQUEST,
    OTHER_BRANCH,
    RUN_PIPELINE,
    TAG,
    GitLab,
    Variables,
)
from tests.support.tools import require

CHECKS = {"check": "on_success", "test": "on_success", "audit": "on_success", "build": "on_success"}
DELIVERY = {"deploy": "on_success", "prune": "on_success", "rollback": "manual"}
REVIEW = {"review": "on_success", "stop_review": "manual"}
MOVES_TRAFFIC = ("canary", "promote", "rollback")
DELIVERS = ("deploy", "prune", *MOVES_TRAFFIC)
BAD_TEST = "def test_sums() -> None:\n    assert sum([1, 1]) == 3\n"


@pytest.fixture
def pipeline(render: Bake) -> dict[str, Any]:
    """Return the pipeline as GitLab reads it, with `extends` resolved."""
    parsed: dict[str, Any] = yaml.safe_load(render().read(".gitlab-ci.yml"))

    def resolve(name: str) -> dict[str, Any]:
        job: dict[str, Any] = parsed[name]
        return (resolve(job["extends"]) if "extends" in job else {}) | job

    return {n: resolve(n) if isinstance(v, dict) else v for n, v in parsed.items()}


@pytest.fixture
def project(bake: Bake, tmp_path: Path) -> BakedProject:
    """Bake a project and push it to a bare repository."""
    project = bake()
    project.add_origin(tmp_path)
    push(project)
    return project


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> GitLab:
    """Return a GitLab that has a fresh bake, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("untouched")
    project = BakedProject(bake_quickly(folder, hooks=True))
    project.add_origin(folder)
    push(project)
    (folder / "gitlab").mkdir()
    return GitLab(folder / "origin.git", folder / "gitlab")


@pytest.fixture
def gitlab(project: BakedProject, tmp_path: Path) -> GitLab:
    """Return the GitLab that the project was pushed to."""
    assert project
    (tmp_path / "gitlab").mkdir()
    return GitLab(tmp_path / "origin.git", tmp_path / "gitlab")


def minutes(limit: str) -> int:
    """Read a time limit of GitLab's, such as `20 minutes`."""
    number, unit = limit.split()
    assert unit == "minutes"
    return int(number)


def commands(pipeline: dict[str, Any]) -> list[str]:
    """List the commands of all jobs; GitLab takes a single one without a list, too."""
    jobs = [job for job in pipeline.values() if isinstance(job, dict)]
    scripts = [job.get(f"{when}script", []) for job in jobs for when in ("before_", "", "after_")]
    return [c for script in scripts for c in ([script] if isinstance(script, str) else script)]


def push(project: BakedProject, **files: str) -> None:
    """Commit files and push them, past the hooks: as from a clone in which nobody ran bin/setup."""
    for name, text in files.items():
        project.write(name.replace("_in_", "/").replace("__", "."), text)
    if files:
        project.must("git", "add", "--all")
        project.must("git", "commit", "--quiet", "--no-verify", "--message", "Change something")
    project.must("git", "push", "--quiet", "--no-verify", "origin", "main")


def label(value: Variables) -> str | None:
    """Name a row of the tables by how its pipeline starts, where, and what is set."""
    given = dict(value)
    source = given.pop("CI_PIPELINE_SOURCE", None)
    if source:
        return f"{source} {given.get('CI_COMMIT_BRANCH') or given.get('CI_COMMIT_TAG') or ''}"
    if given.keys() <= {"CANARY", "PROMOTE", "REVIEW_APPS"}:
        return " ".join(f"{name}={setting}" for name, setting in given.items())
    return f"{len(given)} jobs"


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
        (DEFAULT_BRANCH, {"CANARY": "0"}, CHECKS | DELIVERY | {"promote": "on_success"}),
        (DEFAULT_BRANCH, {"CANARY": ""}, CHECKS | DELIVERY | {"promote": "on_success"}),
        (DEFAULT_BRANCH, {"PROMOTE": "Manual"}, CHECKS | DELIVERY | {"promote": "manual"}),
        (RUN_PIPELINE, {}, CHECKS | DELIVERY | {"promote": "on_success"}),
        (TAG, {}, CHECKS),
        (OTHER_BRANCH, {"CANARY": "10", "REVIEW_APPS": "true"}, CHECKS),
        *((kind, {"CANARY": "10", "REVIEW_APPS": "true"}, CHECKS) for kind in MACHINES.values()),
    ],
    ids=label,
)
def test_each_kind_of_pipeline_has_these_jobs(
    untouched: GitLab, kind: Variables, variables: dict[str, str], jobs: dict[str, str]
) -> None:
    assert untouched.jobs(kind, **variables) == jobs


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("kind", "starts"),
    [
        (MERGE_REQUEST, True),
        (FORK, True),
        (DEFAULT_BRANCH, True),
        (RUN_PIPELINE, True),
        (MACHINES["schedule"], True),
        (TAG, True),
        (OTHER_BRANCH, False),
        (OTHER_BRANCH | {"CI_PIPELINE_SOURCE": "web"}, False),
    ],
)
def test_a_change_is_piped_once(untouched: GitLab, kind: Variables, *, starts: bool) -> None:
    assert untouched.starts(kind) is starts
    assert untouched.starts(kind, CI_OPEN_MERGE_REQUESTS="client/project!7") is starts


@pytest.mark.parametrize("target", PROMPTS["deploy_to"])
def test_the_pipeline_obeys_gitlabs_schema(render: Bake, target: str) -> None:
    project = render(deploy_to=target)
    options = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")

    project.must("check-jsonschema", *options, ".gitlab-ci.yml")


@pytest.mark.fast
@pytest.mark.parametrize("target", ["cloud-run", "docker-host"])
def test_the_pipeline_differs_where_the_image_is_delivered(render: Bake, target: str) -> None:
    """The image that was tested goes on to the job that delivers it; what delivers may differ."""
    one, other = (
        yaml.safe_load(render(deploy_to=each).read(".gitlab-ci.yml"))
        for each in ("app-engine", target)
    )
    build = other.pop("build")
    assert build["script"][-1] == 'bin/push-image "hello-delivery:$CI_COMMIT_SHORT_SHA"'
    assert build["artifacts"] == {"reports": {"dotenv": "image.env"}}
    assert build["script"][0] == one.pop("build")["script"]
    assert {name for name in one if one[name] != other[name]} <= {".delivery"}
    assert one[".delivery"]["timeout"] == other[".delivery"]["timeout"]


@pytest.mark.fast
@pytest.mark.parametrize("job", DELIVERS)
def test_a_delivery_runs_to_its_end(pipeline: dict[str, Any], job: str) -> None:
    assert pipeline[job]["interruptible"] is False
    assert pipeline[job]["environment"]["name"] == "production"


@pytest.mark.fast
def test_a_rollback_waits_for_no_upload(pipeline: dict[str, Any]) -> None:
    """Only what moves traffic excludes each other; an upload takes minutes and moves none."""
    groups = {job: pipeline[job]["resource_group"] for job in DELIVERS}

    assert {groups[job] for job in MOVES_TRAFFIC} == {"production"}
    assert groups["deploy"] == groups["prune"] != "production"


@pytest.mark.fast
@pytest.mark.parametrize("job", [*DELIVERS, *REVIEW])
def test_delivery_can_tell_which_commit_is_older(pipeline: dict[str, Any], job: str) -> None:
    assert pipeline[job]["variables"]["GIT_DEPTH"] == "0"  # GitLab's default is 20 commits


@pytest.mark.fast
def test_delivery_gives_up_before_gitlab_kills_the_job(pipeline: dict[str, Any]) -> None:
    """Whoever is killed cannot say what became of production, nor put it back."""
    verify = cli.TIMEOUT
    around = 120  # starting the job, logging in, asking the target
    limits = {job: minutes(pipeline[job]["timeout"]) * 60 for job in DELIVERS}

    assert appengine.BUILD_TIMEOUT + verify + around <= limits["deploy"]
    assert (
        verify + verify + around <= limits["promote"]
    )  # the version's own address, then production


@pytest.mark.fast
def test_no_variable_of_the_project_is_split_into_words(pipeline: dict[str, Any]) -> None:
    lines = commands(pipeline)

    assert [line for line in lines if "$" in line]
    assert not [line for line in lines if "$" in re.sub(r'"\$\w+"', "", line)]


@pytest.mark.fast
@pytest.mark.parametrize("job", CHECKS)
def test_checks_stop_when_a_newer_push_makes_them_pointless(
    pipeline: dict[str, Any], job: str
) -> None:
    assert pipeline["workflow"]["auto_cancel"] == {"on_new_commit": "interruptible"}
    assert pipeline[job]["interruptible"] is True
    assert "resource_group" not in pipeline[job]


@pytest.mark.fast
@pytest.mark.parametrize("job", [*DELIVERS, *REVIEW])
def test_whoever_talks_to_google_has_a_token_for_it(pipeline: dict[str, Any], job: str) -> None:
    token = {"GITLAB_OIDC_TOKEN": {"aud": "$CI_SERVER_URL"}}

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
    known = ("bin/", "python3 -m delivery ", "docker compose ", "uv ", "uvx ")

    assert not [line for line in commands(pipeline) if not line.startswith(known)]


@pytest.mark.fast
def test_the_pipeline_is_short(render: Bake) -> None:
    assert render().read(".gitlab-ci.yml").count("\n") <= 180


def test_the_audit_lists_what_production_installs_with_licences(
    bake: Bake, pipeline: dict[str, Any]
) -> None:
    require("uv")
    project = bake()
    for line in commands({"audit": pipeline["audit"] | {"after_script": []}}):
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
def test_a_change_is_checked_by_the_jobs_as_they_are(gitlab: GitLab) -> None:
    require("docker")
    pipeline = gitlab.run(MERGE_REQUEST)

    assert pipeline.jobs.pop("audit") in {"passed", "warned"}  # it asks the world of today
    assert pipeline.jobs == {"check": "passed", "test": "passed", "build": "passed"}, pipeline.said


@pytest.mark.pipeline
def test_a_red_test_stops_everything_behind_it(project: BakedProject, gitlab: GitLab) -> None:
    push(project, tests_in_test_sums__py=BAD_TEST)

    pipeline = gitlab.run(
        DEFAULT_BRANCH, "test", "deploy", "prune", host_network=True, GAE_PROJECT="demo"
    )

    assert pipeline.jobs["test"] == "failed", pipeline.said
    assert set(pipeline.jobs) == {"test"}


@pytest.mark.pipeline
def test_a_missing_variable_stops_the_delivery_at_once(gitlab: GitLab) -> None:
    pipeline = gitlab.run(DEFAULT_BRANCH, "deploy", host_network=True)

    assert pipeline.jobs == {"deploy": "failed"}, pipeline.said
    assert "GAE_PROJECT" in pipeline.said
    assert "Settings > CI/CD > Variables" in pipeline.said


@pytest.mark.pipeline
def test_a_share_that_is_no_number_is_refused_as_a_whole(gitlab: GitLab) -> None:
    pipeline = gitlab.run(
        DEFAULT_BRANCH, "canary", host_network=True, CANARY="10 --force", GAE_PROJECT="demo"
    )

    assert pipeline.jobs == {"canary": "failed"}, pipeline.said
    assert "argument --canary: '10 --force'" in pipeline.said
    assert "'10 --force'" in pipeline.said


@pytest.mark.pipeline
@pytest.mark.containers
def test_an_image_that_does_not_start_fails_the_build_and_says_why(
    project: BakedProject, gitlab: GitLab
) -> None:
    require("docker")
    settings = project.read("gunicorn.conf.py").replace("threads = 16", 'threads = int("many")')
    push(project, gunicorn__conf__py=settings)

    pipeline = gitlab.run(MERGE_REQUEST, "build")

    assert pipeline.jobs == {"build": "failed"}, pipeline.said
    assert "invalid literal for int() with base 10: 'many'" in pipeline.said


@pytest.mark.pipeline
@pytest.mark.containers
def test_the_image_that_was_tested_is_handed_on_by_digest(bake: Bake, tmp_path: Path) -> None:
    require("docker")
    project = bake(deploy_to="cloud-run")
    project.add_origin(tmp_path)
    push(project)
    (tmp_path / "gitlab").mkdir()
    registry = GitLabRegistry(tmp_path / "registry")
    variables = registry.variables() | {"CI_DEFAULT_BRANCH": "main"}
    try:
        pipeline = GitLab(tmp_path / "origin.git", tmp_path / "gitlab").run(
            DEFAULT_BRANCH | variables, "build", host_network=True
        )
    finally:
        registry.close()

    assert pipeline.jobs == {"build": "passed"}, pipeline.said
    name = re.escape(variables["CI_REGISTRY_IMAGE"])
    assert re.search(rf"IMAGE={name}/app@sha256:[0-9a-f]{{64}}", pipeline.said)


@pytest.mark.pipeline
@pytest.mark.containers
def test_a_package_that_the_image_lacks_fails_the_build(
    project: BakedProject, gitlab: GitLab
) -> None:
    require("docker")
    pages = project.read("app/pages.py") + "\nimport shop.prices  # noqa: E402, F401\n"
    left_out = project.read(".dockerignore") + "shop\n"
    push(project, app_in_pages__py=pages, shop_in_prices__py="", __dockerignore=left_out)

    pipeline = gitlab.run(MERGE_REQUEST, "build")

    assert pipeline.jobs == {"build": "failed"}, pipeline.said
    assert "No module named 'shop'" in pipeline.said
