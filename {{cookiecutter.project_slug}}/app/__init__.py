"""The web application: servers, tools and tests call `create_app()`."""

from flask import Flask

from app import errors, headers, health, logs, pages


def create_app() -> Flask:
    """Build the application.

    Variables named FLASK_... become its configuration: FLASK_SECRET_KEY is
    `app.config["SECRET_KEY"]`.
    """
    logs.configure()
    app = Flask(__name__)
    app.config.from_prefixed_env()
    headers.init_app(app)
    errors.init_app(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(pages.blueprint)
    return app
