"""connect and doctor in this very process, so that coverage is measured; gcloud is a script."""

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivery.appengine import DESTINATION

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.conftest import clean_environment
from tests.delivery.laptop import Laptop

DEPLOYER = "gitlab-deployer@demo-project.iam.gserviceaccount.com"
RUNTIME = "demo-project@appspot.gserviceaccount.com"


@pytest.fixture
def laptop(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Laptop]:
    """Return a laptop, and two empty projects."""
    (tmp_path / "project" / "bin").mkdir(parents=True)
    (tmp_path / "project" / "app.yaml").touch()
    with Google() as google, GitLab() as gitlab:
        variables = {"GAE_PROJECT": google.project}
        root = tmp_path / "project"
        yield Laptop(
            google, gitlab, root, capfd, monkeypatch, DESTINATION, variables, "europe-west"
        )


@pytest.mark.parametrize("options", [(), ("--reviews",), ("--with-key",)], ids=str)
def test_there_and_back(laptop: Laptop, options: tuple[str, ...]) -> None:
    laptop.connect(*options)
    assert "nothing was changed" in laptop.connect(*options)
    code, said = laptop.run("doctor")
    assert code == 0, said
    code, said = laptop.run("connect", "--undo", "--dry-run")
    assert "to remove" in said
    code, said = laptop.run("connect", "--undo", "--yes")
    assert (code, laptop.gitlab.variables) == (0, []), said
    assert "nothing was changed" in laptop.run("connect", "--undo", "--yes")[1]
    laptop.connect(*options)


def test_a_person_is_asked(laptop: Laptop) -> None:
    assert laptop.run("connect", typed="europe-west\nn\n")[0] == 3
    assert laptop.run("connect", typed="\n")[0] == 2
    assert laptop.run("connect", "--yes")[0] == 2  # which region?
    assert laptop.run("connect", "--reviews", "--with-key")[0] == 2
    code, said = laptop.run("connect", typed="europe-west\ny\n")
    assert code == 0, said


def test_what_is_not_known_is_asked_for(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda _: laptop.gitlab.token)
    url = ("--gitlab-url", laptop.gitlab.url)
    typed = "acme/site\ndemo-project\neurope-west\ny\n"
    code, said = laptop.run(
        "connect", *url, typed=typed, where=False, GAE_PROJECT="", GITLAB_TOKEN=""
    )
    assert code == 0, said
    for wrong in (("--gitlab-url", "gitlab"), (*url, "--gitlab-project", "site")):
        assert laptop.run("connect", *wrong, where=False)[0] == 2
    monkeypatch.setattr("getpass.getpass", lambda _: "")
    assert laptop.run("connect", GITLAB_TOKEN="")[0] == 2
    assert laptop.run("connect", "--gitlab-project", "acme/other")[0] == 2
    assert laptop.run("connect", "--project", "other-project")[0] == 2
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, said = laptop.run("doctor", where=False, GITLAB_TOKEN="")
    assert (code, "not looked at" in said) == (0, True), said


def test_git_s_remote_tells_which_project_in_gitlab(laptop: Laptop) -> None:
    remote = f"{laptop.gitlab.url}/acme/site.git"
    for command in (("init", "--quiet"), ("remote", "add", "origin", remote)):
        subprocess.run(["git", *command], cwd=laptop.root, check=True, env=clean_environment())
    code, said = laptop.run("connect", "--region", "europe-west", "--yes", where=False)
    assert code == 0, said
    assert laptop.gitlab.variable("GAE_PROJECT")


def test_the_commands_are_printed(laptop: Laptop) -> None:
    _, said = laptop.run("connect", "--print")
    assert "gcloud app create --region=REGION" in said
    assert laptop.run("connect", "--print", "--with-key", "--region", "europe-west")[0] == 0
    laptop.gitlab.project["default_branch"] = "main"
    laptop.connect()
    assert laptop.gitlab.branches == ["main"]
    assert "main" in laptop.connect()


