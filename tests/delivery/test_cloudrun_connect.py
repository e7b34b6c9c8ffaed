"""connect and doctor for Cloud Run, in this very process; what all targets share: test_connect."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery.cloudrun import DESTINATION
from delivery.cloudrun.connect import CloudRun
from delivery.cloudrun.settings import PLACEHOLDERS

from emulators.cloudrun import roles
from emulators.gitlab import GitLab
from emulators.google import Google
from tests.delivery.laptop import Laptop

DEPLOYER = "gitlab-deployer@demo-project.iam.gserviceaccount.com"
RUNTIME = "run-demo@demo-project.iam.gserviceaccount.com"
BUCKET = "demo-project-delivery-europe-west1"
SERVICE = "europe-west1/demo"


@pytest.fixture
def laptop(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Laptop]:
    """Return a laptop, and two empty projects."""
    root = tmp_path / "project"
    (root / "bin").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "demo"\n', "utf-8")
    with Google() as google, GitLab() as gitlab:
        variables = google.run.environment() | {"GCP_PROJECT": google.project}
        # urllib reads them where they are in force, which here is this very process.
        for name in ("http_proxy", "no_proxy"):
            monkeypatch.setenv(name, variables[name])
        yield Laptop(
            google, gitlab, root, capfd, monkeypatch, DESTINATION, variables, "europe-west1"
        )


@pytest.mark.parametrize("options", [(), ("--reviews",), ("--with-key",)], ids=str)
def test_there_and_back(laptop: Laptop, options: tuple[str, ...]) -> None:
    before = laptop.google.state() | laptop.google.run.state()
    laptop.connect(*options)
    assert "nothing was changed" in laptop.connect(*options)
    code, said = laptop.run("doctor")
    assert code == 0, said
    code, said = laptop.run("connect", "--undo", "--yes")
    assert (code, laptop.gitlab.variables) == (0, []), said
    enabled = {"enabled": laptop.google.state()["enabled"]}  # the application may need them
    assert laptop.google.state() | laptop.google.run.state() == before | enabled


def deliver(laptop: Laptop) -> None:
    """Stand in for a delivery: another image runs, and the bucket has a record."""
    service = laptop.google.run.services("europe-west1").services["demo"]
    service.spec["template"]["spec"]["containers"][0]["image"] = "docker.pkg.dev/demo/app@sha256:1"
    laptop.google.gae.storage.write(BUCKET, "demo.json", b"{}")


def test_all_is_as_the_documents_say(laptop: Laptop) -> None:
    laptop.connect()
    state = laptop.google.run.state()
    assert state["services"][SERVICE] == {
        "description": "made by: python -m delivery connect",
        "invokerIamDisabled": True,
        "template": {"serviceAccount": RUNTIME, "containers": [{"image": PLACEHOLDERS[0]}]},
    }
    bucket = state["buckets"][BUCKET]
    assert (bucket["location"], bucket["labels"]) == (
        "europe-west1",
        {"made-by": "delivery-connect"},
    )
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    values = {row["key"]: (row["value"], row["protected"]) for row in laptop.gitlab.variables}
    assert values.pop("GCP_WORKLOAD_IDENTITY_PROVIDER")
    assert values == {
        "GCP_PROJECT": ("demo-project", True),
        "RUN_REGION": ("europe-west1", True),
        "GCP_SERVICE_ACCOUNT": (DEPLOYER, True),
    }


def test_its_roles_are_those_that_a_delivery_was_tried_with() -> None:
    """The emulator that deliveries are tested on gives its deployer these, and no other."""
    ours = {f"roles/{row.role}" for row in CloudRun.ROLES if "deployer" in row.who}
    assert ours == roles.DEPLOYER


def test_what_was_delivered_outlives_undo(laptop: Laptop) -> None:
    laptop.connect()
    deliver(laptop)
    code, said = laptop.run("connect", "--region", "europe-west1", "--undo", "--yes")
    assert (code, laptop.gitlab.variables) == (0, []), said
    state = laptop.google.run.state()
    assert (list(state["services"]), list(state["buckets"])) == ([SERVICE], [BUCKET])
    assert list(laptop.google.iam.accounts) == [RUNTIME]
    assert laptop.google.buckets[BUCKET].bindings == []
    laptop.connect()


def test_a_service_of_another_name_and_place_is_remembered_in_gitlab(laptop: Laptop) -> None:
    code, said = laptop.run("connect", "--yes", "--service", "shop", RUN_REGION="us-east1")
    assert code == 0, said
    assert laptop.gitlab.variable("RUN_SERVICE")
    assert list(laptop.google.run.state()["services"]) == ["us-east1/shop"]
    code, said = laptop.run("doctor")
    assert (code, "service shop" in said) == (0, True), said
    code, said = laptop.run("connect", "--undo", "--yes")
    assert (code, laptop.google.run.state()["services"]) == (0, {}), said


def test_a_region_is_asked_for_and_looked_at(laptop: Laptop) -> None:
    assert laptop.run("connect", typed="\n")[0] == 2
    assert laptop.run("connect", "--region", "europe")[0] == 2
    assert laptop.run("connect", "--region", "europe-west1", "--service", "No")[0] == 2
    code, said = laptop.run("connect", typed="europe-west1\ny\n")
    assert (code, list(laptop.google.run.state()["services"])) == (0, [SERVICE]), said


def test_what_differs_is_mended_or_left_to_a_person(laptop: Laptop) -> None:
    laptop.connect()
    where = ("--region", "europe-west1", "--yes")
    service = laptop.google.run.services("europe-west1").services["demo"]
    bucket = laptop.google.run.buckets.made[BUCKET]
    access, bucket["iamConfiguration"] = bucket["iamConfiguration"], {}
    del service.annotations["run.googleapis.com/invoker-iam-disabled"]
    _, said = laptop.run("connect", "--region", "europe-west1", "--print")
    assert "gcloud run services update demo" in said
    assert f"gcloud storage buckets update gs://{BUCKET} --uniform" in said
    laptop.connect()
    assert bucket["iamConfiguration"] == access
    assert laptop.google.run.state()["services"][SERVICE]["invokerIamDisabled"] is True
    bucket["labels"], bucket["iamConfiguration"] = {}, {}
    assert laptop.run("connect", *where)[0] == 3  # made by somebody else
    bucket["projectNumber"] = "7"
    code, said = laptop.run("connect", *where)
    assert (code, "another Google Cloud project has it" in said) == (3, True), said
    bucket["projectNumber"] = laptop.google.number
    service.spec["template"]["spec"]["serviceAccountName"] = "other@example.com"
    code, said = laptop.run("connect", *where)
    assert (code, "it runs as other@example.com" in said) == (3, True), said
    assert f"--service-account={RUNTIME} --no-traffic" in said


def test_the_commands_are_printed(laptop: Laptop) -> None:
    _, said = laptop.run("connect", "--region", "europe-west1", "--print")
    assert "gcloud run deploy demo --region=europe-west1 --project=demo-project" in said
    assert f"--service-account={RUNTIME} --image={PLACEHOLDERS[0]}" in said
    assert "gcloud artifacts repositories add-iam-policy-binding demo" in said
    assert "roles/storage.objectAdmin" in said


def test_a_new_account_is_waited_for(laptop: Laptop) -> None:
    laptop.google.iam.late = 1
    laptop.google.latency = 0.1
    laptop.connect()
    tried = [call for call in laptop.google.requests if "services?serviceId=" in call.path]
    assert [call.status for call in tried] == [403, 200]


def test_in_a_job_the_deployer_is_asked(laptop: Laptop) -> None:
    laptop.connect()
    job = laptop.job()
    laptop.google.owner = DEPLOYER  # whom `deny` is about
    code, said = laptop.run("doctor", where=False, **job)
    assert (code, said.count("ok  ")) == (0, 8), said
    denied = ("run.services.update", "iam.serviceAccounts.actAs", "storage.objects.create")
    with laptop.google.deny(*denied, "artifactregistry.repositories.uploadArtifacts"):
        code, said = laptop.run("doctor", where=False, **job)
    assert (code, said.count("NO  ")) == (1, 4), said
    with laptop.google.deny("run.services.get"):
        assert laptop.run("doctor", where=False, **job)[0] == 1
    code, said = laptop.run("doctor", where=False, **job | {"RUN_REGION": "us-east1"})
    assert (code, "service demo: there is none in us-east1" in said) == (1, True), said
