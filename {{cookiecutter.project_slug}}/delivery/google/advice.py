"""Turns the words of gcloud and Google's APIs into what a person needs: the error, what to do."""

import re

MOST_LINES = 15

_FORBIDDEN = re.compile(
    r"PERMISSION_DENIED|does not have permission|Permissions? error|'status': '403'"
    r"|Permission '[\w.]+' denied|does not have [\w.]+ access|Error Response: \[7\]"
)
_ROLES = (
    (r"act ?as", "roles/iam.serviceAccountUser, on the account that the app runs as"),
    (
        r"getAccessToken",
        "roles/iam.workloadIdentityUser, on the deploying account, for GitLab's identity",
    ),
    (
        r"storage\.buckets",
        "roles/storage.legacyBucketReader, on the bucket staging.PROJECT.appspot.com",
    ),
    (
        r"storage\.|\bb instance \[|bucket",
        "roles/storage.objectAdmin, on the buckets [staging.]PROJECT.appspot.com",
    ),
    (r"logging\.", "roles/logging.viewer"),
    (r"cloud ?build", "roles/cloudbuild.builds.editor"),
    (r"artifact ?registry", "roles/artifactregistry.reader"),
)
# It begins with the words of a missing permission, but no role helps. The reason is one of
# https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
_DISABLED = re.compile(r"SERVICE_DISABLED|has not been used in project|API \[[\w.]+\] not enabled")
_API = re.compile(r"(?:apis/api/|API \[)([a-z]+\.googleapis\.com)")
_LOGIN_FAILED = re.compile(
    r"problem refreshing|invalid_(?:grant|target|request)|unauthorized_client|active account"
    r"|UNAUTHENTICATED|invalid authentication credentials"
)
# What another attempt does not change: an app.yaml that gcloud cannot parse, a build that failed,
# a container that does not start.
_COMMIT_AT_FAULT = re.compile(
    r"occurred while parsing file|Cloud build \S+ status: FAILURE|user-provided container failed"
)

_NOISE = (
    r"This command is authenticated (?:as|with) .*",  # names the credential file
    r"This may be due to network connectivity issues\..*",
    r"(?s)Please run:\s+\$ gcloud auth .*",  # our own advice follows
)
_SECRETS = (
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*",
    r"ya29\.[\w.-]+",
    r"\bgl[a-z]{2,8}-[\w.-]{16,}",  # GitLab's
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
)


def trim(words: str) -> str:
    """Keep what matters: the error, no banner before it, no secret in it."""
    _, marker, error = words.partition("ERROR: ")
    text = marker + error if marker else words
    text = re.sub(
        r"HttpError accessing <([^>]*)>: response: <.*?>, content <(.*?)>(?=\n|$)",
        r"\2 (from \1)",
        text,
        flags=re.DOTALL,
    )
    for pattern in _NOISE:
        text = re.sub(pattern, "", text)
    for pattern in _SECRETS:
        text = re.sub(pattern, "[secret]", text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_LINES:
        lines = [lines[0], "...", *lines[2 - MOST_LINES :]]
    return "\n".join(lines) or "it said nothing"


def is_forbidden(words: str) -> bool:
    """Whether a permission is missing."""
    return _FORBIDDEN.search(words) is not None


def what_next(words: str, role: str) -> str:
    """Say what to do about an error; `role` is what the command needs in any case."""
    if _DISABLED.search(words):
        named = _API.search(words)
        api = named[1] if named else "the API that it names"
        return f"as an owner: gcloud services enable {api}; wait a minute, then run this again"
    if _LOGIN_FAILED.search(words):
        return (
            "on a laptop: gcloud auth login; in a job: check the audience in id_tokens and the\n"
            "provider's condition, or the key (delivery/README.md)"
        )
    if is_forbidden(words):
        for pattern, needed in _ROLES:
            if re.search(pattern, words, re.IGNORECASE):
                return _grant(needed)
        # Google says the same of a project that does not exist as of one that is not yours.
        return f"if that is the right project, {_grant(role)}"
    if "gcloud app create" in words or "Could not find Application" in words:
        return (
            "gcloud app create --region=REGION (once per project; the region can never be changed)"
        )
    if "Error Response: [13]" in words:
        # The build runs as that account, and writes its log to the staging bucket.
        return (
            "if these are a project's first deliveries, grant the account that the app runs as\n"
            "roles/artifactregistry.createOnPushWriter and roles/logging.logWriter, and\n"
            "roles/storage.objectAdmin and roles/storage.legacyBucketReader on the bucket\n"
            "staging.PROJECT.appspot.com"
        )
    if _COMMIT_AT_FAULT.search(words):
        return (
            "deliver a new commit that corrects it; if the commit is not at fault, run this again"
        )
    return "run the same command again: every step can be repeated"


def _grant(role: str) -> str:
    return f"grant the deploying account {role}, then run this again"
