"""What doctor says, on a laptop and in a job."""

import pytest

from tests.connect.conftest import Pair, both

pytestmark = pytest.mark.delivery

DEPLOYER = "gitlab-deployer@demo-project.iam.gserviceaccount.com"
POOL = "projects/123456789012/locations/global/workloadIdentityPools/gitlab"


def in_a_job(pair: Pair, **claims: str) -> dict[str, str]:
    """Return the variables of a job: those that connect set, and GitLab's own."""
    keyless = {v["key"]: v["value"] for v in pair.gitlab.variables}
    token = pair.google.gae.gitlab_token(
        iss=pair.gitlab.url, aud=pair.gitlab.url, project_id="4242", job_project_id="4242", **claims
    )
    nobody = pair.google.environment(account="")
    return (
        keyless
        | nobody
        | {
            "CI": "true",
            "GITLAB_OIDC_TOKEN": token,
            "GITLAB_TOKEN": "",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "",
        }
    )


@both
def test_all_is_well_after_connecting(pair: Pair) -> None:
    pair.connect()
    changes = pair.changes()
    report = pair.must("doctor")
    assert "NO  " not in report.out
    assert "1 online" in report.out
    assert pair.changes() == changes


def test_it_names_what_is_wrong_and_what_to_type(pair: Pair) -> None:
    pair.connect()
    pair.google.iam.policies[DEPLOYER].bindings.clear()
    pair.gitlab.runners.clear()
    variable = pair.gitlab.variable("GCP_SERVICE_ACCOUNT")
    assert variable
    variable["protected"] = False
    report = pair.run("doctor")
    assert report.code == 1
    wrong = [line for line in report.out.splitlines() if line.startswith("NO")]
    assert len(wrong) == 3
    assert "roles on gitlab-deployer" in wrong[0]
    assert "protected: is False, not True" in wrong[1]
    assert "runner" in wrong[2]
    assert "> python -m delivery connect --project demo-project" in report.out


def test_it_reads_which_account_the_newest_failed_build_had(pair: Pair) -> None:
    pair.connect()
    other = "123456789012-compute@developer.gserviceaccount.com"
    pair.google.builds = [{"serviceAccount": f"projects/demo-project/serviceAccounts/{other}"}]
    report = pair.run("doctor")
    assert report.code == 1
    assert other in report.out


def test_without_a_gitlab_token_it_looks_at_google_alone(pair: Pair) -> None:
    pair.connect()
    report = pair.must("doctor", GITLAB_TOKEN="")
    assert "GitLab: not looked at" in report.out


@both
def test_in_a_job_it_asks_what_the_deployer_may_do(pair: Pair) -> None:
    role, permission = {
        "app-engine": ("appengine.serviceAdmin", "appengine.services.update"),
        "cloud-run": ("run.developer", "run.services.update"),
    }[pair.target]
    pair.connect()
    report = pair.must("doctor", **in_a_job(pair))
    assert f"roles/{role} on the project" in report.out
    with pair.google.deny(permission, account=DEPLOYER):
        report = pair.run("doctor", **in_a_job(pair))
    assert report.code == 1
    assert f"NO  roles/{role} on the project" in report.out
    assert "IAM takes minutes" in report.out


@pytest.mark.parametrize(
    "claims", [{"ref_protected": "false"}, {"project_id": "7"}, {"job_project_id": "7"}]
)
def test_other_jobs_are_not_let_in(pair: Pair, claims: dict[str, str]) -> None:
    pair.connect()
    token = {"project_id": "4242", "job_project_id": "4242"} | claims
    variables = in_a_job(pair)
    variables["GITLAB_OIDC_TOKEN"] = pair.google.gae.gitlab_token(
        iss=pair.gitlab.url, aud=pair.gitlab.url, **token
    )
    report = pair.run("doctor", **variables)
    assert report.code == 1
    assert "NO  login" in report.out
