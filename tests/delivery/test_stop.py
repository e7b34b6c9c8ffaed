"""stop: a merge request's version is deleted when it is no longer needed."""

import pytest
from delivery.errors import CommandError, MisuseError, RefusedError
from delivery.stop import stop

from tests.delivery.bench import A, Site


def test_stop_deletes_it_and_can_be_repeated(site: Site) -> None:
    site.deliver(A)
    site.deploy("mr-7")
    stop(site.job(), "7")
    stop(site.job(), "7")
    assert site.versions == {A}
    assert "Deleted mr-7" in site.said
    assert "gone already" in site.said


def test_the_target_itself_refuses_to_delete_what_has_traffic(site: Site) -> None:
    site.deliver(A)
    with pytest.raises(CommandError, match="has traffic"):
        site.job().target.delete([A])


def test_one_that_somebody_gave_traffic_is_left_alone(site: Site) -> None:
    site.deliver(A)
    site.deploy("mr-7")
    site.split(**{"mr-7": 100})
    with pytest.raises(RefusedError, match="must never have"):
        stop(site.job(), "7")
    assert "mr-7" in site.versions


def test_it_needs_the_number_of_a_merge_request(site: Site) -> None:
    with pytest.raises(MisuseError, match="not the number"):
        stop(site.job(), "seven")


def test_a_dry_run_does_not_claim_to_have_deleted(site: Site) -> None:
    site.deliver(A)
    site.deploy("mr-7")
    stop(site.job(dry_run=True), "7")
    assert "mr-7" in site.versions
    assert "Deleted" not in site.said
