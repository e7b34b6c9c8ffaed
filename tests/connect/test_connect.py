"""What connect promises: it plans, asks, makes what is lacking, and nothing twice."""

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from emulators.gitlab.server import DEVELOPER
from tests.connect.conftest import Pair, both, on_cloud_run

pytestmark = pytest.mark.delivery

DEPLOYER = "gitlab-deployer@demo-project.iam.gserviceaccount.com"
RUNTIME = "demo-project@appspot.gserviceaccount.com"
RUNTIMES = {
    "app-engine": RUNTIME,
    "cloud-run": "run-hello-delivery@demo-project.iam.gserviceaccount.com",
}
POOL = "projects/123456789012/locations/global/workloadIdentityPools/gitlab"
SERVICE = "hello-delivery"
FOREIGN = [
    {
        "role": "roles/viewer",
        "members": ["user:eve@example.com"],
        "condition": {"expression": "true", "title": "x"},
    }
]


def gcloud(pair: Pair, *arguments: str) -> Any:
    """Ask the real gcloud."""
    command = ["gcloud", *arguments, "--format=json", "--project=demo-project"]
    done = subprocess.run(
        command, env=pair.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@both
def test_a_fresh_pair_is_connected_and_the_second_time_nothing_is_to_do(pair: Pair) -> None:
    pair.connect()
    state, changes = pair.state(), pair.changes()
    again = pair.connect()
    assert pair.changes() == changes
    assert pair.state() == state
    assert "nothing was changed" in again.out
    assert pair.google.gae.unmodelled == []
    assert pair.gitlab.unmodelled == []
    assert pair.gitlab.variable(pair.names[0])
    service_account = pair.gitlab.variable("GCP_SERVICE_ACCOUNT")
    assert service_account
    assert (service_account["value"], service_account["protected"]) == (DEPLOYER, True)


@both
def test_only_jobs_of_this_project_on_protected_branches_become_the_deployer(pair: Pair) -> None:
    pair.connect()
    provider = pair.google.iam.providers["gitlab", "gitlab"]
    assert provider["attributeCondition"] == (
        "assertion.project_id == '4242' && assertion.job_project_id == '4242'"
        " && assertion.ref_protected == 'true'"
    )
    url = pair.gitlab.url
    assert provider["oidc"] == {"issuerUri": url, "allowedAudiences": [url]}
    who = pair.google.iam.policies[DEPLOYER].bindings
    assert who == [
        {
            "role": "roles/iam.workloadIdentityUser",
            "members": [f"principalSet://iam.googleapis.com/{POOL}/attribute.ref_protected/true"],
        }
    ]
    (act_as,) = pair.google.iam.policies[RUNTIMES[pair.target]].bindings
    assert act_as["members"] == [f"serviceAccount:{DEPLOYER}"]


def test_what_others_have_set_stays(pair: Pair) -> None:
    pair.google.policy.bindings += json.loads(json.dumps(FOREIGN))
    pair.connect()
    assert FOREIGN[0] in pair.google.policy.bindings
    pair.undo()
    assert FOREIGN[0] in pair.google.policy.bindings


def test_undo_leaves_both_sides_as_before(pair: Pair) -> None:
    pair.must("connect", "--region", "europe-west", "--yes")
    said = pair.must("connect", "--undo", "--yes").out
    for name in ("App Engine application", "9 APIs", "GitLab default branch"):
        assert re.search(rf"^{name} +stays +\S", said, re.MULTILINE), "and why"
    bare = pair.state()
    assert bare["accounts"] == {RUNTIME: {"displayName": "App Engine default service account"}}
    assert bare["variables"] == []
    # Where the application and its account's roles are older than connect, they stay.
    pair.google.policy.bindings.append(
        {"role": "roles/logging.logWriter", "members": [f"serviceAccount:{RUNTIME}"]}
    )
    before = pair.state()
    pair.must("connect", "--yes")
    pair.must("connect", "--undo", "--yes")
    assert pair.state() == before
    changes = pair.changes()
    assert "nothing was changed" in pair.must("connect", "--undo", "--yes").out
    assert pair.changes() == changes


def test_a_deleted_pool_comes_back(pair: Pair) -> None:
    pair.connect()
    pair.undo()
    assert pair.google.iam.pools["gitlab"]["state"] == "DELETED"
    pair.connect()
    assert pair.google.iam.pools["gitlab"]["state"] == "ACTIVE"
    assert pair.google.iam.providers["gitlab", "gitlab"]["state"] == "ACTIVE"


@both
def test_nothing_happens_without_a_yes(pair: Pair) -> None:
    before = pair.state()
    where = ("--region", pair.region)
    refused = pair.run("connect", *where, typed="n\n")
    assert refused.code == 3
    dry = pair.must("connect", *where, "--dry-run")
    assert "to create" in dry.out
    printed = pair.must("connect", "--print", *where)
    assert "gcloud iam service-accounts create gitlab-deployer" in printed.out
    assert pair.changes() == []
    assert pair.state() == before
    assert pair.run("connect", *where, typed="y\n").code == 0


def test_the_region_can_be_typed(pair: Pair) -> None:
    assert "to create" in pair.must("connect", "--dry-run").out
    assert pair.run("connect", typed="europe-west\ny\n").code == 0
    assert pair.google.gae.admin.region == "europe-west"


@both
def test_slow_operations_and_late_accounts_are_waited_for(pair: Pair) -> None:
    pair.google.latency = 0.3
    pair.google.iam.late = 2
    pair.connect()


def test_somebody_else_s_change_at_the_same_time_is_kept(pair: Pair) -> None:
    pair.google.gae.fail_next("POST", "projects/demo-project:setIamPolicy", 409)
    pair.google.gae.fail_next("PUT", "/iam", 409)
    pair.google.gae.drop_next("POST", "setIamPolicy", applied=True)
    pair.connect()
    pair.must("doctor")


@pytest.mark.parametrize("what", ["provider", "variable"])
def test_what_is_foreign_is_not_overwritten_unseen(pair: Pair, what: str) -> None:
    pair.connect()
    if what == "provider":
        provider = pair.google.iam.providers["gitlab", "gitlab"]
        provider |= {"attributeCondition": "assertion.project_id == '7'", "description": "ours"}
    else:
        variable = pair.gitlab.variable("GCP_SERVICE_ACCOUNT")
        assert variable
        variable |= {"value": "someone@else.iam.gserviceaccount.com", "description": None}
    before, changes = pair.state(), pair.changes()
    refused = pair.run("connect", "--yes")
    assert refused.code == 3
    assert {"provider": "== '7'", "variable": "someone@else"}[what] in refused.out
    assert (pair.state(), pair.changes()) == (before, changes)
    assert pair.run("connect", typed="y\n").code == 0
    assert pair.state() != before


def test_review_apps_get_an_account_of_their_own(pair: Pair) -> None:
    pair.connect("--reviews")
    reviewer = pair.gitlab.variable("GCP_SERVICE_ACCOUNT", "review/*")
    assert reviewer
    assert not reviewer["protected"]
    assert (
        "ref_protected" not in pair.google.iam.providers["gitlab", "gitlab"]["attributeCondition"]
    )
    (who,) = pair.google.iam.policies[reviewer["value"]].bindings
    assert who["members"][0].endswith("/attribute.project_id/4242")
    assert not pair.google.permits(reviewer["value"], "appengine.services.update")
    pair.must("connect", "--undo", "--yes")
    assert list(pair.google.iam.accounts) == [RUNTIME]


@both
def test_a_key_goes_from_google_into_gitlab(pair: Pair) -> None:
    pair.connect("--with-key")
    found = pair.gitlab.variable(pair.names[1])
    assert found
    assert (found["protected"], found["masked"]) == (True, True)
    assert json.loads(found["value"])["client_email"] == DEPLOYER
    assert pair.google.iam.pools == {}
    changes = pair.changes()
    pair.connect("--with-key")
    assert pair.changes() == changes
    pair.undo()
    assert (pair.google.iam.keys, pair.gitlab.variables) == ({}, [])


def block_billing(pair: Pair) -> None:
    pair.google.billing = False


def block_accounts(pair: Pair) -> None:
    pair.google.org_policies.add("iam.disableServiceAccountCreation")


def block_scope(pair: Pair) -> None:
    pair.gitlab.token = pair.gitlab.issue("read_api")


def block_role(pair: Pair) -> None:
    pair.gitlab.token = pair.gitlab.issue(role=DEVELOPER)


def block_version(pair: Pair) -> None:
    pair.gitlab.version = "18.1.4"


def block_token(pair: Pair) -> None:
    pair.gitlab.token = "glpat-that-was-revoked"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (block_billing, "linkedaccount"),
        (block_accounts, "iam.disableServiceAccountCreation"),
        (block_scope, "scope"),
        (block_role, "Maintainer"),
        (block_version, "18.1.4"),
    ],
)
def test_what_is_in_the_way_is_said_before_anything_is_made(
    pair: Pair, block: Callable[[Pair], None], said: str
) -> None:
    block(pair)
    refused = pair.run("connect", "--region", pair.region, "--yes")
    assert refused.code == 3, refused.said
    assert said in refused.said
    assert "blocked" in refused.out
    assert pair.changes() == []


