"""The pages that people see."""

from flask import Blueprint, render_template

from app.health import revision

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """Greet the world."""
    return render_template("index.html")


@blueprint.app_context_processor
def _footer() -> dict[str, str]:
    return {"revision": revision()}
