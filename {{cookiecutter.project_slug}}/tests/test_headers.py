"""Security headers, and which proxies are believed."""

import pytest
from flask import Flask, request

from app import create_app

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}


def seen_address(app: Flask, headers: dict[str, str]) -> str | None:
    """Ask the application whose request it believes to answer."""
    app.add_url_rule("/whoami", view_func=lambda: str(request.remote_addr))
    return app.test_client().get("/whoami", headers=headers).text


@pytest.mark.parametrize("path", ["/", "/health", "/static/style.css", "/nowhere"])
def test_every_response_is_secured(app: Flask, path: str) -> None:
    headers = app.test_client().get(path, buffered=True).headers

    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_hsts_is_sent_over_tls_only(app: Flask) -> None:
    client = app.test_client()

    assert "Strict-Transport-Security" not in client.get("/").headers
    tls = client.get("/", base_url="https://localhost")
    assert tls.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_stranger_cannot_pose_as_a_proxy(app: Flask) -> None:
    assert seen_address(app, FORWARDED) == "127.0.0.1"
    assert "Strict-Transport-Security" not in app.test_client().get("/", headers=FORWARDED).headers


@pytest.mark.parametrize("variable", ["GAE_ENV", "K_SERVICE", "TRUSTED_PROXIES"])
def test_the_proxy_of_the_platform_is_believed(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    app = create_app()

    assert seen_address(app, FORWARDED) == "203.0.113.9"
    assert "Strict-Transport-Security" in app.test_client().get("/", headers=FORWARDED).headers
