"""prune: what nobody will go back to is deleted, and nothing else."""

import pytest
from delivery.errors import MisuseError
from delivery.promote import promote
from delivery.prune import prune
from delivery.rollback import rollback

from tests.delivery.bench import A, B, C, D, KilledError, Site, Taps

OLD = [f"v202610{day:02}t100000-{day:08}" for day in range(1, 5)]


def test_it_keeps_the_newest_that_served_and_deletes_the_older_ones(site: Site) -> None:
    site.deliver(*OLD, A, B, C)
    prune(site.job(), keep=2)
    assert site.versions == {A, B, C}
    assert site.said.count("Deleted v202610") == 4


def test_it_keeps_what_served_and_deletes_what_never_did(site: Site) -> None:
    site.deliver(OLD[0])
    site.deploy(*OLD[1:], A, B)
    site.deliver(C)
    prune(site.job(), keep=1)
    assert site.versions == {OLD[0], C}


def test_it_can_be_repeated(site: Site) -> None:
    site.deliver(*OLD, A)
    prune(site.job(), keep=1)
    prune(site.job(), keep=1)
    assert site.versions == {OLD[3], A}
    assert "Nothing to prune." in site.said


def test_it_keeps_what_waits_review_apps_and_names_chosen_by_hand(site: Site) -> None:
    site.deliver(OLD[0], OLD[1], A)
    site.deploy("mr-7", "by-hand", B, C)
    prune(site.job(), keep=1)
    assert site.versions == {OLD[1], A, "mr-7", "by-hand", B, C}


def test_it_keeps_what_has_traffic(site: Site) -> None:
    site.deliver(OLD[0], OLD[1], A)
    site.deploy(B)
    promote(site.job(B), None, canary=10)
    prune(site.job(), keep=1)
    assert site.versions == {OLD[1], A, B}


def test_what_was_rolled_back_from_is_not_counted_as_worth_keeping(site: Site) -> None:
    site.deliver(A, B, C)
    rollback(site.job(), None)  # from C to B
    site.deliver(D)
    prune(site.job(), keep=1)
    assert site.versions == {B, D}


def test_it_keeps_both_ends_of_a_move_that_is_under_way(site: Site) -> None:
    site.deliver(A, B)
    site.deploy(C)

    def at(_: int, call: str) -> None:
        if call == "before set_traffic":
            raise KilledError

    with pytest.raises(KilledError):
        rollback(site.job(taps=Taps(at)), None)  # to A, and B is on hold
    site.split(c=100)
    prune(site.job(), keep=1)
    assert site.versions == {A, B, C}


def test_without_a_record_nothing_is_deleted(site: Site) -> None:
    site.deploy(*OLD, A)
    prune(site.job(), keep=1)
    assert site.versions == {*OLD, A}
    assert "there is no record yet of what has served" in site.said


def test_at_least_one_version_to_roll_back_to_is_kept(site: Site) -> None:
    with pytest.raises(MisuseError, match="--keep is 0"):
        prune(site.job(), keep=0)


def test_a_dry_run_deletes_nothing_and_does_not_claim_to(site: Site) -> None:
    site.deliver(*OLD, A)
    prune(site.job(dry_run=True), keep=1)
    assert site.versions == {*OLD, A}
    assert "Deleted" not in site.said
    assert "delete" in site.results.getvalue()