def test_what_is_disabled_or_deleted_is_mended(laptop: Laptop) -> None:
    laptop.connect()
    iam = laptop.google.iam
    for each in (iam.accounts[DEPLOYER], iam.pools["gitlab"], iam.providers["gitlab", "gitlab"]):
        each["disabled"] = True
    laptop.google.repositories["gae-standard"]["cleanupPolicies"] = {"theirs": {"id": "theirs"}}
    assert "gae-standard" in laptop.run("connect", "--print")[1]
    laptop.connect()
    assert not any(each.get("disabled") for each in (*iam.accounts.values(), *iam.pools.values()))
    repository = laptop.google.repositories["gae-standard"]
    assert "theirs" in repository["cleanupPolicies"]
    repository["description"] = "theirs"
    assert laptop.run("connect", "--undo", "--yes")[0] == 0
    assert repository["cleanupPolicies"] == {"theirs": {"id": "theirs"}}


def test_a_key_that_lost_its_flags_keeps_its_value(laptop: Laptop) -> None:
    laptop.connect("--with-key")
    variable: Any = laptop.gitlab.variable("GAE_KEY")
    value = variable["value"]
    variable |= {"protected": False, "masked": False}
    code, said = laptop.run("doctor")
    assert (code, "masked: is False, not True" in said, value in said) == (1, True, False)
    laptop.connect("--with-key")
    assert (variable["value"], variable["protected"]) == (value, True)
    variable["value"] = "no key"
    variable["description"] = None
    assert laptop.run("connect", "--with-key", "--yes")[0] == 3
    code, said = laptop.run("connect", "--with-key", typed="y\n")
    assert json.loads(variable["value"])["client_email"] == DEPLOYER


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: setattr(it.google, "billing", False), "linkedaccount"),
        (lambda it: it.google.org_policies.add("iam.disableServiceAccountCreation"), "orgpolicies"),
        (lambda it: setattr(it.gitlab, "version", "17.11.0"), "17.11.0"),
        (lambda it: setattr(it.gitlab, "token", it.gitlab.issue("read_api")), "scopes=api"),
        (lambda it: setattr(it.gitlab, "token", it.gitlab.issue("read_user")), "scope api"),
        (lambda it: setattr(it.gitlab, "token", it.gitlab.issue(role=30)), "Maintainer"),
        (lambda it: it.gitlab.project.update(archived=True), "archived"),
        (
            lambda it: it.google.denied.update({it.google.owner: {"iam.serviceAccounts.create"}}),
            "you lack",
        ),
    ],
)
def test_what_blocks_is_named(laptop: Laptop, change: Any, said: str) -> None:
    change(laptop)
    code, text = laptop.run("connect", "--region", "europe-west", "--yes")
    assert (code, said in text) == (3, True), text


def test_doctor_names_a_key_that_policy_forbids_and_an_app_elsewhere(laptop: Laptop) -> None:
    laptop.google.org_policies.add("iam.disableServiceAccountKeyCreation")
    laptop.google.enabled |= {"orgpolicy.googleapis.com", "iam.googleapis.com"}
    code, said = laptop.run("connect", "--with-key", "--region", "europe-west", "--yes")
    assert (code, "KeyCreation" in said) == (3, True), said
    laptop.google.org_policies.clear()
    laptop.connect()
    code, said = laptop.run("connect", "--region", "us-central", "--yes")
    assert (code, "can never be changed" in said) == (3, True)
    with laptop.google.deny(
        "storage.buckets.getIamPolicy", "resourcemanager.projects.getIamPolicy"
    ):
        code, said = laptop.run("doctor")
    assert (code, "you may not look at it" in said) == (1, True)
    laptop.gitlab.runners.clear()
    laptop.google.builds = [{"serviceAccount": "projects/p/serviceAccounts/other@p.example"}]
    code, said = laptop.run("doctor")
    assert (code, "other@p.example" in said, "none is online" in said) == (1, True, True)


def test_failures_on_the_way_are_told(laptop: Laptop) -> None:
    laptop.google.gae.fail_next("PUT", "/storage/v1/b/staging", 403)
    code, said = laptop.run("connect", "--region", "europe-west", "--yes")
    assert (code, "not done: roles on the staging bucket" in said) == (1, True), said
    laptop.gitlab.faults.fail_next("POST", "/variables", 403, body=b'{"message": "403 Forbidden"}')
    code, said = laptop.run("connect", "--yes")
    assert (code, "Maintainer" in said) == (1, True), said
    laptop.google.gae.fail_next("POST", "/services:batchEnable", 400)
    laptop.google.enabled.discard("sts.googleapis.com")
    code, said = laptop.run("connect", "--yes")
    assert (code, "It goes on from here" in said) == (1, True), said


