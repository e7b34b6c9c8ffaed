"""What the verbs share."""

import time
from pathlib import Path

import pytest
from delivery.errors import RefusedError
from delivery.job import Production, State, age, refuse_review

from tests.delivery.bench import PUBLIC, A, B, C, Commits, Site


@pytest.mark.parametrize(
    ("production", "words"),
    [
        (Production(), "unchanged"),
        (Production(State.RESTORED, "as before"), "restored: as before"),
    ],
)
def test_the_state_of_production_is_said_in_words(production: Production, words: str) -> None:
    assert str(production) == words


def test_ancestry_says_what_is_newer_and_dates_only_where_it_cannot(site: Site) -> None:
    job = site.job()
    assert job.is_newer(B, A)
    assert not job.is_newer(A, B)
    assert not job.is_newer(A, A)
    job.commits = Commits(A, parents={A: B})
    assert job.is_newer(A, B)
    assert not job.is_newer(B, A)
    assert job.is_newer(C, B)


def test_a_name_that_tells_no_time_is_neither_newer_nor_older(site: Site) -> None:
    assert not site.job().is_newer("hotfix", A)
    assert not site.job().is_newer(A, "hotfix")


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "now"), (60, "1 min"), (7199, "1 h"), (172800, "2 d")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_a_review_app_is_refused_and_nothing_else() -> None:
    refuse_review(A)
    with pytest.raises(RefusedError, match="never gets traffic"):
        refuse_review("mr-7")


def test_an_address_is_left_for_gitlab_where_it_asked_for_it(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "review.env"
    site.job().leave_url("URL", PUBLIC)
    site.job(report=file, dry_run=True).leave_url("URL", PUBLIC)
    site.job(report=file).leave_url("URL", "")
    assert not file.exists()
    site.job(report=file).leave_url("URL", PUBLIC)
    assert file.read_text() == f"URL={PUBLIC}\n"


def test_the_record_keeps_whole_seconds_of_the_time_that_it_is(site: Site) -> None:
    job = site.job()
    job.now = type(job).__dataclass_fields__["now"].default  # type: ignore[assignment]
    assert job.stamp().microsecond == 0
    assert abs(job.stamp().timestamp() - time.time()) < 5
