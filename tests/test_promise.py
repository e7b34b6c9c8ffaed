"""The product's promise in one test: edit, commit, push, it is live; and what is broken is not."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emulators.appengine import AppEngine
from tests.conftest import BakedProject
from tests.support.gitlab import DEFAULT_BRANCH, MERGE_REQUEST, GitLab, Pipeline, Variables
from tests.support.tools import require
from tests.support.visitors import Load, ask, connect

pytestmark = [pytest.mark.pipeline, pytest.mark.delivery, pytest.mark.containers]

DELIVERY = ("deploy", "promote", "prune")


def job_variables(gae: AppEngine) -> dict[str, str]:
    """Return what a person sets in GitLab, the token of the job, and the way to the emulator."""
    private = {"CLOUDSDK_CONFIG", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"}
    emulator = {k: v for k, v in gae.environment().items() if k not in private}
    return emulator | {
        "GAE_PROJECT": gae.project,
        "GCP_WORKLOAD_IDENTITY_PROVIDER": gae.provider,
        "GCP_SERVICE_ACCOUNT": gae.service_account,
        "GITLAB_OIDC_TOKEN": gae.gitlab_token(),
    }


def run(gitlab: GitLab, gae: AppEngine, kind: Variables, *jobs: str, **variables: str) -> Pipeline:
    """Run a pipeline, or some of its jobs, against the emulator."""
    variables |= job_variables(gae)
    bundle = Path(variables["SSL_CERT_FILE"])
    return gitlab.run(kind, *jobs, mounts=(bundle,), host_network=True, **variables)


def edit(project: BakedProject, name: str, old: str, new: str) -> None:
    """Edit a file, commit it and push it, as a person does: the hooks look at it."""
    text = project.read(name)
    assert old in text
    project.write(name, text.replace(old, new))
    project.must("git", "commit", "--all", "--message", f"Say {new}")
    project.must("git", "push", "origin", "main")


def front_page(gae: AppEngine) -> str:
    """Visit production."""
    with connect(gae) as connection:
        status, body = ask(connection, "/")
    assert status == 200
    return body.decode()


@pytest.fixture
def project(project: BakedProject) -> BakedProject:
    """Return a project with its tools and an origin, where its pipelines can run as a whole."""
    for tool in ("docker", "gcloud", "gitlab-ci-local"):
        require(tool)
    if sys.platform != "linux":
        pytest.skip("needs containers that share this machine's network")
    return project


@pytest.fixture
def gitlab(project: BakedProject, tmp_path: Path) -> GitLab:
    """Return the GitLab that has the project."""
    assert project
    (tmp_path / "gitlab").mkdir()
    return GitLab(tmp_path / "origin.git", tmp_path / "gitlab")


def test_a_merge_request_gets_a_version_to_look_at(project: BakedProject, gitlab: GitLab) -> None:
    project.must("git", "push", "--no-verify", "origin", "main")
    with AppEngine() as gae:
        assert run(gitlab, gae, DEFAULT_BRANCH, "deploy").jobs == {"deploy": "passed"}
        before = gae.traffic

        review = run(gitlab, gae, MERGE_REQUEST, "review", REVIEW_APPS="true")
        assert review.jobs == {"review": "passed"}, review.said
        assert gae.version_url("mr-7") in review.said  # where the environment's link leads
        assert gae.traffic == before

        stop = run(gitlab, gae, MERGE_REQUEST, "stop_review", REVIEW_APPS="true")
        assert stop.jobs == {"stop_review": "passed"}, stop.said
        assert "mr-7" not in gae.versions


def test_edit_commit_push_it_is_live(
    project: BakedProject, gitlab: GitLab, record_property: Callable[[str, object], None]
) -> None:
    with AppEngine() as gae:
        project.must("git", "push", "origin", "main")
        first = run(gitlab, gae, DEFAULT_BRANCH, "deploy")  # App Engine's first version serves
        assert first.jobs == {"deploy": "passed"}, first.said
        (a,) = gae.traffic
        assert "Hello World!" in front_page(gae)

        with Load(gae, seconds=240) as load:
            edit(project, "app/templates/index.html", "<p>This", "<p>News! This")
            second = run(gitlab, gae, DEFAULT_BRANCH)
        passed = {job for job, how in second.jobs.items() if how == "passed"}
        assert passed >= {"check", "test", "build", *DELIVERY}, second.said
        (b,) = gae.traffic
        assert b > a
        assert "News!" in front_page(gae)
        assert load.lost == []
        assert set(load.revisions) == {a, b}

        edit(project, "app.yaml", "app:create_app()", "app:create_nothing()")  # no check sees it
        third = run(gitlab, gae, DEFAULT_BRANCH, *DELIVERY)
        assert third.jobs["deploy"] == "failed", third.said
        assert "promote" not in third.jobs
        assert list(gae.traffic) == [b]
        assert sorted(gae.versions) == [a, b]
        assert "News!" in front_page(gae)

        back = run(gitlab, gae, DEFAULT_BRANCH, "rollback")
        assert back.jobs == {"rollback": "passed"}, back.said
        assert list(gae.traffic) == [a]
        assert "News!" not in front_page(gae)
        logs = first.said + second.said + third.said + back.said
        assert not [secret for secret in gae.secrets() if secret in logs]
    for name, pipeline in {"first": first, "second": second, "rollback": back}.items():
        record_property(f"{name}_seconds", round(pipeline.seconds, 1))
        print(f"{name}: {pipeline.seconds:.1f} s")
