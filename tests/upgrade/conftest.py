"""Fixtures for upgrades."""

from pathlib import Path

import pytest

from tests.upgrade.real import Releases
from tests.upgrade.small import Client, SmallTemplate


@pytest.fixture
def template(tmp_path: Path) -> SmallTemplate:
    """Return a small template that has its first release."""
    return SmallTemplate.at(tmp_path / "template")


@pytest.fixture
def client(template: SmallTemplate, tmp_path: Path) -> Client:
    """Return a project of that release."""
    return template.bake(tmp_path / "clients")


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Return the template with all its releases, and two more."""
    return Releases.at(tmp_path_factory.mktemp("releases") / "template")
