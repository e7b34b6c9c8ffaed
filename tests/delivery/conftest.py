"""Fixtures for the tests of delivery/."""

from pathlib import Path

import pytest
from delivery.google import rest

from tests.delivery.bench import Site
from tests.delivery.machine import Google, Machine
from tests.delivery.ssh import engine, ssh

__all__ = ["engine", "ssh"]


@pytest.fixture(autouse=True)
def _no_bytecode(_own_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the programs that they start from writing into the template, which tests bake."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site that nothing was delivered to yet."""
    folder = tmp_path / "site"
    folder.mkdir()
    return Site(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Make a project folder, a PATH and a runner."""
    return Machine(tmp_path)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Google:
    """Stand in for the network below the REST client."""
    made = Google()
    monkeypatch.setattr(rest, "_send", made.send)
    return made
