"""What people are told of gcloud's and the APIs' errors."""

import pytest
from delivery.google import advice

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

UNNAMED = "IAM API has not been used in project 1 before or it is disabled."
DISABLED = (
    "SERVICE_DISABLED PERMISSION_DENIED: Cloud Logging API has not been used in project 1 before "
    "or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/logging.googleapis.com/overview?project=1"
)


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
        ("d@x does not have storage.buckets.get access", "storage.legacyBucketReader"),
        ("[d@x] does not have permission to access b instance [staging.x]", "storage.objectAdmin"),
        ("PERMISSION_DENIED: Permission denied for logging.logEntries.list", "logging.viewer"),
        ("PERMISSION_DENIED: cloudbuild.builds.create", "cloudbuild.builds.editor"),
        ("PERMISSION_DENIED: Artifact Registry", "artifactregistry.reader"),
        ("response: <{'status': '403'}>", "roles/of.command"),
        ("Error Response: [7] no", "roles/of.command"),
    ],
)
def test_a_missing_role_is_named(words: str, role: str) -> None:
    assert advice.is_forbidden(words)
    then = advice.what_next(words, "roles/of.command")
    assert "grant the deploying account" in then
    assert role in then


def test_a_project_that_is_not_ours_is_suspected_where_no_right_is_named() -> None:
    assert "the right project" in advice.what_next("PERMISSION_DENIED: You may not.", "roles/x")
    assert "GAE_PROJECT" not in advice.what_next("PERMISSION_DENIED: to act as p", "roles/x")


@pytest.mark.parametrize(
    ("words", "then"),
    [
        ("There was a problem refreshing auth tokens: invalid_grant", "gcloud auth login"),
        ("UNAUTHENTICATED: Request had invalid authentication", "gcloud auth login"),
        ("You do not currently have an active account selected.", "gcloud auth login"),
        ("the project does not contain an app. Use `gcloud app create`", "gcloud app create"),
        ("NOT_FOUND: Could not find Application 'demo'.", "gcloud app create"),
        ("Error Response: [13] An internal error", "roles/logging.logWriter"),
        (DISABLED, "gcloud services enable logging.googleapis.com"),
        (f"There was a problem refreshing: {UNNAMED}", "enable the API that it names"),
        ("An error occurred while parsing file: [app.yaml]", "deliver a new commit"),
        ("Error Response: [9] Cloud build 1-2 status: FAILURE", "deliver a new commit"),
        ("The user-provided container failed to start and listen", "deliver a new commit"),
        ("Error Response: [9] Cloud build 1-2 status: TIMEOUT", "can be repeated"),
        ("anything else", "can be repeated"),
    ],
)
def test_every_failure_says_what_to_type_next(words: str, then: str) -> None:
    assert then in advice.what_next(words, "roles/x")


def test_gclouds_words_are_cut_down_to_what_matters() -> None:
    assert advice.trim(HTTP_503) == (
        "ERROR: (gcloud.app.versions.list) "
        '{"error": {"code": 503, "message": "try later"}} (from https://x.test/v1/apps/demo?alt=json)'
    )
    assert advice.trim(FORBIDDEN).endswith("PERMISSION_DENIED: You may not.")
    assert advice.trim("Setting traffic:\n - v1: 1.0\nERROR: no\n\n") == "ERROR: no"
    assert (
        advice.trim("ERROR: expired.\nPlease run:\n\n  $ gcloud auth login\n") == "ERROR: expired."
    )
    assert advice.trim(" \n") == "it said nothing"


def test_a_long_story_keeps_its_start_and_its_end() -> None:
    lines = advice.trim("\n".join(f"line {n}" for n in range(100))).splitlines()
    assert lines[:2] == ["line 0", "..."]
    assert lines[-1] == "line 99"
    assert len(lines) == advice.MOST_LINES


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "ya29.c.b0AXv0zTN",
        "glpat-abcdefghij0123456789",
        "glcbt-64_abcdefghij0123456789",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    ],
)
def test_no_secret_gets_through(secret: str) -> None:
    assert advice.trim(f"ERROR: rejected {secret}") == "ERROR: rejected [secret]"
    assert advice.trim(f"rejected ({secret})").startswith("rejected ([secret]")
