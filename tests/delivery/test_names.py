"""The names of versions."""

from datetime import UTC, datetime

import pytest
from delivery import names
from delivery.errors import MisuseError


def test_a_version_is_named_after_its_commits_time_in_utc_and_its_hash() -> None:
    seconds = int(datetime(2026, 11, 22, 23, 2, 3, tzinfo=UTC).timestamp())
    name = names.of_commit(seconds, "abcdef0123456789")
    assert name == "v20261122t230203-abcdef01"
    assert names.commit_time(name) == datetime(2026, 11, 22, 23, 2, 3, tzinfo=UTC)
    assert names.commit_of(name) == "abcdef01"


@pytest.mark.parametrize(
    "name", ["mr-7", "v1", "v20261122t230203", "v20261122t230203-ABCDEF01", "hotfix"]
)
def test_other_names_tell_neither_time_nor_commit(name: str) -> None:
    assert names.commit_time(name) is None
    assert names.commit_of(name) is None


def test_digits_that_are_no_date_tell_no_time() -> None:
    assert names.commit_time("v20269922t230203-abcdef01") is None


def test_a_review_app_is_named_after_its_merge_request() -> None:
    assert names.of_merge_request("7") == "mr-7"
    assert names.is_review("mr-7")
    assert not names.is_review("mr-7x")


@pytest.mark.parametrize("iid", ["0", "07", "x", "-1", "7;ls", "12345678901", ""])
def test_what_is_no_merge_request_names_nothing(iid: str) -> None:
    with pytest.raises(MisuseError, match="not the number"):
        names.of_merge_request(iid)
