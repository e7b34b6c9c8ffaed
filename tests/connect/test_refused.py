"""A permission is missing: each that connect declares, and each that its requests need."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.connect.conftest import Pair

pytestmark = pytest.mark.delivery

# Reviews and key together make all that there is. What the runs after the first one try is only
# what they add: each permission takes a run of connect, and more.
RUNS = [
    ("app-engine", "--reviews"),
    ("app-engine", "--with-key"),
    ("cloud-run", "--reviews"),
]
OWN = {
    RUNS[0]: re.compile(""),
    RUNS[1]: re.compile(r"iam\.serviceAccountKeys"),
    RUNS[2]: re.compile(r"run\.|artifactregistry\..*IamPolicy|storage\.|.*actAs"),
}
# What connect does not ask for beforehand, though its requests need it.
UNASKED = {
    RUNS[0]: {
        *("orgpolicy.policy.get", "resourcemanager.projects.get"),
        *("storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"),
    },
    RUNS[1]: set(),
    RUNS[2]: {f"storage.buckets.{verb}" for verb in ("get", "getIamPolicy", "setIamPolicy")},
}
# Without these a look says "not known", and all goes on.
TOLERATED = {"orgpolicy.policy.get", "resourcemanager.projects.get"}


def tried(pair: Pair, options: str, permissions: set[str]) -> list[str]:
    """Return what is to be refused, one after the other."""
    return sorted(filter(OWN[pair.target, options].match, permissions))


@contextmanager
def fresh(pair: Pair) -> Iterator[Pair]:
    """Return two empty projects."""
    with Google() as google, GitLab() as gitlab:
        yield Pair(pair.path, google, gitlab, pair.temp, pair.target)


@pytest.mark.parametrize(("pair", "options"), RUNS, indirect=["pair"])
def test_each_permission_that_is_declared_is_asked_for_before_anything_is_made(
    pair: Pair, options: str
) -> None:
    run = ("connect", "--region", pair.region, "--yes", options)
    pair.must(*run, "--dry-run")
    declared = pair.google.asked
    assert declared >= {"iam.serviceAccounts.create", "resourcemanager.projects.setIamPolicy"}
    permissions = tried(pair, options, declared)
    assert permissions
    for permission in permissions:
        with pair.google.deny(permission):
            refused = pair.run(*run)
        assert refused.code == 3, permission
        assert re.search(
            rf"(you lack .*|you may not look at it: .*){re.escape(permission)}", refused.out
        )
        assert "an owner of the project" in refused.err
        assert "grants you roles/" in refused.err
    assert pair.changes() == []


@pytest.mark.parametrize(("pair", "options"), RUNS, indirect=["pair"])
def test_each_other_permission_that_a_request_needs_is_named_and_loses_nothing(
    pair: Pair, options: str
) -> None:
    run = ("connect", "--region", pair.region, "--yes", options)
    pair.must(*run)
    assert pair.google.required >= {"iam.serviceAccounts.create", "storage.buckets.setIamPolicy"}
    told: dict[str, int] = {}
    # What connect asks for is the other test's.
    permissions = tried(pair, options, pair.google.required - pair.google.asked)
    assert set(permissions) == UNASKED[pair.target, options]
    for permission in permissions:
        with fresh(pair) as other:
            with other.google.deny(permission):
                refused = other.run(*run)
            told[permission] = refused.code
            if refused.code in {2, 3}:  # the plan says so
                assert other.changes() == [], permission
                assert f"you lack {permission}" in refused.out or "may not" in refused.said
            elif refused.code == 1:  # nobody could tell beforehand
                assert re.search(r"done: .*\n.*not done: ", refused.err), refused.err
                assert permission in refused.err or "storage.buckets" in permission
            else:
                assert permission in TOLERATED
            other.must(*run)
            assert other.google.state()["policies"] == pair.google.state()["policies"]
    late = {permission for permission, code in told.items() if code == 1}
    assert late <= {"storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"}
