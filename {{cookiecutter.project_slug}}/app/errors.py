"""Errors, as a page for people and as JSON for programs."""

from typing import Any

from flask import Flask, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException


def init_app(app: Flask) -> None:
    """Answer every HTTP error, and every exception that nothing caught, with `answer`."""
    app.register_error_handler(HTTPException, answer)


def answer(error: HTTPException) -> Response | HTTPException:
    """Turn an error into the response that the client prefers; headers such as Allow stay."""
    if error.response is not None or error.code is None:  # it brings an answer of its own
        return error
    details: dict[str, Any] = {
        "code": error.code,
        "name": error.name,
        "description": error.description,
    }
    if wants_json():
        response = jsonify(error=details)
    else:
        response = make_response(render_template("error.html", **details))
    response.status_code = error.code
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    return response


def wants_json() -> bool:
    """Whether the client likes JSON better than HTML; a browser, and a bare */*, get HTML."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"
