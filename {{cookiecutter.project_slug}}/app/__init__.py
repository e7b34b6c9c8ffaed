"""The web application: servers, tools and tests call `create_app()`."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from app import errors, headers, health, logs, pages


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application.

    Variables named FLASK_... become its configuration: FLASK_SECRET_KEY is
    `app.config["SECRET_KEY"]`. What is passed as `config` goes before them; tests use it.
    """
    logs.configure()
    app = Flask(__name__)
    # A laptop serves plain http, where a browser may drop a cookie that is marked Secure.
    app.config.from_mapping(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_SECURE=not app.debug)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    if not (app.config["SECRET_KEY"] or app.debug or app.testing):
        app.logger.warning("FLASK_SECRET_KEY is not set: pages that use the session will fail")
    headers.init_app(app)
    errors.init_app(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(pages.blueprint)
    return app
