"""The real gcloud works with Cloud Run's emulator: every command that a delivery needs."""

import json
import re
from pathlib import Path

import pytest
import yaml

from emulators.cloudrun import CloudRun
from tests.emulators.cloudrun import HELLO, Person, get, shown

pytestmark = [
    pytest.mark.delivery,
    pytest.mark.containers,
    pytest.mark.xdist_group("cloudrun"),
]

FLAGS = """\
--max-instances: 4
--cpu-throttling: true
--cpu: 1
--cpu-boost: true
--memory: 512Mi
--concurrency: 16
--timeout: 60
--execution-environment: gen1
--startup-probe: httpGet.path=/health,periodSeconds=2,timeoutSeconds=2,failureThreshold=30
--liveness-probe: httpGet.path=/health,periodSeconds=10,timeoutSeconds=5,failureThreshold=3
--session-affinity: false
--ingress: all
"""


@pytest.fixture
def person(cloud: CloudRun, tmp_path: Path) -> Person:
    """Return the owner of the project, with a file of flags as a baked project has it."""
    (tmp_path / "cloudrun.yaml").write_text(FLAGS, "utf-8")
    return Person(cloud, tmp_path)


def deploy(image: str, *more: str) -> tuple[str, ...]:
    """Return the command by which a version is delivered."""
    options = ("--no-traffic", "--flags-file=cloudrun.yaml", "--quiet")
    return ("deploy", "demo", f"--image={image}", *options, *more)


