"""The pages that people see."""

from flask.testing import FlaskClient


def test_the_front_page_greets(client: FlaskClient) -> None:
    response = client.get("/")

    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert "Hello World!" in response.text


def test_the_footer_names_the_revision(client: FlaskClient) -> None:
    assert "Revision <code>dev</code>" in client.get("/").text


def test_the_page_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/").text

    assert "//" not in page.replace("<!doctype html>", "")


def test_the_assets_are_there(client: FlaskClient) -> None:
    for name in ("style.css", "icon.svg"):
        assert f'href="/static/{name}"' in client.get("/").text
        assert client.get(f"/static/{name}", buffered=True).status_code == 200
