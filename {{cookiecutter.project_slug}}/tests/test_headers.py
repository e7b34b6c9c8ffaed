"""Security headers, and which proxies are believed."""

import pytest
from flask import Flask, request

from app import create_app

CLIENT = "203.0.113.9"
SPOOFED = "198.51.100.1"
# What App Engine appends, between its front end and the instance.
LINK = "169.254.1.1"


def seen_address(app: Flask, headers: dict[str, str]) -> str | None:
    """Return the address that the application takes for the client's."""
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


def test_a_view_may_set_a_security_header_itself(app: Flask) -> None:
    @app.get("/framed")
    def framed() -> tuple[str, dict[str, str]]:
        return "", {"x-frame-options": "SAMEORIGIN"}

    assert app.test_client().get("/framed").headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]


def test_hsts_is_sent_over_tls_only(app: Flask) -> None:
    client = app.test_client()

    assert "Strict-Transport-Security" not in client.get("/").headers
    tls = client.get("/", base_url="https://localhost")
    assert tls.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_stranger_cannot_pose_as_a_proxy(app: Flask) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": SPOOFED}

    assert seen_address(app, headers) == "127.0.0.1"
    assert "Strict-Transport-Security" not in app.test_client().get("/", headers=headers).headers


@pytest.mark.parametrize(
    ("variable", "value", "forwarded"),
    [
        ("GAE_ENV", "standard", [CLIENT, LINK]),
        ("GAE_ENV", "standard", [SPOOFED, CLIENT, LINK]),
        ("K_SERVICE", "shop", [CLIENT]),
        ("K_SERVICE", "shop", [SPOOFED, CLIENT]),
        ("TRUSTED_PROXIES", "1", [CLIENT]),
        ("TRUSTED_PROXIES", "1", [SPOOFED, CLIENT]),
        ("TRUSTED_PROXIES", "3", [CLIENT, "10.0.0.1", "10.0.0.2"]),
        ("TRUSTED_PROXIES", "3", [SPOOFED, CLIENT, "10.0.0.1", "10.0.0.2"]),
    ],
)
def test_the_client_is_known_behind_the_proxies_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, forwarded: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    app = create_app()
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": ", ".join(forwarded)}

    assert seen_address(app, headers) == CLIENT
    assert "Strict-Transport-Security" in app.test_client().get("/", headers=headers).headers


def test_a_setting_goes_before_what_is_known_of_the_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GAE_ENV", "standard")
    monkeypatch.setenv("TRUSTED_PROXIES", "3")

    assert seen_address(create_app(), {"X-Forwarded-For": f"{CLIENT}, 10.0.0.1, {LINK}"}) == CLIENT


def test_a_number_of_proxies_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "one")

    with pytest.raises(ValueError, match="TRUSTED_PROXIES is 'one': make it a number"):
        create_app()
