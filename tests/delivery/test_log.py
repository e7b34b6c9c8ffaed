"""log: who moved the traffic when, and how it went."""

import pytest
from delivery.errors import RestoredError
from delivery.log import log
from delivery.promote import promote
from delivery.rollback import rollback

from tests.delivery.bench import A, B, C, KilledError, Site, Taps


def test_it_shows_the_moves_the_newest_first_and_what_is_on_hold(site: Site) -> None:
    site.deliver(A, B)
    site.deploy(C)
    site.broken.add(C)
    with pytest.raises(RestoredError):
        promote(site.job(C, who="bob"), None, canary=10)
    site.sleep(60)
    rollback(site.job(who="eve"), None)
    log(site.job(), count=3)
    assert site.results.getvalue().splitlines() == [
        f"2026-11-10 02:01 UTC  rollback  {A} 100 %  by eve",
        f"2026-11-10 02:00 UTC  canary    {B} 90 %, {C} 10 %  by bob  (restored)",
        f"2026-11-10 01:00 UTC  promote   {B} 100 %  by ada",
        f"on hold: {B}, since 2026-11-10 02:01 UTC: eve rolled back from it to {A}",
    ]


def test_it_says_when_nobody_has_looked_and_when_the_end_is_not_recorded(site: Site) -> None:
    site.deliver(A)
    site.deploy(B)
    site.ill.add(B)
    promote(site.job(B), None, force=True)
    site.deploy(C)

    def at(_: int, call: str) -> None:
        if call == "before set_traffic":
            raise KilledError

    with pytest.raises(KilledError):
        promote(site.job(C, taps=Taps(at)), None)
    log(site.job(), count=2)
    assert [line.partition("ada  ")[2] for line in site.results.getvalue().splitlines()] == [
        "(its end is not recorded)",
        "(not checked)",
    ]


def test_before_the_first_delivery_there_is_nothing_to_show(site: Site) -> None:
    log(site.job(), count=20)
    assert "No delivery is recorded yet" in site.said
    assert site.results.getvalue() == ""
