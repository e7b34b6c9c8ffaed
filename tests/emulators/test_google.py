"""The emulator of the APIs that set a project up, asked by the real gcloud."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.google import Google
from emulators.google.cel import evaluate
from emulators.google.policies import Policy
from tests.conftest import clean_environment
from tests.emulators.clients import call
from tests.support.tools import require

ACCOUNT = "ada@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def google() -> Iterator[Google]:
    """Return a project in which nothing was ever done."""
    with Google() as emulator:
        yield emulator


def gcloud(google: Google, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the owner."""
    require("gcloud")
    return subprocess.run(
        ["gcloud", *arguments, "--project=demo-project", "--format=json"],
        env=clean_environment() | google.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.delivery
def test_a_project_is_set_up_in_google_s_order(google: Google) -> None:
    refused = gcloud(google, "iam", "service-accounts", "create", "ada")
    assert "SERVICE_DISABLED" in refused.stderr
    assert (
        gcloud(
            google, "services", "enable", "iam.googleapis.com", "appengine.googleapis.com"
        ).returncode
        == 0
    )
    missing = gcloud(google, "app", "describe")
    assert "gcloud app create" in missing.stderr
    assert gcloud(google, "app", "create", "--region=europe-west3").returncode == 0
    assert "already contains" in gcloud(google, "app", "create", "--region=europe-west3").stderr
    assert gcloud(google, "iam", "service-accounts", "create", "ada").returncode == 0
    assert "already exists" in gcloud(google, "iam", "service-accounts", "create", "ada").stderr
    assert google.gae.unmodelled == []


@pytest.mark.delivery
def test_without_billing_no_api_is_switched_on(google: Google) -> None:
    google.billing = False
    refused = gcloud(google, "services", "enable", "cloudbuild.googleapis.com")
    assert "Billing account for project '123456789012' is not found" in refused.stderr
    described = gcloud(google, "billing", "projects", "describe", "demo-project")
    assert "billingEnabled" not in described.stdout


@pytest.mark.fast
def test_a_caller_may_do_what_its_roles_say(google: Google) -> None:
    google.iam.add(ACCOUNT)
    google.policy.bindings.append(
        {"role": "roles/appengine.deployer", "members": [f"serviceAccount:{ACCOUNT}"]}
    )
    assert google.permits(ACCOUNT, "appengine.versions.create")
    assert not google.permits(ACCOUNT, "appengine.services.update")
    assert google.permits(google.owner, "appengine.services.update")
    with google.deny("appengine.services.update"):
        assert not google.permits(google.owner, "appengine.services.update")


@pytest.mark.fast
def test_a_version_needs_what_its_caller_and_its_build_need() -> None:
    with Google(fresh=False) as google:
        google.iam.add(ACCOUNT)
        act_as = google.iam.policies[google.runtime]

        def grant(policy: Policy, email: str, *roles: str) -> None:
            member = f"serviceAccount:{email}"
            policy.bindings += [{"role": f"roles/{role}", "members": [member]} for role in roles]

        def create() -> str:
            path = "v1/apps/demo-project/services/default/versions"
            token = google.gae.tokens.issue(ACCOUNT)
            body = {"id": "one", "runtime": "python313"}
            return str(call(google.gae, "POST", path, body, token)[1]["error"]["message"])

        assert "appengine.versions.create" in create()
        grant(google.policy, ACCOUNT, "appengine.deployer")
        assert "actAs" in create()
        grant(act_as, ACCOUNT, "iam.serviceAccountUser")
        assert "cloudbuild.builds.create" in create()
        grant(google.policy, ACCOUNT, "cloudbuild.builds.editor")
        assert "storage.buckets.get denied" in create()
        grant(google.policy, google.runtime, "storage.admin", "logging.logWriter")
        assert "artifactregistry.repositories.uploadArtifacts denied" in create()
        grant(google.policy, google.runtime, "artifactregistry.createOnPushWriter")
        assert create() == "The deployment has no files.", "only App Engine itself refuses it"


@pytest.mark.fast
def test_another_project_and_an_api_that_is_off_are_refused(google: Google) -> None:
    token = google.gae.tokens.issue(google.owner)

    def ask(path: str) -> str:
        return str(call(google.gae, "GET", path, token=token)[1].get("error", {}).get("message"))

    assert ask("v1/projects/other/serviceAccounts").endswith("does not have permission")
    assert "has not been used in project 123456789012" in ask("v1/apps/demo-project")
    google.enabled.add("appengine.googleapis.com")
    assert "Could not find Application" in ask("v1/apps/demo-project")


@pytest.mark.fast
def test_a_policy_is_replaced_only_as_it_was_read() -> None:
    policy = Policy(
        [
            {
                "role": "roles/viewer",
                "members": ["user:a@example.com"],
                "condition": {"expression": "x"},
            }
        ]
    )
    read = policy.read(3)
    assert read["version"] == 3
    assert "condition" not in json.dumps(policy.read(1))
    policy.write(read, lambda _: True)
    for wrong in (read, policy.read(3) | {"version": 1}):
        with pytest.raises(Exception, match=r"concurrent|version 3"):
            policy.write(wrong, lambda _: True)
    with pytest.raises(Exception, match="does not exist"):
        policy.write(policy.read(3), lambda _: False)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("assertion.a == '1' && assertion.b == 'x'", True),
        ("assertion.a == '2' || assertion.b != 'x'", False),
        ('"project:" + assertion.a + ":job:" + assertion.b', "project:1:job:x"),
    ],
)
def test_conditions_and_mappings_are_evaluated(expression: str, value: Any) -> None:
    assert evaluate(expression, {"a": "1", "b": "x"}) == value
