"""Errors, as a page and as JSON."""

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.exceptions import NotFound

JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def broken(app: Flask) -> FlaskClient:
    """Return a client of the application with views that fail."""

    @app.get("/crash")
    def crash() -> str:
        raise RuntimeError("a secret detail")

    @app.get("/sold-out")
    def sold_out() -> str:
        raise NotFound(response=Response("no tea today", status=404))

    app.config["PROPAGATE_EXCEPTIONS"] = False  # as in production
    return app.test_client()


def test_a_person_gets_a_page(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers=BROWSER)

    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "<h1>404 Not Found</h1>" in response.text


def test_a_program_gets_json(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers=JSON)

    assert response.status_code == 404
    assert response.get_json()["error"]["code"] == 404
    assert response.get_json()["error"]["name"] == "Not Found"


def test_headers_of_the_error_stay(client: FlaskClient) -> None:
    response = client.post("/health", headers=JSON)

    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert response.mimetype == "application/json"


@pytest.mark.parametrize("headers", [BROWSER, JSON])
def test_a_crash_tells_the_client_nothing(broken: FlaskClient, headers: dict[str, str]) -> None:
    response = broken.get("/crash", headers=headers)

    assert response.status_code == 500
    assert "Internal Server Error" in response.text
    assert "secret" not in response.text


def test_a_response_of_its_own_is_left_alone(broken: FlaskClient) -> None:
    response = broken.get("/sold-out")

    assert response.status_code == 404
    assert response.text == "no tea today"
