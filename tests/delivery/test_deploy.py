"""deploy: the commit is uploaded, and the traffic stays where it is."""

from pathlib import Path

import pytest
from delivery.deploy import deploy
from delivery.errors import MisuseError, RefusedError
from delivery.job import State
from delivery.rollback import rollback

from tests.delivery.bench import A, B, C, Commits, Site, url_of


def test_the_commit_is_uploaded_and_no_traffic_moves(site: Site) -> None:
    site.deliver(A)
    job = site.job(B)
    assert deploy(job, None) == url_of(B)
    assert site.serving == {A: 100}
    assert (site.folder / B / "app.py").read_text() == B
    assert job.production.state is State.UNCHANGED


def test_the_first_version_has_all_traffic_and_it_says_so(site: Site) -> None:
    job = site.job(A)
    deploy(job, None)
    assert "it has all traffic from the start" in site.said.replace("so it", "it")
    assert job.production.state is State.CHANGED


def test_uncommitted_changes_are_refused_before_anything_is_uploaded(site: Site) -> None:
    job = site.job(A)
    job.commits = Commits(A, uncommitted=True)
    with pytest.raises(RefusedError):
        deploy(job, None)
    assert site.versions == set()


def test_a_name_that_the_target_refuses_stops_it_before_anything_is_uploaded(site: Site) -> None:
    with pytest.raises(MisuseError):
        deploy(site.job(A), "Not/Allowed")
    assert site.versions == set()


def test_a_version_that_serves_is_left_alone(site: Site) -> None:
    site.deliver(A)
    assert deploy(site.job(A), None) == url_of(A)
    assert f"{A} is live already (100 % of the traffic): left alone" in site.said


def test_a_version_that_has_served_is_left_alone(site: Site) -> None:
    site.deliver(A, B)
    (site.folder / A / "mark").touch()
    assert deploy(site.job(A), None) == url_of(A)
    assert (site.folder / A / "mark").exists()


def test_a_version_that_never_served_is_deployed_over(site: Site) -> None:
    site.deliver(A)
    site.deploy(B)
    (site.folder / B / "half").touch()
    deploy(site.job(B), None)
    assert not (site.folder / B / "half").exists()
    assert "deploying over it" in site.said


def test_what_was_rolled_back_from_is_not_deployed_again_but_by_force(site: Site) -> None:
    site.deliver(A, B)
    rollback(site.job(), None)
    with pytest.raises(RefusedError, match="ada rolled back from it") as caught:
        deploy(site.job(B), None)
    assert "deploy --force, then promote --force" in caught.value.then
    assert deploy(site.job(B), None, force=True) == url_of(B)


def test_a_new_commit_is_deployed_after_a_rollback(site: Site) -> None:
    site.deliver(A, B)
    rollback(site.job(), None)
    assert deploy(site.job(C), None) == url_of(C)


def test_a_dry_run_uploads_nothing(site: Site) -> None:
    site.deliver(A)
    assert deploy(site.job(B, dry_run=True), None) == ""
    assert site.versions == {A}


def test_a_version_that_is_not_there_after_its_upload_has_failed(site: Site) -> None:
    job = site.job(A)
    job.target.deploy = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match="there is no version"):
        deploy(job, None)


def test_a_half_upload_is_no_version(site: Site, tmp_path: Path) -> None:
    target = site.job().target
    with pytest.raises(FileNotFoundError):
        target.deploy(A, tmp_path / "missing")
    assert site.versions == set()
