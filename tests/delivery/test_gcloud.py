"""Running gcloud: retries, roles, words."""

from pathlib import Path

import pytest
from delivery import gcloud
from delivery.errors import CommandError
from delivery.gcloud import Gcloud

from tests.delivery.fakes import failure, scripted

HTTP_503 = """\
ERROR: (gcloud.app.versions.list) HttpError accessing <https://x.test/v1/apps/demo?alt=json>: \
response: <{'server': 'ESF', 'status': '503'}>, content <{"error": {"code": 503, \
"message": "try later"}}>
This may be due to network connectivity issues. Please check your network settings, and the status \
of the service you are trying to reach.
"""
FORBIDDEN = (
    "ERROR: (gcloud.app.deploy) PERMISSION_DENIED: You may not. This command is authenticated as "
    "d@p.iam.gserviceaccount.com using the credentials in /tmp/delivery-x/credentials.json, "
    "specified by the [auth/credential_file_override] property"
)
BUILD_FAILED = (
    "ERROR: (gcloud.app.deploy) Error Response: [9] Cloud build failed: step exited.\n"
    "pip: HTTP 503 UNAVAILABLE: PERMISSION_DENIED"
)


def test_gcloud_is_asked_for_json_of_one_project(tmp_path: Path) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("list", '[{"id": "v1"}]'))
    answer = Gcloud(runner, {"A": "1"}, "demo").read("app", "list", doing="looking", role="r")
    assert answer == [{"id": "v1"}]
    assert runner.ran == ["gcloud app list --project=demo --format=json"]
    assert runner.environs == [{"A": "1"}]


def test_changes_ask_no_questions_and_silence_is_an_answer(tmp_path: Path) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("", ""))
    client = Gcloud(runner, {}, "")
    client.change("app", "delete", doing="deleting", role="r")
    assert runner.ran == ["gcloud app delete --quiet --format=json"]
    assert client.read("app", doing="looking", role="r") is None


@pytest.mark.parametrize(
    "words",
    [
        HTTP_503,
        "Issue setting traffic on service(s): default\n\nABORTED: Operation in progress",
        "[default/v3]: RESOURCE_EXHAUSTED: slow down",
        "INTERNAL: oops",
        "UNAVAILABLE: oops",
        "('Connection aborted.', RemoteDisconnected())",
        "The read operation timed out",
        "ERROR: (gcloud.app.deploy) Error Response: [14] unavailable",
    ],
)
def test_what_passes_by_itself_is_tried_again(tmp_path: Path, words: str) -> None:
    runner, said = scripted(tmp_path)
    runner.script(("list", failure(words)), ("list", failure(words)), ("list", "[]"))
    assert Gcloud(runner, {}, "").read("list", doing="looking", role="r") == []
    assert len(runner.ran) == 3
    assert "trying again in 1 s" in said.getvalue()
    assert "trying again in 2 s" in said.getvalue()


def test_trying_again_comes_to_an_end(tmp_path: Path) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("list", failure(HTTP_503)))
    start = runner.clock()
    with pytest.raises(CommandError) as caught:
        Gcloud(runner, {}, "").read("list", doing="looking", role="r")
    assert 60 < runner.clock() - start <= gcloud.RETRY_FOR
    assert "can be repeated" in caught.value.then


@pytest.mark.parametrize(
    "ending",
    [
        failure(FORBIDDEN),
        failure(BUILD_FAILED),
        failure("PERMISSION_DENIED: You may not. Later: UNAVAILABLE"),
        failure("ERROR: (gcloud.app.deploy) Error Response: [13] An internal error occurred"),
        failure("Version [v1] is currently serving"),
        failure("UNAVAILABLE", timed_out=True),
        failure("NameResolutionError: Failed to resolve 'appengine.googleapis.com'"),
    ],
)
def test_what_does_not_pass_by_itself_is_not_tried_again(
    tmp_path: Path, ending: CommandError
) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("list", ending))
    with pytest.raises(CommandError) as caught:
        Gcloud(runner, {}, "").read("list", doing="looking", role="r")
    assert len(runner.ran) == 1
    assert not caught.value.transient


def test_what_must_not_be_repeated_blindly_says_that_it_may_be_repeated(tmp_path: Path) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("move", failure("ABORTED: Operation in progress")))
    with pytest.raises(CommandError) as caught:
        Gcloud(runner, {}, "").change("move", doing="moving", role="r", repeat=False)
    assert len(runner.ran) == 1
    assert caught.value.transient


@pytest.mark.parametrize(
    ("words", "role"),
    [
        (FORBIDDEN, "roles/of.command"),
        (
            "You do not have permission to act as 'p@appspot' PERMISSION_DENIED",
            "serviceAccountUser",
        ),
        ("Permission 'iam.serviceaccounts.actAs' denied on resource", "serviceAccountUser"),
        ("Permission 'iam.serviceAccounts.getAccessToken' denied", "workloadIdentityUser"),
        ("d@x does not have storage.objects.list access to the bucket", "storage.objectAdmin"),
        ("d@x does not have storage.buckets.get access", "storage.admin"),
        ("[d@x] does not have permission to access b instance [staging.x]", "storage.objectAdmin"),
        ("PERMISSION_DENIED: cloudbuild.builds.create", "cloudbuild.builds.editor"),
        ("PERMISSION_DENIED: Artifact Registry", "artifactregistry.reader"),
        ("response: <{'status': '403'}>", "roles/of.command"),
    ],
)
def test_a_missing_role_is_named(tmp_path: Path, words: str, role: str) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("list", failure(words)))
    with pytest.raises(CommandError) as caught:
        Gcloud(runner, {}, "").read("list", doing="looking", role="roles/of.command")
    assert "grant" in caught.value.then
    assert role in caught.value.then


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("There was a problem refreshing auth tokens: invalid_grant", "gcloud auth login"),
        ("the project does not contain an app. Use `gcloud app create`", "gcloud app create"),
        ("Error Response: [13] An internal error", "roles/logging.logWriter"),
        ("anything else", "can be repeated"),
    ],
)
def test_every_failure_says_what_to_type_next(tmp_path: Path, words: str, advice: str) -> None:
    runner, _ = scripted(tmp_path)
    runner.script(("list", failure(words)))
    with pytest.raises(CommandError) as caught:
        Gcloud(runner, {}, "").read("list", doing="looking", role="r")
    assert advice in caught.value.then


def test_gclouds_words_are_cut_down_to_what_matters() -> None:
    assert gcloud.trim(HTTP_503) == (
        "ERROR: (gcloud.app.versions.list) "
        '{"error": {"code": 503, "message": "try later"}} (from https://x.test/v1/apps/demo?alt=json)'
    )
    assert gcloud.trim(FORBIDDEN).endswith("PERMISSION_DENIED: You may not.")
    assert gcloud.trim("Setting traffic:\n - v1: 1.0\nERROR: no\n\n") == "ERROR: no"
    assert (
        gcloud.trim("ERROR: expired.\nPlease run:\n\n  $ gcloud auth login\n") == "ERROR: expired."
    )
    assert gcloud.trim(" \n") == "it said nothing"


def test_a_long_story_keeps_its_start_and_its_end() -> None:
    lines = gcloud.trim("\n".join(f"line {n}" for n in range(100))).splitlines()
    assert lines[:2] == ["line 0", "..."]
    assert lines[-1] == "line 99"
    assert len(lines) == 15


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "ya29.c.b0AXv0zTN",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ],
)
def test_no_secret_gets_through(secret: str) -> None:
    assert gcloud.trim(f"ERROR: rejected {secret} today") == "ERROR: rejected [secret] today"
