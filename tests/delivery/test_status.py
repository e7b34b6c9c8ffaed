"""status: what is there, what is known of it, and what has not been delivered yet."""

import os
from datetime import timedelta

import pytest
from delivery.errors import MisuseError, RestoredError
from delivery.job import Job
from delivery.promote import promote
from delivery.rollback import rollback
from delivery.status import status

from tests.delivery.bench import EPOCH, PUBLIC, A, B, C, Commits, D, KilledError, Site, Taps, url_of


def table(site: Site, job: Job | None = None) -> list[list[str]]:
    site.results.seek(0)
    site.results.truncate()
    assert status(job or site.job()) == PUBLIC
    return [line.split() for line in site.results.getvalue().splitlines()]


def test_it_shows_traffic_age_address_and_what_is_known_of_each(site: Site) -> None:
    site.deliver(A, B)
    site.deploy("mr-7", C, D)
    site.broken.add(C)
    with pytest.raises(RestoredError):
        promote(site.job(C), None, canary=20)
    promote(site.job(D), None, canary=10)
    rollback(site.job(), None)
    site.now = EPOCH + timedelta(days=2)
    ages = {A: 0, B: 3600, C: 46 * 3600, "mr-7": 47 * 3600, D: 48 * 3600 - 300}
    for version, seconds in ages.items():
        at = (EPOCH + timedelta(seconds=seconds)).timestamp()
        os.utime(site.folder / version, (at, at))
    assert table(site) == [
        ["VERSION", "TRAFFIC", "KNOWN", "AGE", "URL"],
        [D, "-", "rolled", "back", "5", "min", url_of(D)],
        ["mr-7", "-", "-", "1", "h", url_of("mr-7")],
        [C, "-", "failed", "2", "h", url_of(C)],
        ["*", B, "100", "%", "worked", "1", "d", url_of(B)],
        [A, "-", "worked", "2", "d", url_of(A)],
    ]


def test_a_version_that_was_just_deployed_is_of_now(site: Site) -> None:
    site.deliver(A)
    os.utime(site.folder / A, (site.now.timestamp(),) * 2)
    assert "now" in table(site)[1]


def test_it_lists_the_commits_that_are_not_in_production(site: Site) -> None:
    site.deliver(A)
    table(site, site.job(B))
    assert "Not in production yet:" in site.said
    assert f"all that is in {B} and not in {A}" in site.said


def test_it_needs_no_clone(site: Site) -> None:
    class NoClone(Commits):
        def version(self) -> str:
            raise MisuseError("not in a clone")

    site.deliver(A)
    job = site.job()
    job.commits = NoClone(A)
    assert len(table(site, job)) == 2


def test_without_any_version_it_says_so(site: Site) -> None:
    assert status(site.job()) == ""
    assert "Nothing has been delivered yet" in site.said


def test_it_works_without_a_record_and_says_why_there_is_none(site: Site) -> None:
    site.deliver(A)
    site.write_record("not a record")
    assert len(table(site)) == 2
    assert "The record of deliveries cannot be read" in site.said


def test_it_warns_of_traffic_that_was_moved_by_hand(site: Site) -> None:
    site.deliver(A, B)
    site.split(a=100)
    table(site)
    assert f"moved without these commands: the record says {B} 100 %" in site.said


def test_it_warns_of_a_move_whose_end_is_not_recorded(site: Site) -> None:
    site.deliver(A)
    site.deploy(B)

    def at(_: int, call: str) -> None:
        if call == "after set_traffic":
            raise KilledError

    with pytest.raises(KilledError):
        promote(site.job(B, taps=Taps(at)), None)
    site.sleep(7200)
    table(site)
    assert f"A promote by ada to {B} 100 % was begun 2 h ago, and its end is not" in site.said
