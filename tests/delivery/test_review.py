"""review: a merge request's version lives beside production, and never becomes it."""

from pathlib import Path

import pytest
from delivery.errors import DeliveryError, MisuseError, RefusedError
from delivery.review import review

from tests.delivery.bench import A, Site, url_of


def test_it_is_deployed_checked_and_reported_without_traffic(site: Site, tmp_path: Path) -> None:
    site.deliver(A)
    report = tmp_path / "review.env"
    assert review(site.job(report=report), "7") == url_of("mr-7")
    assert site.serving == {A: 100}
    assert report.read_text() == f"REVIEW_URL={url_of('mr-7')}\n"


def test_one_that_fails_is_deleted_and_not_reported(site: Site, tmp_path: Path) -> None:
    site.deliver(A)
    site.ill.add("mr-7")
    report = tmp_path / "review.env"
    with pytest.raises(DeliveryError, match="deleted"):
        review(site.job(report=report), "7")
    assert site.versions == {A}
    assert not report.exists()


def test_the_next_push_replaces_it(site: Site) -> None:
    site.deliver(A)
    review(site.job("one"), "7")
    review(site.job("two"), "7")
    assert (site.folder / "mr-7" / "app.py").read_text() == "two"


def test_it_must_not_become_the_first_production(site: Site) -> None:
    with pytest.raises(RefusedError, match="would become production"):
        review(site.job(), "7")
    assert site.versions == set()


def test_one_that_somebody_gave_traffic_is_left_alone(site: Site) -> None:
    site.deliver(A)
    site.deploy("mr-7")
    site.split(**{"mr-7": 100})
    with pytest.raises(RefusedError, match="must never have"):
        review(site.job(), "7")
    assert "mr-7" in site.versions


@pytest.mark.parametrize("iid", ["0", "x", "-1", "7;ls", "12345678901", ""])
def test_it_needs_the_number_of_a_merge_request(site: Site, iid: str) -> None:
    with pytest.raises(MisuseError, match="not the number"):
        review(site.job(), iid)


def test_a_dry_run_does_nothing(site: Site) -> None:
    site.deliver(A)
    assert review(site.job(dry_run=True), "7") == ""
    assert site.versions == {A}
