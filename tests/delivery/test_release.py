"""Making versions: deploy, verify, review and stop."""

from pathlib import Path

import pytest
from delivery import release
from delivery.check import Finding
from delivery.errors import DeliveryError, MisuseError, RefusedError

from tests.delivery.fakes import AWAY, NEW, OLD, FakeTarget, bench, url_of


def serving_old() -> FakeTarget:
    return FakeTarget().having(**{OLD.replace("-", "_"): 100})


def test_deploy_uploads_the_commit_and_moves_no_traffic() -> None:
    b = bench(serving_old())
    assert release.deploy(b.job, None) == url_of(NEW)
    assert b.target.done == [f"deploy {NEW}"]
    assert b.target.serving() == {OLD: 100}
    assert b.job.production == "unchanged"


def test_the_first_version_has_all_traffic_and_deploy_says_so() -> None:
    b = bench()
    release.deploy(b.job, None)
    assert "it has all traffic from the start" in b.said
    assert "first version" in b.job.production


def test_uncommitted_changes_are_refused_before_anything_is_uploaded() -> None:
    b = bench(FakeTarget(failures={"uncommitted": [RefusedError("changes")]}))
    with pytest.raises(RefusedError):
        release.deploy(b.job, None)
    assert b.target.done == []


def test_a_version_with_a_name_of_its_own_may_hold_uncommitted_changes() -> None:
    b = bench(FakeTarget(failures={"uncommitted": [RefusedError("changes")]}))
    assert release.deploy(b.job, "trial") == url_of("trial")


def test_a_name_that_the_target_cannot_take_stops_before_anything_is_uploaded() -> None:
    b = bench(FakeTarget(failures={"accept": [MisuseError("too long")]}))
    with pytest.raises(MisuseError):
        release.deploy(b.job, None)
    assert b.target.done == []


def test_a_version_that_is_live_is_not_deployed_again() -> None:
    b = bench(FakeTarget().having(OLD, **{NEW.replace("-", "_"): 10}))
    assert release.deploy(b.job, None) == url_of(NEW)
    assert b.target.done == []
    assert "live already (10 %" in b.said


def test_a_deploy_that_was_cut_short_can_be_repeated() -> None:
    b = bench(serving_old().having(NEW))
    assert release.deploy(b.job, None) == url_of(NEW)
    assert b.target.done == [f"deploy {NEW}"]
    assert "deploying over it" in b.said


def test_a_deploy_that_leaves_no_version_has_failed() -> None:
    b = bench(serving_old())
    b.target.dry_run = True
    with pytest.raises(RefusedError, match="no version"):
        release.deploy(b.job, None)


def test_a_dry_deploy_looks_for_no_result() -> None:
    b = bench(serving_old(), dry_run=True)
    assert release.deploy(b.job, None) == ""


def test_verify_asks_the_versions_own_address_for_its_own_revision() -> None:
    b = bench(serving_old().having(NEW))
    assert release.verify(b.job, None) == url_of(NEW)
    assert b.check.asked == [(url_of(NEW), frozenset({NEW}))]
    assert b.target.done == []


def test_a_version_that_fails_its_check_is_deleted() -> None:
    b = bench(serving_old().having(NEW), ill=[NEW])
    with pytest.raises(DeliveryError, match="so it was deleted") as caught:
        release.verify(b.job, None)
    assert caught.value.exit_code == 1
    assert caught.value.why == "/health answers 500"
    assert b.target.done == [f"delete {NEW}"]
    assert b.target.serving() == {OLD: 100}


def test_a_version_with_traffic_is_never_deleted() -> None:
    b = bench(serving_old(), ill=[OLD])
    with pytest.raises(DeliveryError, match="not deleted, because it has 100 %"):
        release.verify(b.job, OLD)
    assert b.target.done == []


def test_a_version_that_was_promoted_while_it_was_checked_is_not_deleted() -> None:
    b = bench(serving_old().having(NEW), ill=[NEW])
    b.target.splits = [{NEW: 100}]
    with pytest.raises(DeliveryError, match="not deleted"):
        release.verify(b.job, None)
    assert b.target.done == []


def test_a_version_out_of_reach_is_kept_because_the_fault_may_be_here() -> None:
    b = bench(serving_old().having(NEW), findings={url_of(NEW): AWAY})
    with pytest.raises(DeliveryError, match="it was kept"):
        release.verify(b.job, None)
    assert b.target.done == []


def test_verifying_what_was_never_deployed_is_refused() -> None:
    with pytest.raises(RefusedError, match="there is no version"):
        release.verify(bench(serving_old()).job, None)


def test_a_dry_verify_does_not_claim_to_have_deleted() -> None:
    b = bench(serving_old().having(NEW), ill=[NEW], dry_run=True)
    with pytest.raises(DeliveryError, match=r"is not healthy$"):
        release.verify(b.job, None)


def test_a_review_app_is_deployed_and_checked_without_traffic(tmp_path: Path) -> None:
    report = tmp_path / "review.env"
    b = bench(serving_old(), report=report)
    assert release.review(b.job, "7") == url_of("mr-7")
    assert b.target.done == ["deploy mr-7"]
    assert b.target.serving() == {OLD: 100}
    assert report.read_text() == f"REVIEW_URL={url_of('mr-7')}\n"


def test_a_review_app_that_fails_is_deleted_and_not_reported(tmp_path: Path) -> None:
    report = tmp_path / "review.env"
    b = bench(serving_old(), ill=["mr-7"], report=report)
    with pytest.raises(DeliveryError, match="deleted"):
        release.review(b.job, "7")
    assert b.target.done == ["deploy mr-7", "delete mr-7"]
    assert not report.exists()


def test_a_review_app_is_replaced_by_the_next_push() -> None:
    b = bench(serving_old().having("mr-7"))
    assert release.review(b.job, "7") == url_of("mr-7")
    assert b.target.done == ["deploy mr-7"]


def test_a_review_app_must_not_become_the_first_production() -> None:
    b = bench()
    with pytest.raises(RefusedError, match="would become production"):
        release.review(b.job, "7")
    assert b.target.done == []


@pytest.mark.parametrize("verb", [release.review, release.stop])
def test_a_review_app_with_traffic_is_left_alone(verb: object) -> None:
    b = bench(FakeTarget().having(OLD, mr_7=100))
    assert callable(verb)
    with pytest.raises(RefusedError, match="must never have"):
        verb(b.job, "7")
    assert b.target.done == []


def test_a_dry_review_stops_after_the_upload_that_it_did_not_do() -> None:
    b = bench(serving_old(), dry_run=True)
    assert release.review(b.job, "7") == ""
    assert b.check.asked == []


@pytest.mark.parametrize("iid", ["0", "x", "-1", "7;ls", "12345678901", ""])
def test_a_review_needs_the_number_of_a_merge_request(iid: str) -> None:
    with pytest.raises(MisuseError, match="not the number"):
        release.review(bench(serving_old()).job, iid)


def test_stop_deletes_the_review_app_and_a_repeated_stop_is_fine() -> None:
    b = bench(serving_old().having("mr-7"))
    release.stop(b.job, "7")
    release.stop(b.job, "7")
    assert b.target.done == ["delete mr-7"]
    assert "Deleted mr-7" in b.said
    assert "gone already" in b.said


def test_a_dry_stop_does_not_claim_to_have_deleted() -> None:
    b = bench(serving_old().having("mr-7"), dry_run=True)
    release.stop(b.job, "7")
    assert "Deleted" not in b.said


def test_a_finding_is_in_reach_unless_it_says_otherwise() -> None:
    assert Finding(healthy=False).reached
