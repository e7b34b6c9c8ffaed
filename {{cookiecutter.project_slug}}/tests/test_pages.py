"""The pages that people see."""

import re

from flask.testing import FlaskClient


def test_the_front_page_greets(client: FlaskClient) -> None:
    response = client.get("/")

    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert "<h1>" in response.text


def test_the_footer_names_the_revision(client: FlaskClient) -> None:
    assert "Revision <code>dev</code>" in client.get("/").text


def test_the_page_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    loaded = re.findall(r'src="[^"]*|<link [^>]*', client.get("/").text)

    assert not [tag for tag in loaded if "//" in tag]


def test_the_assets_are_there(client: FlaskClient) -> None:
    for name in ("style.css", "icon.svg"):
        assert f'href="/static/{name}"' in client.get("/").text
        assert client.get(f"/static/{name}", buffered=True).status_code == 200