def test_deploys_a_tag_moves_traffic_and_deletes(person: Person, image: str) -> None:
    cloud = person.cloud
    person.must(*deploy(image, "--tag=two", "--revision-suffix=two", "--update-env-vars=A=1"))
    assert cloud.traffic == {"one": 100}
    assert get(cloud, cloud.version_url("two"))[0] == 200
    template = cloud.revision("two").template
    assert template["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert template["spec"]["containerConcurrency"] == 16
    assert template["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"] == "4"

    described = person.ask("services", "describe", "demo")
    assert described["status"] == shown(cloud)["status"]
    assert described["status"]["url"] == cloud.url
    listed = person.ask("revisions", "list", "--service=demo")
    assert [each["metadata"]["name"] for each in listed] == ["demo-two", "demo-one"]
    assert person.ask("services", "list")[0]["metadata"]["name"] == "demo"

    person.must("services", "update-traffic", "demo", "--to-tags=two=25")
    assert cloud.traffic == {"one": 75, "two": 25}
    person.must("services", "update-traffic", "demo", "--to-tags=two=100")
    assert cloud.traffic == {"two": 100}
    busy = person.run("revisions", "delete", "demo-one", "--quiet")
    assert busy.returncode == 1
    assert "cannot be directly deleted because it is actively serving" in busy.stderr
    person.must("services", "update-traffic", "demo", "--remove-tags=one")
    person.must("revisions", "delete", "demo-one", "--quiet")
    assert cloud.versions == ["two"]
    assert list(cloud.service.revisions) == ["demo-two"]
    assert cloud.unmodelled == []


def test_is_told_why_a_revision_does_not_start(person: Person, image: str) -> None:
    done = person.run(*deploy(image, "--revision-suffix=bad", "--update-env-vars=MODE=exit"))
    assert done.returncode == 1
    assert "Deployment failed" in done.stderr
    assert "Revision 'demo-bad' is not ready and cannot serve traffic." in done.stderr
    assert person.cloud.traffic == {"one": 100}
    written = person.must("services", "logs", "read", "demo", "--limit=20")
    assert "mode is exit" in written


def test_waits_for_a_change_that_takes_time(person: Person, image: str) -> None:
    person.cloud.run.latency = 1.0
    person.must(*deploy(image, "--tag=two", "--revision-suffix=two"))
    assert person.cloud.versions == ["one", "two"]
    assert any(":wait" in call.path for call in person.cloud.requests)


def test_reports_traffic_that_never_moves(person: Person, image: str) -> None:
    person.must(*deploy(image, "--tag=two", "--revision-suffix=two"))
    person.cloud.run.refuse_next("Internal error while routing.")
    done = person.run("services", "update-traffic", "demo", "--to-tags=two=100")
    assert done.returncode == 1
    assert "Internal error while routing." in done.stderr
    assert person.cloud.traffic == {"one": 100}


def test_is_refused_where_somebody_else_was_faster(person: Person) -> None:
    person.cloud.fail_next("PUT", "/services/demo", 409, message="Conflict for resource 'demo'")
    done = person.run("services", "update-traffic", "demo", "--to-latest")
    assert done.returncode == 1
    assert "ABORTED: Conflict for resource 'demo'" in done.stderr
    assert [each.method for each in person.cloud.requests].count("PUT") == 1, "it tries once"


def test_cannot_give_a_revision_a_name_that_is_taken(person: Person, image: str) -> None:
    options = ("--revision-suffix=one", "--update-env-vars=A=1")
    done = person.run(*deploy(image, *options))
    assert done.returncode == 1
    assert "with different configuration already exists" in done.stderr


def test_creates_a_service_that_is_public_without_a_policy(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person.cloud.run, "services", {})
    refused = person.run("deploy", "fresh", f"--image={HELLO}", "--no-traffic")
    assert refused.returncode == 1
    assert "--no-traffic not supported when creating a new service" in refused.stderr
    person.must("deploy", "fresh", f"--image={HELLO}", "--no-invoker-iam-check", "--quiet")
    assert get(person.cloud, person.cloud.url)[0] == 200
    assert person.cloud.service.policy == {}


def test_opens_a_service_by_its_policy(person: Person) -> None:
    del person.cloud.service.annotations["run.googleapis.com/invoker-iam-disabled"]
    assert get(person.cloud, person.cloud.url)[0] == 403
    member, role = "--member=allUsers", "--role=roles/run.invoker"
    person.must("services", "add-iam-policy-binding", "demo", member, role)
    assert get(person.cloud, person.cloud.url)[0] == 200
    policy = person.ask("services", "get-iam-policy", "demo")
    assert policy["bindings"] == [{"members": ["allUsers"], "role": "roles/run.invoker"}]


def test_replaces_a_service_whatever_version_a_file_names(person: Person, image: str) -> None:
    person.must(*deploy(image, "--revision-suffix=two"))
    described = person.ask("services", "describe", "demo")
    person.must("services", "update", "demo", "--min=1")
    described["spec"]["traffic"][0]["tag"] = "again"
    (person.folder / "service.yaml").write_text(yaml.safe_dump(described), "utf-8")
    person.must("services", "replace", "service.yaml", "--quiet")
    assert person.cloud.versions == ["again", "one"]
    assert "run.googleapis.com/minScale" not in person.cloud.service.annotations
    assert person.cloud.unmodelled == []


def test_deletes_a_service(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person.cloud.run, "services", dict(person.cloud.run.services))
    monkeypatch.setattr(person.cloud.service, "revisions", {})
    person.must("services", "delete", "demo", "--quiet")
    done = person.run("services", "describe", "demo")
    assert done.returncode == 1
    assert "Cannot find service [demo]" in done.stderr


def test_says_which_permission_is_missing(person: Person, image: str) -> None:
    with person.cloud.without("run.services.update"):
        done = person.run(*deploy(image))
    assert done.returncode == 1
    words = "'run.services.update' denied on resource 'namespaces/demo-project/services/demo'"
    assert words in done.stderr
    with person.cloud.without("iam.serviceAccounts.actAs"):
        done = person.run(*deploy(image))
    assert "Permission 'iam.serviceaccounts.actAs' denied on service account" in done.stderr


# Signing in


def test_signs_in_with_a_key(person: Person) -> None:
    person.variables = person.cloud.environment()
    key = person.folder / "key.json"
    key.write_text(json.dumps(person.cloud.service_account_key()), "utf-8")
    signed_in = person.gcloud("auth", "activate-service-account", f"--key-file={key}")
    assert signed_in.returncode == 0, signed_in.stderr
    person.ask("services", "describe", "demo")
    assert person.cloud.requests[-1].account == person.cloud.service_account


def test_signs_in_without_a_key_and_deploys(person: Person, image: str) -> None:
    person.variables = person.cloud.environment() | {"TERM": "dumb"}
    token, config = person.folder / "token", person.folder / "credentials.json"
    token.write_text(person.cloud.gitlab_token(), "utf-8")
    made = person.gcloud(
        *("iam", "workload-identity-pools", "create-cred-config", person.cloud.provider),
        f"--service-account={person.cloud.service_account}",
        *(f"--credential-source-file={token}", f"--output-file={config}"),
    )
    assert made.returncode == 0, made.stderr
    # gcloud writes Google's own addresses; everything else of its file stays.
    google = r"https://(sts|iamcredentials)\.googleapis\.com/"
    config.write_text(re.sub(google, person.cloud.api_url, config.read_text("utf-8")), "utf-8")
    person.variables["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"] = str(config)
    person.must(*deploy(image, "--tag=two", "--revision-suffix=two"))
    assert person.cloud.requests[-1].account == person.cloud.service_account
    assert person.cloud.versions == ["one", "two"]


def test_is_refused_without_credentials(person: Person) -> None:
    person.variables = person.cloud.environment()
    done = person.run("services", "describe", "demo")
    assert done.returncode == 1
    assert "do not currently have an active account" in done.stderr
    assert person.cloud.requests == []
