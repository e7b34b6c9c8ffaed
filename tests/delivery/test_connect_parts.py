"""The parts of connect that are plain data: bindings, addresses, descriptions."""

from typing import Any

import pytest
from delivery.connect.connect import table
from delivery.connect.gitlab import GitLab, Place, place
from delivery.connect.once import Once
from delivery.connect.project import Project
from delivery.google.connect.policies import Grant, lacking, with_grants, without_grants

pytestmark = pytest.mark.fast

ADA = Grant("roles/viewer", "serviceAccount:ada@p.iam.gserviceaccount.com")
EVE = Grant("roles/viewer", "user:eve@example.com")
CONDITION = {"title": "until Friday", "expression": "request.time < timestamp('2027-01-01')"}


def policy(*bindings: dict[str, Any]) -> dict[str, Any]:
    return {"etag": "abc", "version": 1, "bindings": list(bindings)}


def viewers(*members: str, **more: Any) -> dict[str, Any]:
    return {"role": "roles/viewer", "members": list(members), **more}


def test_a_grant_is_added_beside_those_of_others() -> None:
    before = policy(viewers(EVE.member), {"role": "roles/owner", "members": ["user:o@example.com"]})
    after = with_grants(before, [ADA])
    assert lacking(after, [ADA, EVE]) == []
    assert after["etag"] == "abc"
    assert after["bindings"][1:] == before["bindings"][1:]
    assert without_grants(after, [ADA]) == before | {"version": 3}


def test_what_is_there_is_not_written_again() -> None:
    there = policy(viewers(ADA.member))
    assert with_grants(there, [ADA]) is there
    assert without_grants(there, [EVE]) is there


def test_a_conditional_grant_does_not_count_and_stays() -> None:
    before = policy(viewers(ADA.member, condition=CONDITION))
    after = with_grants(before, [ADA])
    assert viewers(ADA.member, condition=CONDITION) in after["bindings"]
    assert viewers(ADA.member) in after["bindings"]
    assert after["version"] == 3
    assert without_grants(after, [ADA])["bindings"] == before["bindings"]


def test_what_a_deleted_account_of_that_name_left_is_cleared() -> None:
    ghost = f"deleted:{ADA.member}?uid=123"
    after = with_grants(policy(viewers(ghost, EVE.member)), [ADA])
    assert after["bindings"] == [viewers(EVE.member, ADA.member)]


@pytest.mark.parametrize(
    ("remote", "url", "project"),
    [
        ("git@gitlab.com:acme/site.git", "https://gitlab.com", "acme/site"),
        ("ssh://git@gitlab.acme.example:2222/a/b/c.git", "https://gitlab.acme.example", "a/b/c"),
        ("https://ada:secret@gitlab.com/acme/site", "https://gitlab.com", "acme/site"),
        ("https://git.example:8443/acme/site.git/", "https://git.example:8443", "acme/site"),
        ("http://127.0.0.1:8080/acme/site.git", "http://127.0.0.1:8080", "acme/site"),
    ],
)
def test_the_remote_tells_where_gitlab_is(remote: str, url: str, project: str) -> None:
    assert place(remote) == Place(url, project)


@pytest.mark.parametrize("remote", ["", "/srv/git/site.git", "../site.git", "file:///srv/a/b.git"])
def test_a_remote_without_a_host_tells_nothing(remote: str) -> None:
    assert place(remote) is None


def test_a_version_of_gitlab_is_compared_as_numbers() -> None:
    gitlab = Project(GitLab("https://gitlab.com", "token"), "acme/site")
    gitlab.version = Once(lambda: "18.10.1-ee")
    assert gitlab.is_at_least(18, 4)
    assert not gitlab.is_at_least(18, 11)


def test_a_table_has_columns_and_details() -> None:
    shown = table([("a", "there", "one", ""), ("bcd", "differs", "two", "x\ny")])
    assert shown == "a    there    one\nbcd  differs  two\n    x\n    y"
