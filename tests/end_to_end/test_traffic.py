"""Who gets the traffic, and who never does."""

from collections import Counter

import pytest

from tests.end_to_end.product import Product
from tests.support.clone import FAILS, PAGES, wait_until
from tests.support.visitors import Load

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("delivery-2")]


def test_an_older_version_does_not_overtake_a_newer_one(product: Product) -> None:
    older = product.copy(-5)
    refused = product.deliver("promote", older)
    assert refused.code == 3
    assert "older" in refused.err
    assert product.gae.traffic == {product.first: 1.0}
    product.must("promote", older, "--force")
    assert product.gae.traffic == {older: 1.0}


def test_what_git_knows_counts_more_than_dates(product: Product) -> None:
    """A clock that ran ten minutes ahead made a commit that its own descendants could not pass."""
    ahead = product.commit(minutes=600)
    product.must("deploy")
    product.must("promote")
    descendant = product.commit(minutes=590)
    product.must("deploy")
    promoted = product.must("promote")
    assert ahead > descendant, "by its name, the descendant is the older one"
    assert product.gae.traffic == {descendant: 1.0}
    assert "a change (Ada)" in promoted.err, "it says what it brings"


def test_two_promotions_at_once_do_not_interleave(product: Product) -> None:
    version, other = product.copy(5), product.copy(6)
    gate = product.gae.hold_next("POST", "/upload/storage/.*appspot.com/o")
    with product.start("promote", version) as process:
        assert gate.reached(), "it announces its move in the record"
        with product.start("promote", other) as newer:
            assert newer.wait(60) == 0
        gate.release()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "looking again" in err
    assert "is older than" in err
    assert product.gae.traffic == {other: 1.0}


def test_an_older_move_that_lands_late_does_not_win(product: Product) -> None:
    version, other = product.copy(5), product.copy(6)
    gate = product.gae.hold_next("PATCH", "/services/default")
    with product.start("promote", version) as process:
        assert gate.reached()
        with product.start("promote", other) as newer:
            wait_until(lambda: product.gae.traffic == {other: 1.0})
            gate.release()
            _, err = newer.communicate(timeout=60)
            assert newer.returncode == 0, err
        process.communicate(timeout=60)
    assert process.returncode in (3, 5)
    assert product.gae.traffic == {other: 1.0}
    last = product.record().last
    assert last is not None
    assert dict(last.after) == {other: 100}


class TestRollback:
    """Back to what is known to have worked."""

    def test_returns_to_the_version_that_served_before(self, product: Product) -> None:
        never_served, broken, bad = product.copy(4), product.copy(5, **FAILS), product.copy(6)
        history = (product.first, broken, bad)
        product.remember(*(("promote", {name: 100.0}, "healthy") for name in history))
        product.gae.admin.reset({bad: 1.0}, {product.first, never_served, broken, bad})
        with Load(product.gae, visitors=1) as load:
            back = product.must("rollback", "--timeout", "2")
            wait_until(lambda: load.revisions[product.first] > 0)
        assert broken in back.err, "it was tried first"
        assert product.gae.traffic == {product.first: 1.0}
        assert load.lost == []

    def test_skips_what_failed_in_production(self, product: Product) -> None:
        """B failed and was taken back, C was promoted: a rollback must not bring B."""
        b, c = product.copy(5), product.copy(6)
        product.gae.front.faults.fail_next("GET", "/health", 500, times=10_000)
        assert product.deliver("promote", b, "--timeout", "1").code == 4
        product.gae.heal()
        product.must("promote", c)
        product.must("rollback")
        assert product.gae.traffic == {product.first: 1.0}

    def test_is_final(self, product: Product) -> None:
        """The jobs of the commit that was rolled back from change nothing when they run again."""
        bad = product.commit()
        for verb in ("deploy", "promote", "rollback"):
            product.must(verb)
        for command in (["deploy"], ["promote"], ["promote", "--canary", "10"]):
            refused = product.deliver(*command)
            assert refused.code == 3
            assert "rolled back" in refused.err
            assert "--force" in refused.err
        assert product.gae.traffic == {product.first: 1.0}
        fix = product.commit()
        for verb in ("deploy", "promote"):
            product.must(verb)
        assert product.gae.traffic == {fix: 1.0}
        product.must("promote", bad, "--force")
        assert product.gae.traffic == {bad: 1.0}

    def test_goes_where_it_is_told(self, product: Product) -> None:
        older, newer = product.copy(-5), product.copy(5)
        product.gae.admin.reset({newer: 1.0}, {product.first, older, newer})
        product.must("rollback", older)
        assert product.gae.traffic == {older: 1.0}

    def test_is_impossible_without_a_version_that_worked(self, product: Product) -> None:
        failed = product.deliver("rollback")
        assert failed.code == 1
        assert "no other version is known to have worked" in failed.err
        assert product.gae.traffic == {product.first: 1.0}

    def test_does_not_guess_what_the_record_does_not_know(self, product: Product) -> None:
        by_hand = product.copy(5)
        product.gae.admin.reset({by_hand: 1.0}, {product.first, by_hand})
        refused = product.deliver("rollback")
        assert refused.code == 3
        assert product.first in refused.err, "it lists what is known to have worked"
        product.must("rollback", product.first)
        assert product.gae.traffic == {product.first: 1.0}

    def test_works_by_name_when_the_record_is_in_ruins(self, product: Product) -> None:
        newer = product.copy(5)
        product.gae.admin.reset({newer: 1.0}, {product.first, newer})
        bucket = product.gae.default_bucket
        product.gae.storage.write(bucket, "delivery/default.json", b"{")
        assert product.deliver("rollback").code == 1
        product.must("rollback", product.first)
        assert product.gae.traffic == {product.first: 1.0}


