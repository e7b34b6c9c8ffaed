"""From nothing to a page: bake, connect, doctor, push, pipeline, page, doctor.

The pipeline has the rights that connect gave, and no others.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emulators.gitlab import GitLab as GitLabApi
from emulators.google import Google
from tests.conftest import Bake
from tests.support.gitlab import DEFAULT_BRANCH, GitLab
from tests.support.tools import require
from tests.support.visitors import ask, connect

pytestmark = [pytest.mark.pipeline, pytest.mark.delivery, pytest.mark.containers]


def test_from_nothing_to_a_page(
    bake: Bake, tools: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for tool in ("docker", "gcloud", "gitlab-ci-local"):
        require(tool)
    if sys.platform != "linux":
        pytest.skip("needs containers that share this machine's network")
    with Google() as google, GitLabApi("client/project") as api:
        project = bake()
        project.env = {"VENV": str(tools)}
        project.add_origin(tmp_path)
        where = ("--gitlab-url", api.url, "--gitlab-project", "client/project")
        laptop = google.environment() | api.environment() | {"GAE_PROJECT": google.project}

        def delivery(verb: str, *options: str) -> str:
            command = (sys.executable, "-m", "delivery", verb, *where, *options)
            return project.must(*command, **laptop)

        said = delivery("connect", "--yes", "--region", "europe-west")
        said += delivery("doctor")
        project.must("git", "push", "--no-verify", "origin", "main")

        variables = {row["key"]: row["value"] for row in api.variables}
        private = {"CLOUDSDK_CONFIG"}
        nobody = {k: v for k, v in google.environment(account="").items() if k not in private}
        token = google.gae.gitlab_token(
            iss=api.url, aud=api.url, project_id="4242", job_project_id="4242"
        )
        (tmp_path / "gitlab").mkdir()
        gitlab = GitLab(tmp_path / "origin.git", tmp_path / "gitlab")
        pipeline = gitlab.run(
            DEFAULT_BRANCH,
            *("deploy", "promote", "prune"),
            mounts=(Path(nobody["SSL_CERT_FILE"]),),
            host_network=True,
            **nobody,
            **variables,
            GITLAB_OIDC_TOKEN=token,
        )
        ended = {"deploy": "passed", "promote": "passed", "prune": "passed"}
        assert pipeline.jobs == ended, pipeline.said
        with connect(google.gae) as connection:
            status, body = ask(connection, "/")
        assert (status, b"Hello World!" in body) == (200, True)
        said += delivery("doctor")  # still well
        assert google.gae.unmodelled == []
        # The roles are what it takes, and no more than one account has them.
        calls = [call for call in google.requests if call.account.startswith("gitlab-deployer@")]
        assert {call.status for call in calls} <= {200, 304, 404}
        secrets = [*google.secrets(), *api.tokens]
        assert not [secret for secret in secrets if secret in said + pipeline.said]
    record_property("pipeline_seconds", round(pipeline.seconds, 1))
