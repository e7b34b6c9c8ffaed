"""Exchanges the token that GitLab gives a job for one of Google's, in two requests.

gcloud would do the same with the same credentials; but most verbs need nothing else of it, and it
takes longer to start than the verb itself.
https://cloud.google.com/iam/docs/workload-identity-federation-with-other-providers
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from delivery.google.rest import ApiError, Rest, token_in
from delivery.process import Runner

ROLE = "roles/iam.workloadIdentityUser, on the deploying account"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME = "3600s"  # the longest of verbs takes half of it
_OAUTH = "urn:ietf:params:oauth"


def exchange(credentials: Mapping[str, Any], runner: Runner) -> str:
    """Return an access token for credentials of the type external_account.

    Raise ApiError where Google admits neither the job nor its use of the account.
    """
    form = {
        "grant_type": f"{_OAUTH}:grant-type:token-exchange",
        "audience": credentials["audience"],
        "scope": SCOPE,
        "requested_token_type": f"{_OAUTH}:token-type:access_token",
        "subject_token_type": credentials["subject_token_type"],
        "subject_token": Path(credentials["credential_source"]["file"]).read_text("utf-8"),
    }
    nobody = Rest(str, runner.environ, clock=runner.clock, sleep=runner.sleep)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    data = urlencode(form).encode()
    job = nobody.request("POST", "sts", "v1/token", body=data, headers=headers).json
    _, _, account = credentials["service_account_impersonation_url"].rpartition("/v1/")
    body = {"scope": [SCOPE], "lifetime": LIFETIME}
    token = _token(job, "access_token")
    as_job = Rest(lambda: token, runner.environ, clock=runner.clock, sleep=runner.sleep)
    answer = as_job.request("POST", "iamcredentials", f"v1/{account}", body=body).json
    return _token(answer, "accessToken")


def _token(answer: Mapping[str, Any], name: str) -> str:
    token = token_in(answer, name)
    if not token:
        raise ApiError(0, f"the answer has no {name}")
    return token