def test_a_wrong_token_is_not_repeated(pair: Pair) -> None:
    block_token(pair)
    refused = pair.run("connect", "--region", "europe-west", "--yes")
    assert refused.code != 0
    assert "GITLAB_TOKEN" in refused.said
    assert pair.gitlab.token not in refused.said


def test_an_unknown_region_is_named_with_those_there_are(pair: Pair) -> None:
    refused = pair.run("connect", "--region", "europe-west1", "--yes")
    assert refused.code == 3
    assert "europe-west1" in refused.said
    assert "europe-west3" in refused.said
    assert pair.changes() == []


@both
def test_by_hand_nothing_is_left_to_do(pair: Pair) -> None:
    """What --print prints is typed into the real gcloud: the plan has nothing left for Google."""
    env = pair.environment()

    def gcloud(command: str) -> None:
        done = subprocess.run(
            ["sh", "-c", command], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"

    printed = pair.must("connect", "--print", "--region", pair.region).out
    lines = [line for line in printed.splitlines() if line.startswith(("gcloud", "echo"))]
    assert len(lines) > 10
    for line in lines:
        gcloud(line)
    left = pair.must("connect", "--region", pair.region, "--dry-run").out
    to_do = [line for line in left.splitlines() if "  to create  " in line or "  differs  " in line]
    assert [line for line in to_do if not line.startswith("variable")] == []


@both
def test_gcloud_reads_what_connect_made(pair: Pair) -> None:
    pair.connect()
    provider = gcloud(
        pair,
        *("iam", "workload-identity-pools", "providers", "describe", "gitlab"),
        *("--location=global", "--workload-identity-pool=gitlab"),
    )
    assert provider["state"] == "ACTIVE"
    assert gcloud(pair, "iam", "service-accounts", "describe", DEPLOYER)["email"] == DEPLOYER
    policy = gcloud(pair, "projects", "get-iam-policy", "demo-project")
    role, images = {
        "app-engine": ("roles/appengine.serviceAdmin", "gae-standard"),
        "cloud-run": ("roles/run.developer", SERVICE),
    }[pair.target]
    assert role in {binding["role"] for binding in policy["bindings"]}
    services = gcloud(pair, "services", "list", "--enabled")
    assert {each["config"]["name"] for each in services} == pair.google.enabled
    for email in pair.google.iam.accounts:
        shown = gcloud(pair, "iam", "service-accounts", "get-iam-policy", email)
        assert shown.get("bindings", []) == pair.google.iam.policies[email].bindings
    for bucket, own in pair.google.buckets.items():
        shown = gcloud(pair, "storage", "buckets", "get-iam-policy", f"gs://{bucket}")
        assert shown["bindings"] == own.bindings != []
    if pair.target == "app-engine":
        assert gcloud(pair, "app", "describe")["locationId"] == pair.region
    repository = gcloud(
        pair, "artifacts", "repositories", "describe", images, "--location=europe-west1"
    )
    assert set(repository["cleanupPolicies"]) == {"delivery-keep-newest", "delivery-delete-old"}


@on_cloud_run
def test_gcloud_reads_the_service_and_where_its_record_and_images_are(pair: Pair) -> None:
    pair.connect()
    service = gcloud(pair, "run", "services", "describe", SERVICE, "--region=europe-west1")
    assert service["metadata"]["annotations"]["run.googleapis.com/invoker-iam-disabled"] == "true"
    spec = service["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == RUNTIMES["cloud-run"]
    assert spec["containers"][0]["image"] == "us-docker.pkg.dev/cloudrun/container/hello"
    bucket = "gs://demo-project-delivery-europe-west1"
    about = gcloud(pair, "storage", "buckets", "describe", bucket)
    assert about["uniform_bucket_level_access"] is True
    assert about["public_access_prevention"] == "enforced"
    images = ("artifacts", "repositories", "get-iam-policy", SERVICE, "--location=europe-west1")
    for policy in (
        gcloud(pair, "storage", "buckets", "get-iam-policy", bucket),
        gcloud(pair, *images),
    ):
        (binding,) = policy["bindings"]
        assert binding["members"] == [f"serviceAccount:{DEPLOYER}"]


@both
def test_the_commands_of_the_readme_on_top_change_nothing(pair: Pair) -> None:
    pair.connect()
    before = pair.google.state() | pair.google.run.state()
    readme = (pair.path / "delivery/README.md").read_text("utf-8")
    by_hand = readme.partition("### By hand")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", by_hand, re.MULTILINE | re.DOTALL)
    script = "\n".join(blocks)
    for old, new in {
        "your-project-id": "demo-project",
        "12345678": "4242",
        "https://gitlab.com": pair.gitlab.url,
    }.items():
        assert old in script
        script = script.replace(old, new)
    done = subprocess.run(
        ["sh", "-c", script], env=pair.environment(), capture_output=True, text=True, check=False
    )
    # What exists is not made again, and no other error is met.
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert [e for e in errors if "already" not in e and "ALREADY_EXISTS" not in e] == []
    assert f"GCP_SERVICE_ACCOUNT={DEPLOYER}" in done.stdout
    assert pair.google.state() | pair.google.run.state() == before
    assert "nothing was changed" in pair.connect().out
