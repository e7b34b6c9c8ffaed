"""The real gcloud works with the App Engine emulator: every command that a delivery needs."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emulators.appengine import AppEngine
from tests.conftest import clean_environment
from tests.emulators.clients import FILES, Person, call, deploy, pending
from tests.support.waiting import until

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-gcloud")]


def test_deploys_lists_moves_traffic_and_deletes(tmp_path: Path) -> None:
    with AppEngine("other-project") as gae:
        person = Person(gae, tmp_path)
        done = person.deploy("one")
        assert done.returncode == 0, done.stderr
        assert gae.traffic == {"one": 1.0}, "the first version serves, whatever was said"
        assert gae.uploads("one") == FILES.keys() - {".gcloudignore"}
        assert person.deploy("two").returncode == 0
        assert gae.traffic == {"one": 1.0}

        listed = person.ask("app", "versions", "list", "--service=default")
        assert [(v["id"], v["traffic_split"]) for v in listed] == [("one", 1.0), ("two", 0.0)]
        found = person.ask("app", "versions", "describe", "two", "--service=default")
        assert found["versionUrl"] == gae.version_url("two") == listed[1]["version"]["versionUrl"]
        assert person.ask("app", "services", "list")[0]["id"] == "default"
        assert gae.url.endswith(person.ask("app", "describe")["defaultHostname"])

        moved = person.gcloud("app", "services", "set-traffic", "default", "--splits=two=1")
        assert moved.returncode == 0, moved.stderr
        service = person.ask("app", "services", "describe", "default")
        assert service["split"]["allocations"] == gae.traffic == {"two": 1.0}
        deleted = person.gcloud("app", "versions", "delete", "one", "--service=default")
        assert deleted.returncode == 0, deleted.stderr
        assert gae.versions == ["two"]
        assert gae.unmodelled == []


def test_receives_what_gcloud_generates(gae: AppEngine, tmp_path: Path) -> None:
    person = Person(gae, tmp_path)
    remote = "https://oauth2:glpat-token@gitlab.example.com/client/project.git"
    for command in (
        ("init", "--quiet"),
        ("add", "--all"),
        ("commit", "--quiet", "--message=x"),
        ("remote", "add", "origin", remote),
    ):
        subprocess.run(["git", *command], cwd=tmp_path, env=clean_environment(), check=True)
    assert person.deploy("git").returncode == 0
    received = gae.received("git")
    assert received.keys() == FILES.keys() - {".gcloudignore"} | {"source-context.json"}
    assert b"glpat-token" in received["source-context.json"]
    assert received["main.py"] == FILES["main.py"].encode()


def test_waits_for_an_operation_that_takes_time(tmp_path: Path) -> None:
    with AppEngine(latency=0.5) as gae:
        done = Person(gae, tmp_path).deploy("one")
        assert done.returncode == 0, done.stderr
        assert sum("/operations/" in call.path for call in gae.requests) >= 1


def test_describes_what_it_has_done(gae: AppEngine, tmp_path: Path) -> None:
    person = Person(gae, tmp_path)
    split = "--splits=one=.99,two=.01"
    moved = person.gcloud("app", "services", "set-traffic", "default", split, "--split-by=random")
    assert moved.returncode == 0, moved.stderr
    assert gae.traffic == {"one": 0.99, "two": 0.01}
    newest = person.ask("app", "operations", "list", "--limit=1")[0]
    described = person.ask("app", "operations", "describe", newest["id"])
    assert described["metadata"]["method"].endswith("Services.UpdateService")
    assert described["metadata"]["target"] == "apps/demo-project/services/default"
    assert described["response"]["split"]["shardBy"] == "RANDOM"
    assert person.ask("app", "browse", "--no-launch-browser")["url"] == gae.url
    assert gae.unmodelled == []


def test_cannot_give_traffic_to_a_version_that_is_not_there(gae: AppEngine, tmp_path: Path) -> None:
    before = gae.traffic
    done = Person(gae, tmp_path).gcloud("app", "services", "set-traffic", "--splits=none=1")
    assert done.returncode == 1
    assert "none" in done.stderr
    assert gae.traffic == before


def test_lists_the_operations_that_still_run(tmp_path: Path) -> None:
    with AppEngine() as gae:
        person = Person(gae, tmp_path)
        for version in ("one", "two", "three"):
            assert deploy(gae, version)[0] == 200
        gae.admin.latency = 5.0
        command = ("app", "versions", "delete", "two", "three", "--service=default")
        with ThreadPoolExecutor() as pool:
            deleting = pool.submit(person.gcloud, *command)
            until(lambda: pending(gae), "the operation")
            listed = person.ask("app", "operations", "list", "--pending")
            gae.admin.latency = 0.0
            done = deleting.result()
        assert [operation["status"] for operation in listed] == ["PENDING"]
        assert done.returncode == 0, done.stderr
        assert gae.versions == ["one"]
        assert pending(gae) == []
        assert len(person.ask("app", "operations", "list")) == 5
        assert gae.unmodelled == []


def test_says_to_create_the_app_where_there_is_none(tmp_path: Path) -> None:
    with AppEngine(created=False) as gae:
        done = Person(gae, tmp_path).deploy("one")
        assert done.returncode == 1
        assert "gcloud app create" in done.stderr
        assert call(gae, "POST", "v1/apps", {"id": "demo-project"})[0] == 200
        assert call(gae, "GET", "v1/apps/demo-project")[0] == 200


def test_reports_a_build_that_fails(gae: AppEngine, tmp_path: Path) -> None:
    person = Person(gae, tmp_path, **{"requirements.txt": "flask==3.1.0 --hash=sha256:00\n"})
    done = person.deploy("bad")
    assert done.returncode == 1
    assert "Cloud build" in done.stderr
    assert "bad" not in gae.versions


def test_says_which_permission_is_missing(gae: AppEngine, tmp_path: Path) -> None:
    with gae.without("appengine.versions.create"):
        done = Person(gae, tmp_path).deploy("three")
    assert done.returncode == 1
    assert "Permission 'appengine.versions.create' denied" in done.stderr


def test_repeats_what_the_server_failed_but_not_what_it_refused(
    gae: AppEngine, tmp_path: Path
) -> None:
    person = Person(gae, tmp_path)
    gae.fail_next("GET", "/v1/apps/demo-project", 503)
    person.ask("app", "describe")
    assert [call.status for call in gae.requests[-2:]] == [503, 200]
    gae.fail_next("GET", "/v1/apps/demo-project", 429, message="Quota exceeded.")
    done = person.gcloud("app", "describe")
    assert done.returncode == 1
    assert "RESOURCE_EXHAUSTED: Quota exceeded." in done.stderr


def account_of(gae: AppEngine, person: Person) -> str:
    """Use the token that gcloud hands out to other programs; return whose it is."""
    token = person.ask("config", "config-helper")["credential"]["access_token"]
    assert call(gae, "GET", f"v1/apps/{gae.project}", token=token)[0] == 200
    return gae.requests[-1].account


def test_hands_the_token_of_a_laptop_to_other_programs(gae: AppEngine, tmp_path: Path) -> None:
    assert account_of(gae, Person(gae, tmp_path)) == "developer@demo-project.example"


def test_signs_in_with_a_key(gae: AppEngine, tmp_path: Path) -> None:
    person = Person(gae, tmp_path)
    person.variables = gae.environment()
    key = tmp_path / "key.json"
    key.write_text(json.dumps(gae.service_account_key()), "utf-8")
    signed_in = person.gcloud("auth", "activate-service-account", f"--key-file={key}")
    assert signed_in.returncode == 0, signed_in.stderr
    person.ask("app", "describe")
    assert gae.requests[-1].account == gae.service_account
    assert account_of(gae, person) == gae.service_account


def test_signs_in_without_a_key(gae: AppEngine, tmp_path: Path) -> None:
    person = Person(gae, tmp_path)
    person.variables = gae.environment()
    token, config = tmp_path / "token", tmp_path / "credentials.json"
    token.write_text(gae.gitlab_token(), "utf-8")
    account = f"--service-account={gae.service_account}"
    source, output = f"--credential-source-file={token}", f"--output-file={config}"
    command = ["iam", "workload-identity-pools", "create-cred-config", gae.provider]
    made = person.gcloud(*command, account, source, output)
    assert made.returncode == 0, made.stderr
    # gcloud writes Google's own addresses; everything else of its file stays.
    google = r"https://(sts|iamcredentials)\.googleapis\.com/"
    config.write_text(re.sub(google, gae.api_url, config.read_text("utf-8")), "utf-8")
    person.variables["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"] = str(config)
    person.ask("app", "describe")
    assert gae.requests[-1].account == gae.service_account
    assert account_of(gae, person) == gae.service_account


def test_is_refused_without_credentials(gae: AppEngine, tmp_path: Path) -> None:
    person = Person(gae, tmp_path)
    person.variables = gae.environment()
    before = len(gae.requests)
    done = person.gcloud("app", "describe")
    assert done.returncode == 1
    assert "do not currently have an active account" in done.stderr
    assert gae.requests[before:] == []
