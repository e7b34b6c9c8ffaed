"""What the platform asks."""

import pytest
from flask.testing import FlaskClient


def test_health_says_ok(client: FlaskClient) -> None:
    response = client.get("/health")

    assert response.status_code == 200
    assert response.get_json() == {"status": "ok", "revision": "dev"}
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["GAE_VERSION", "K_REVISION", "APP_REVISION"])
def test_the_platform_names_the_revision(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "v20260102t030405-abcdef01")

    assert client.get("/health").get_json()["revision"] == "v20260102t030405-abcdef01"


def test_the_name_of_a_delivery_goes_before_cloud_runs_own(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K_REVISION", "demo-00001-abc")
    monkeypatch.setenv("APP_REVISION", "v20260102t030405-abcdef01")

    assert client.get("/health").get_json()["revision"] == "v20260102t030405-abcdef01"


def test_app_engine_can_warm_an_instance_up(client: FlaskClient) -> None:
    assert client.get("/_ah/warmup").status_code == 204
