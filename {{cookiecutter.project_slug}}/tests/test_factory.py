"""How the application is built and configured."""

import pytest
from flask import Flask, session

from app import create_app


def cookie(app: Flask) -> str:
    """Return the header with which a page that uses the session sets its cookie."""

    @app.get("/remember")
    def remember() -> str:
        session["name"] = "Ada"
        return ""

    return app.test_client().get("/remember").headers["Set-Cookie"]


def test_variables_become_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SECRET_KEY", "sesame")

    assert create_app().config["SECRET_KEY"] == "sesame"


def test_configuration_that_is_passed_goes_before_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLASK_DATABASE", "sqlite:///shop.db")

    assert create_app({"DATABASE": "sqlite://"}).config["DATABASE"] == "sqlite://"


def test_two_applications_share_no_configuration() -> None:
    one, two = create_app(), create_app()
    one.config["TITLE"] = "one"

    assert "TITLE" not in two.config


def test_the_session_cookie_travels_over_tls_only_and_not_across_sites() -> None:
    attributes = cookie(create_app({"SECRET_KEY": "sesame"})).split("; ")

    assert "Secure" in attributes
    assert "HttpOnly" in attributes
    assert "SameSite=Lax" in attributes


def test_a_laptop_without_tls_gets_the_session_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")

    assert "Secure" not in cookie(create_app({"SECRET_KEY": "sesame"}))


def test_a_missing_secret_key_is_logged_at_start(capsys: pytest.CaptureFixture[str]) -> None:
    create_app()
    (warning,) = capsys.readouterr().err.splitlines()
    assert '"WARNING"' in warning
    assert "FLASK_SECRET_KEY is not set" in warning

    create_app({"SECRET_KEY": "sesame"})
    assert capsys.readouterr().err == ""


def test_development_starts_without_a_secret_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    create_app()

    assert capsys.readouterr().err == ""