def test_in_a_job_the_deployer_is_asked(laptop: Laptop) -> None:
    laptop.connect()
    laptop.google.owner, owner = DEPLOYER, laptop.google.owner  # whom `deny` is about
    code, said = laptop.run("doctor", where=False, **laptop.job())
    assert code == 0, said
    denied = ("appengine.services.update", "iam.serviceAccounts.actAs", "storage.objects.create")
    with laptop.google.deny(*denied):
        code, said = laptop.run("doctor", where=False, **laptop.job())
    assert (code, said.count("NO  ")) == (1, 4), said
    laptop.google.buckets.clear()
    laptop.google.enabled.discard("appengine.googleapis.com")
    assert laptop.run("doctor", where=False, **laptop.job())[0] == 1
    laptop.google.owner = owner


def test_slow_and_late_things_are_waited_for(laptop: Laptop) -> None:
    laptop.google.latency = 0.1
    laptop.google.iam.late = 1
    laptop.google.gae.fail_next("POST", "projects/demo-project:setIamPolicy", 409)
    laptop.google.gae.fail_next("PUT", "/storage/v1/b/staging", 412)
    laptop.gitlab.faults.drop_next("POST", "/variables", applied=True)
    laptop.gitlab.faults.fail_next("PUT", "/variables", 503)
    laptop.connect()
    laptop.google.buckets["demo-project.appspot.com"].bindings.clear()
    with laptop.google.deny("storage.buckets.setIamPolicy"):
        code, said = laptop.run("connect", "--yes")
    assert (code, "gs://demo-project.appspot.com" in said) == (3, True), said


def test_what_google_does_not_tell_is_no_obstacle(laptop: Laptop) -> None:
    laptop.google.gae.fail_next("GET", "/billingInfo", 403)
    laptop.google.gae.fail_next("POST", ":testIamPermissions", 403)
    laptop.google.gae.fail_next("GET", "/v1/apps/demo-project/locations", 403)
    laptop.google.gae.fail_next("POST", ":getEffectiveOrgPolicy", 403, times=2)
    assert "not known" in laptop.connect()
    laptop.google.gae.fail_next("GET", "/builds", 403)
    laptop.google.gae.fail_next("GET", "/testPermissions", 403)
    laptop.gitlab.faults.fail_next("GET", "/runners", 403, body=b"no")
    code, said = laptop.run("doctor")
    assert (code, said.count("NO  ")) == (1, 1), said
    laptop.gitlab.token = "glpat-unknown"
    code, said = laptop.run("doctor")
    assert (code, "make one with the scope api" in said) == (1, True), said
    oauth = "0" * 64
    laptop.gitlab.tokens[oauth] = {"scopes": ["api"], "role": 40}
    laptop.gitlab.token = oauth
    laptop.gitlab.faults.fail_next("GET", "/personal_access_tokens/self", 404, body=b"{}")
    assert laptop.run("doctor")[0] == 0


def test_the_application_can_be_stopped_or_without_its_bucket(laptop: Laptop) -> None:
    laptop.connect()
    app = {"id": "demo-project", "locationId": "europe-west", "servingStatus": "USER_DISABLED"}
    laptop.google.gae.fail_next("GET", "/v1/apps/demo-project$", 200, body=json.dumps(app).encode())
    code, said = laptop.run("connect", "--yes")
    assert (code, "USER_DISABLED" in said) == (3, True), said
    app["servingStatus"] = "SERVING"
    laptop.google.gae.fail_next("GET", "/v1/apps/demo-project$", 200, body=json.dumps(app).encode())
    repaired = json.dumps({"name": "apps/demo-project/operations/1", "done": True}).encode()
    laptop.google.gae.fail_next("POST", ":repair", 200, body=repaired)
    assert "lacks its default bucket" in laptop.connect()
    laptop.google.gae.fail_next("GET", "/v1/apps/demo-project$", 200, body=json.dumps(app).encode())
    assert "gcloud beta app repair" in laptop.run("connect", "--print")[1]
