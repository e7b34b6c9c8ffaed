"""What the unit tests of delivery/ share."""

import pytest


@pytest.fixture(autouse=True)
def _no_bytecode(_own_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the programs that they start from writing into the template, which tests bake."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
