"""The shop's pages, over a database in memory."""

import re

import pytest

from app import create_app
from app.shop import add_user, db

HOST = "https://localhost"  # as in production, where Flask-WTF also looks at the referrer


@pytest.fixture
def app():
    app = create_app(
        {"TESTING": True, "SECRET_KEY": "for tests", "SQLALCHEMY_DATABASE_URI": "sqlite://"}
    )
    with app.app_context():
        add_user("ada@example.com", "sesame")
        yield app
        db.session.remove()


def token(page):
    return re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)[0]


def post(client, path, **fields):
    fields["csrf_token"] = token(client.get(path, base_url=HOST))
    return client.post(
        path, base_url=HOST, data=fields, follow_redirects=True, headers={"Referer": HOST}
    )


def test_a_form_without_its_token_is_refused(client):
    assert client.post("/shop/login", data={"email": "ada@example.com"}).status_code == 400


def test_a_wrong_password_is_refused(client):
    page = post(client, "/shop/login", email="ada@example.com", password="guess")

    assert "wrong password" in page.text


def test_a_page_for_users_asks_who_is_there(client):
    assert client.get("/shop/teas/new").headers["Location"].startswith("/shop/login?next=")


def test_a_user_adds_a_tea_and_leaves(client):
    post(client, "/shop/login", email="ada@example.com", password="sesame")
    assert "<li>Assam</li>" in post(client, "/shop/teas/new", name="Assam").text

    page = client.get("/shop/teas", base_url=HOST)
    assert "ada@example.com" in page.text
    data = {"csrf_token": token(page)}
    client.post("/shop/logout", base_url=HOST, data=data, headers={"Referer": HOST})
    assert "Log out" not in client.get("/shop/teas", base_url=HOST).text


def test_a_tea_that_is_not_there(client):
    assert client.get("/shop/teas/7").status_code == 404
