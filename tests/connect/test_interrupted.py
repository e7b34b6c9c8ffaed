"""Connecting is cut short: killed after each change, refused on the way."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.connect.conftest import LOOKS, Pair

pytestmark = pytest.mark.delivery


class Killer:
    """Kills a run as soon as a change has taken effect, before it has the answer; once for each."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch):
        self.pair = pair
        self.process: Any = None
        self.seen: set[tuple[str, str, bytes]] = set()
        monkeypatch.setattr(pair.google.gae.api, "_act", self._after(pair.google.gae.api._act))
        monkeypatch.setattr(pair.gitlab, "_act", self._after(pair.gitlab._act))

    def _after(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def answer(request: Any, *rest: Any) -> Any:
            found = act(request, *rest)
            looks = request.method == "GET" or request.path.endswith(LOOKS)
            change = (request.method, request.target, request.body)
            if not looks and change not in self.seen and self.process is not None:
                self.seen.add(change)
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


def variables_of(gitlab: GitLab) -> list[tuple[str, str, bool]]:
    """Return the variables; of a key, which is another one each time, whose it is."""
    return [
        (v["key"], json.loads(v["value"])["client_email"], v["protected"])
        if v["masked"]
        else (v["key"], v["value"], v["protected"])
        for v in gitlab.variables
    ]


@pytest.mark.parametrize(
    ("pair", "options"),
    [("app-engine", ("--with-key",)), ("cloud-run", ())],  # together they make all that there is
    indirect=["pair"],
)
def test_killed_after_every_change_it_ends_like_a_run_that_was_not(
    pair: Pair, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Google() as google, GitLab() as gitlab:
        clean = Pair(pair.path, google, gitlab, pair.temp, pair.target)
        clean.connect(*options)
        google_state = google.state() | google.run.state()
        changes = len(clean.changes())
        variables = variables_of(gitlab)
    killer = Killer(pair, monkeypatch)
    kills = 0
    where: tuple[str, ...] = ("--region", pair.region)
    while not killer.run("connect", *where, "--yes", *options):
        kills += 1
        assert kills <= changes
    assert kills == changes
    issuer = {
        "issuerUri": gitlab.url,
        "allowedAudiences": [gitlab.url],
    }  # each has a port of its own
    now = pair.google.state() | pair.google.run.state()
    for provider in now["providers"].values():
        provider["oidc"] = issuer
    # A key whose answer was lost is nobody's: its private part was nowhere else.
    now["keys"] = sorted(set(now["keys"]))
    assert now == google_state
    assert variables_of(pair.gitlab) == variables

    where = where if pair.target == "cloud-run" else ()
    while not killer.run("connect", *where, "--undo", "--yes"):
        kills += 1
        assert kills <= 3 * changes
    assert pair.gitlab.variables == []
    assert (pair.google.state()["pools"], pair.google.iam.keys) == ({}, {})
    googles_own = ["demo-project@appspot.gserviceaccount.com"] * (pair.target == "app-engine")
    assert list(pair.google.iam.accounts) == googles_own
    assert pair.google.run.state() == {"services": {}, "buckets": {}, "images": {}}


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