class TestACanary:
    """A share first, then all or nothing."""

    def test_gets_its_share_and_then_all_or_nothing(self, product: Product) -> None:
        version, next_ = product.copy(5), product.copy(6)
        product.must("promote", version, "--canary", "20")
        assert product.gae.traffic == {product.first: 0.8, version: 0.2}
        seen = Counter(product.revision() for _ in range(300))
        # Binomial with n = 300 and p = 0.2: 60 on average, a standard deviation of 6.9.
        assert abs(seen[version] - 60) < 4 * 6.9, seen
        product.must("rollback")
        assert product.gae.traffic == {product.first: 1.0}
        refused = product.deliver("promote", version)
        assert refused.code == 3, "a delayed job does not know that another one rolled back"
        assert product.gae.traffic == {product.first: 1.0}
        # Cloud Storage takes one write a second of the same object.
        product.gae.storage.seconds_between_writes = 1.0
        product.must("promote", next_, "--canary", "20")
        product.must("promote", next_)
        assert product.gae.traffic == {next_: 1.0}

    def test_that_lost_its_share_by_hand_is_not_promoted(self, product: Product) -> None:
        version = product.copy(5)
        product.must("promote", version, "--canary", "20")
        product.gae.admin.reset({product.first: 1.0}, {product.first, version})
        refused = product.deliver("promote", version)
        assert refused.code == 3
        assert "canary" in refused.err

    def test_that_fails_its_visitors_only_is_taken_back(self, product: Product) -> None:
        """On its own address it is well; asked once, production would look well, too."""
        version = product.copy(5, **fails_for_visitors(product))
        restored = product.deliver("promote", version, "--canary", "20", "--timeout", "3")
        assert restored.code == 4, restored.said
        assert "500" in restored.err
        assert product.gae.traffic == {product.first: 1.0}


def fails_for_visitors(product: Product) -> dict[str, str]:
    """Change the app so that its page fails on the public address, and nowhere else."""
    page = PAGES.replace("import Blueprint", "import Blueprint, request")
    host = product.gae.url.removeprefix("https://")
    return {"app/pages.py": page.format(body=f"return str(1 / (request.host != {host!r}))")}


def test_prune_keeps_what_served_and_deletes_what_never_did(product: Product) -> None:
    served = [product.copy(minutes) for minutes in (-8, -7, -6)]
    never = [product.copy(minutes) for minutes in (-5, -4, -3)]
    newer = product.copy(5)
    product.gae.copy_version(product.first, "mr-7")
    product.gae.copy_version(product.first, "by-hand")
    product.remember(*(("promote", {v: 100.0}, "healthy") for v in (*served, product.first)))
    product.must("prune", "--keep", "2")
    kept = {*served[1:], product.first, newer, "mr-7", "by-hand"}
    assert set(product.gae.versions) == kept
    assert not set(never) & set(product.gae.versions)
    assert "Nothing to prune" in product.must("prune", "--keep", "2").err


def test_the_record_says_who_delivered_what(product: Product) -> None:
    version = product.copy(5)
    job = {"CI_JOB_ID": "42", "GITLAB_USER_LOGIN": "grace"}
    product.must("promote", version, **job)
    product.must("rollback")
    newest, before, *_ = product.must("log").out.splitlines()
    assert "rollback" in newest
    assert product.first in newest
    assert "grace, job 42" in before
    assert version in before
    assert f"on hold: {version}" in product.must("log").out
