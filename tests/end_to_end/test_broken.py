"""Whatever is wrong with a version, production does not notice."""

import os

import pytest

from tests.end_to_end.product import Product, a_job
from tests.support.clone import CRASHES, FAILS

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("delivery-2")]


def test_that_crashes_is_found_long_before_the_deadline_and_says_why(product: Product) -> None:
    version = product.copy(5, **CRASHES)
    product.gae.logs.empty_pages = 1  # which a search of a large log may answer first
    failed = product.deliver("verify", version)
    assert failed.code == 1
    assert "RuntimeError: no start" in failed.err, "the last lines of its log"
    assert failed.seconds < 30, "its deadline is 120 s"


def test_that_is_slow_to_start_is_given_time(product: Product) -> None:
    slow = "import time\ntime.sleep(4)\n" + product.path.joinpath("gunicorn.conf.py").read_text()
    version = product.copy(5, **{"gunicorn.conf.py": slow})
    product.must("verify", version)


def test_without_the_role_for_logs_is_told_so(product: Product) -> None:
    version = product.copy(5, **FAILS)
    with product.gae.without("logging.logEntries.list"):
        failed = product.deliver("verify", version, "--timeout", "1", **a_job(product))
    assert failed.code == 1
    assert "roles/logging.viewer" in failed.err
    assert version not in product.gae.versions


def test_is_not_blamed_for_a_network_that_cannot_reach_it(product: Product) -> None:
    version = product.copy(5)
    nobody = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": str(product.temp)}
    failed = product.deliver("verify", version, "--timeout", "2", **nobody)
    assert failed.code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in failed.err
    assert version in product.gae.versions
