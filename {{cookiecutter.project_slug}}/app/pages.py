"""The pages that people see."""

from flask import Blueprint, render_template
from flask.blueprints import BlueprintSetupState

from app.health import revision

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """Greet the world."""
    return render_template("index.html")


@blueprint.record
def _footer(state: BlueprintSetupState) -> None:
    """Let every template name the revision; it stays the same while a process runs."""
    state.app.jinja_env.globals["revision"] = revision()
