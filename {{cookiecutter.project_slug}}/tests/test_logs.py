"""What the logs look like, in production and in development."""

import json
import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app, logs

TRACE = "105445aa7843bc8bf206b12000100000"


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one line that was logged, parsed."""
    (line,) = capsys.readouterr().err.splitlines()
    entry: dict[str, Any] = json.loads(line)
    return entry


def noisy() -> FlaskClient:
    """Return a client of the application with views that log.

    Tests call it themselves: the log goes to the stderr of that moment, which pytest captures.
    """
    app = create_app({"SECRET_KEY": "sesame"})

    @app.get("/note")
    def note() -> str:
        logging.getLogger("shop").warning("only %d left", 3, extra={"item": "tea"})
        return ""

    @app.get("/crash")
    def crash() -> str:
        raise RuntimeError("broken pot")

    return app.test_client()


def test_a_line_in_production_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    noisy().get("/note")

    entry = logged(capsys)
    assert entry["severity"] == "WARNING"
    assert entry["message"] == "only 3 left"
    assert entry["logger"] == "shop"
    assert entry["item"] == "tea"
    assert "time" in entry
    assert logs.TRACE_FIELD not in entry


def test_an_exception_is_one_line_with_its_stack(capsys: pytest.CaptureFixture[str]) -> None:
    noisy().get("/crash")

    entry = logged(capsys)
    assert entry["severity"] == "ERROR"
    assert entry["stack_trace"].startswith("Traceback")
    assert "RuntimeError: broken pot" in entry["stack_trace"]


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"{TRACE}/1;o=1", f"projects/demo/traces/{TRACE}"),
        (TRACE, f"projects/demo/traces/{TRACE}"),
        ("nonsense", None),
    ],
)
def test_a_line_names_the_trace_of_its_request(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    header: str,
    trace: str | None,
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")
    noisy().get("/note", headers={"X-Cloud-Trace-Context": header})

    assert logged(capsys).get(logs.TRACE_FIELD) == trace


def test_a_line_in_development_is_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    create_app()
    logging.getLogger("shop").warning("only 3 left")

    assert capsys.readouterr().err.endswith("WARNING  shop: only 3 left\n")


def test_the_level_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "error")
    create_app({"SECRET_KEY": "sesame"})
    logging.getLogger("shop").warning("only 3 left")

    assert capsys.readouterr().err == ""


def test_a_level_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")

    with pytest.raises(ValueError, match="LOG_LEVEL is 'LOUD'"):
        create_app()
