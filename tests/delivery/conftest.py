"""Fixtures of the tests of delivery/."""

from pathlib import Path

import pytest

from tests.delivery.bench import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site that nothing was delivered to yet."""
    folder = tmp_path / "site"
    folder.mkdir()
    return Site(folder)
