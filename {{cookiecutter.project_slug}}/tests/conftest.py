"""Fixtures for all tests."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app

PLATFORM = ("GAE_ENV", "GAE_VERSION", "K_SERVICE", "K_REVISION", "APP_REVISION")
SETTINGS = ("FLASK_DEBUG", "GOOGLE_CLOUD_PROJECT", "LOG_LEVEL", "TRUSTED_PROXIES")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test as on no platform, whatever this machine has set."""
    for name in PLATFORM + SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def app() -> Flask:
    """Give the application, ready for tests."""
    app = create_app()
    app.config["TESTING"] = True
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Give a client that talks to the application without a server."""
    return app.test_client()
