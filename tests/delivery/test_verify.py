"""verify: a version that is ill is deleted, unless somebody may still need it."""

import pytest
from delivery.errors import CommandError, DeliveryError, RefusedError
from delivery.verify import verify

from tests.delivery.bench import A, B, C, Site, Taps, url_of


@pytest.fixture
def ill(site: Site) -> Site:
    """Return a site on which B serves, A served before, and C waits and is ill."""
    site.deliver(A, B)
    site.deploy(C)
    site.ill.add(C)
    site.probed.clear()
    return site


def test_a_healthy_version_is_kept_and_its_address_returned(ill: Site) -> None:
    ill.ill.clear()
    assert verify(ill.job(), None) == url_of(C)
    assert ill.probed == [url_of(C)]
    assert C in ill.versions


def test_a_version_that_fails_is_deleted_and_its_last_words_are_shown(ill: Site) -> None:
    (ill.folder / C / f"{C}.log").write_text("Starting\nImportError: flask\n")
    with pytest.raises(DeliveryError, match="so it was deleted") as caught:
        verify(ill.job(), None)
    assert "answers 500" in caught.value.why
    assert caught.value.log == "Starting\nImportError: flask"
    assert ill.versions == {A, B}


def test_what_was_logged_at_every_attempt_is_shown_once(ill: Site) -> None:
    (ill.folder / C / f"{C}.log").write_text("Starting\n" + "ValueError: x\n" * 10 + "Stopping\n")
    with pytest.raises(DeliveryError) as caught:
        verify(ill.job(), None)
    assert caught.value.log == "Starting\nValueError: x\nStopping"


def test_a_version_that_wrote_nothing_is_said_to_have(ill: Site) -> None:
    with pytest.raises(DeliveryError) as caught:
        verify(ill.job(), None)
    assert caught.value.log == "the version wrote nothing"


def test_a_log_that_cannot_be_read_does_not_hide_the_failure(ill: Site) -> None:
    def at(_: int, call: str) -> None:
        if call == "before log":
            raise CommandError("reading the log", then="grant the role")

    with pytest.raises(DeliveryError, match="so it was deleted") as caught:
        verify(ill.job(taps=Taps(at)), None)
    assert caught.value.log == "it could not be read: reading the log\ngrant the role"


def test_a_version_with_traffic_is_kept(ill: Site) -> None:
    ill.ill.add(B)
    with pytest.raises(DeliveryError, match="not deleted, because it has 100 % of the traffic"):
        verify(ill.job(B), None)
    assert B in ill.versions


def test_a_version_that_got_traffic_while_it_was_checked_is_kept(ill: Site) -> None:
    def at(_: int, call: str) -> None:
        if call == "before version":
            ill.split(c=100)

    with pytest.raises(DeliveryError, match="not deleted"):
        verify(ill.job(taps=Taps(at)), None)
    assert C in ill.versions


def test_a_version_that_has_served_is_kept(ill: Site) -> None:
    ill.ill.add(A)
    with pytest.raises(DeliveryError, match="because it has served before"):
        verify(ill.job(), A)
    assert A in ill.versions


def test_a_version_is_kept_where_the_record_cannot_say_whether_it_served(ill: Site) -> None:
    ill.write_record("not a record")
    with pytest.raises(DeliveryError, match="it is not known whether it has served") as caught:
        verify(ill.job(), None)
    assert "answers 500" in caught.value.why
    assert C in ill.versions


def test_a_version_out_of_reach_is_kept_because_the_fault_may_be_here(ill: Site) -> None:
    ill.away.add(C)
    with pytest.raises(DeliveryError, match="it was kept"):
        verify(ill.job(), None)
    assert C in ill.versions


def test_a_version_that_was_never_deployed_is_refused(site: Site) -> None:
    with pytest.raises(RefusedError, match="there is no version") as caught:
        verify(site.job(), None)
    assert caught.value.why.startswith("it was not deployed")


def test_a_dry_run_deletes_nothing_and_does_not_claim_to(ill: Site) -> None:
    with pytest.raises(DeliveryError, match=r"is not healthy$"):
        verify(ill.job(dry_run=True), None)
    assert C in ill.versions
