"""Fixtures for all tests."""

import os

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app

PLATFORM = ("GAE_ENV", "GAE_VERSION", "K_SERVICE", "K_REVISION", "APP_REVISION")
SETTINGS = ("GOOGLE_CLOUD_PROJECT", "LOG_LEVEL", "TRUSTED_PROXIES")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test on no platform and with no settings, whatever this machine has set."""
    for name in list(os.environ):
        if name in PLATFORM + SETTINGS or name.startswith("FLASK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def app() -> Flask:
    """Return the application, configured for tests."""
    return create_app({"TESTING": True, "SECRET_KEY": "for tests"})


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client that talks to the application without a server."""
    return app.test_client()
