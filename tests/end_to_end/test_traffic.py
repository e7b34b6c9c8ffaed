"""Who gets the traffic, and who never does."""

import pytest

from tests.end_to_end.product import Product
from tests.support.clone import PAGES, wait_until

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("delivery-2")]


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


def test_the_record_is_written_no_faster_than_cloud_storage_takes_it(product: Product) -> None:
    version = product.copy(5)
    product.gae.storage.seconds_between_writes = 1.0  # of the same object
    product.must("promote", version, "--canary", "20")
    product.must("promote", version)
    assert product.gae.traffic == {version: 1.0}


def test_a_canary_that_fails_its_visitors_only_is_taken_back(product: Product) -> None:
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
