"""How the application is built."""

import pytest

from app import create_app


def test_variables_become_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SECRET_KEY", "sesame")

    assert create_app().config["SECRET_KEY"] == "sesame"


def test_two_applications_share_no_configuration() -> None:
    one, two = create_app(), create_app()
    one.config["TITLE"] = "one"

    assert "TITLE" not in two.config
