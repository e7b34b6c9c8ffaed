"""Runs gcloud for targets on Google Cloud: retries what passes, says which role is missing."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from delivery.errors import CommandError
from delivery.process import Runner

RETRY_FOR = 120.0  # seconds; gcloud itself has tried for half a minute before it reports a 5xx
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 20.0

# gcloud's names and numbers for 409, 429 and 5xx, and how it words a lost connection.
_TRANSIENT = re.compile(
    r"ABORTED|RESOURCE_EXHAUSTED|INTERNAL:|UNAVAILABLE|DEADLINE_EXCEEDED"
    r"|'status': '(?:409|429|50\d)'|operation is already in progress"
    r"|Connection (?:reset|aborted)|RemoteDisconnected|timed out",
)
# An operation that ended in an error carries a code; only these may end otherwise next time. The
# text after it may be a build log, with any word in it. https://grpc.io/docs/guides/status-codes/
_OPERATION = re.compile(r"Error Response: \[(\d+)\]")
_TRANSIENT_CODES = {"8", "10", "14"}

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
    (r"storage\.buckets", "roles/storage.admin, on the staging bucket"),
    (r"storage\.|\bb instance \[|bucket", "roles/storage.objectAdmin, on the staging bucket"),
    (r"cloud ?build", "roles/cloudbuild.builds.editor"),
    (r"artifact ?registry", "roles/artifactregistry.reader"),
)
_LOGIN_FAILED = re.compile(
    r"problem refreshing|invalid_grant|invalid_target|No active account|active account"
)

_NOISE = (
    r"This command is authenticated (?:as|with) .*",  # names the credential file
    r"This may be due to network connectivity issues\..*",
    r"(?s)Please run:\s+\$ gcloud auth .*",  # our own advice follows
)
_SECRETS = (
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*",
    r"ya29\.[\w.-]+",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
)
_MOST_LINES = 15


class Gcloud:
    """gcloud with a project and an environment; answers are parsed JSON."""

    def __init__(self, runner: Runner, environ: Mapping[str, str], project: str) -> None:
        self._runner = runner
        self._environ = environ
        self._project = project

    def read(self, *args: str, doing: str, role: str) -> Any:
        """Run a command that only looks; `role` is what it needs, for the case that it lacks it."""
        argv = self._argv(args)
        text = self._retry(
            lambda: self._runner.read(argv, doing=doing, timeout=90, environ=self._environ),
            doing,
            role,
        )
        return json.loads(text or "null")

    def change(
        self, *args: str, doing: str, role: str, timeout: float = 300, repeat: bool = True
    ) -> None:
        """Run a command that changes something; `repeat` when it may be tried again blindly."""
        argv = self._argv((*args, "--quiet"))
        self._retry(
            lambda: self._runner.change(argv, doing=doing, timeout=timeout, environ=self._environ),
            doing,
            role,
            repeat=repeat,
        )

    def _argv(self, args: Sequence[str]) -> list[str]:
        project = [f"--project={self._project}"] if self._project else []
        return ["gcloud", *args, *project, "--format=json"]

    def _retry(
        self, attempt: Callable[[], str], doing: str, role: str, *, repeat: bool = True
    ) -> str:
        runner = self._runner
        deadline = runner.clock() + RETRY_FOR
        pause = FIRST_PAUSE
        while True:
            try:
                return attempt()
            except CommandError as error:
                told = CommandError(error.what, why=trim(error.why), then=_advice(error.why, role))
                told.timed_out = error.timed_out
                told.transient = not error.timed_out and is_transient(error.why)
                if not (repeat and told.transient and runner.clock() + pause <= deadline):
                    raise told from error
            last = told.why.splitlines()[-1]
            runner.console.warn(f"  {doing}: {last}; trying again in {pause:.0f} s")
            runner.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def is_transient(words: str) -> bool:
    """Tell whether the same command may succeed in a moment."""
    operation = _OPERATION.search(words)
    if operation:
        return operation[1] in _TRANSIENT_CODES
    return not _FORBIDDEN.search(words) and bool(_TRANSIENT.search(words))


def trim(words: str) -> str:
    """Keep what matters of gcloud's words: the error, no banner before it, no secret in it."""
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
    if len(lines) > _MOST_LINES:
        lines = [lines[0], "...", *lines[2 - _MOST_LINES :]]
    return "\n".join(lines) or "it said nothing"


def _advice(words: str, role: str) -> str:
    if _LOGIN_FAILED.search(words):
        return (
            "on a laptop: gcloud auth login; in a job: check the audience in id_tokens and the\n"
            'provider\'s condition, or the key (README.md, "Connect GitLab and Google Cloud")'
        )
    if _FORBIDDEN.search(words):
        for pattern, needed in _ROLES:
            if re.search(pattern, words, re.IGNORECASE):
                role = needed
                break
        return f"grant the deploying account {role}, then run this again"
    if "gcloud app create" in words or "Could not find Application" in words:
        return (
            "gcloud app create --region=REGION (once per project; the region can never be changed)"
        )
    if "Error Response: [13]" in words:
        return (
            "if these are a project's first deliveries, grant the account that the app runs as\n"
            "roles/storage.objectViewer, roles/artifactregistry.writer and roles/logging.logWriter"
        )
    return "run the same command again: every step can be repeated"
