"""Connecting is cut short: killed after each change, refused at each permission."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.connect.conftest import LOOKS, Pair

pytestmark = pytest.mark.delivery

PERMISSIONS = [
    "serviceusage.services.enable",
    "appengine.applications.create",
    "iam.serviceAccounts.create",
    "resourcemanager.projects.setIamPolicy",
    "iam.serviceAccounts.setIamPolicy",
    "iam.workloadIdentityPools.create",
    "iam.workloadIdentityPoolProviders.create",
    "artifactregistry.repositories.create",
]


class Killer:
    """Kills a run as soon as its first change has taken effect, before it has the answer."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch):
        self.pair = pair
        self.process: Any = None
        monkeypatch.setattr(pair.google.gae.api, "_act", self._after(pair.google.gae.api._act))
        monkeypatch.setattr(pair.gitlab, "_act", self._after(pair.gitlab._act))

    def _after(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def answer(request: Any, *rest: Any) -> Any:
            found = act(request, *rest)
            looks = request.method == "GET" or request.path.endswith(LOOKS)
            if not looks and self.process is not None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process = None
            return found

        return answer

    def run(self, *arguments: str) -> bool:
        """Run a verb; return whether it lived to its end."""
        self.process = process = self.pair.start(*arguments)
        with process:
            _, err = process.communicate(timeout=60)
        self.process = None
        assert process.returncode in {0, -signal.SIGKILL}, err
        return process.returncode == 0


def test_killed_after_every_change_it_ends_like_a_run_that_was_not(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Google() as google, GitLab() as gitlab:
        clean = Pair(pair.path, google, gitlab, pair.temp)
        clean.connect()
        google_state = google.state()
        changes = len(clean.changes())
        keys = [(v["key"], v["value"], v["protected"]) for v in gitlab.variables]
    killer = Killer(pair, monkeypatch)
    kills = 0
    while not killer.run("connect", "--region", "europe-west", "--yes"):
        kills += 1
        assert kills <= changes
    assert kills == changes
    issuer = {
        "issuerUri": gitlab.url,
        "allowedAudiences": [gitlab.url],
    }  # each has a port of its own
    now = pair.google.state()
    now["providers"]["gitlab/gitlab"]["oidc"] = issuer
    assert now == google_state
    assert [(v["key"], v["value"], v["protected"]) for v in pair.gitlab.variables] == keys

    while not killer.run("connect", "--undo", "--yes"):
        kills += 1
        assert kills <= 3 * changes
    assert pair.gitlab.variables == []
    assert pair.google.state()["pools"] == {}
    assert list(pair.google.iam.accounts) == ["demo-project@appspot.gserviceaccount.com"]


def test_each_missing_permission_is_named_before_anything_is_made(pair: Pair) -> None:
    for permission in PERMISSIONS:
        with pair.google.deny(permission):
            refused = pair.run("connect", "--region", "europe-west", "--yes")
        assert refused.code == 3, permission
        assert f"you lack {permission}" in refused.out
        assert "an owner of the project grants you roles/" in refused.err
    assert pair.changes() == []


def test_a_bucket_that_even_an_owner_may_not_share_is_known_beforehand(pair: Pair) -> None:
    pair.connect()
    pair.google.buckets["demo-project.appspot.com"].bindings.clear()
    changes = pair.changes()
    with pair.google.deny("storage.buckets.setIamPolicy"):
        refused = pair.run("connect", "--yes")
    assert refused.code == 3
    assert (
        "gcloud storage buckets add-iam-policy-binding gs://demo-project.appspot.com" in refused.err
    )
    assert pair.changes() == changes


def test_a_refusal_on_the_way_tells_what_is_done_and_goes_on_from_there(pair: Pair) -> None:
    pair.google.gae.fail_next("PUT", "/storage/v1/b/staging", 403)
    failed = pair.run("connect", "--region", "europe-west", "--yes")
    assert failed.code == 1
    assert (
        "done: 9 APIs, App Engine application, account gitlab-deployer, roles on the project"
        in failed.err
    )
    assert "gcloud storage buckets add-iam-policy-binding gs://staging.demo-project" in failed.err
    pair.connect()


def test_a_lost_answer_of_gitlab_sets_nothing_twice(pair: Pair) -> None:
    pair.gitlab.faults.drop_next("POST", "/variables", applied=True)
    pair.connect()
    assert len(pair.gitlab.variables) == 3
