"""What the platform asks: is this instance well, and which revision is it?"""

import os

from flask import Blueprint, Response, jsonify

blueprint = Blueprint("health", __name__)


def revision() -> str:
    """Name the running revision, as App Engine, the delivery, the image or Cloud Run calls it."""
    for name in ("GAE_VERSION", "APP_REVISION", "K_REVISION"):
        if value := os.environ.get(name):
            return value
    return "dev"


# Not /healthz: Google's front end keeps paths that end in z for itself.
@blueprint.get("/health")
def health() -> Response:
    """Say that requests are served, and by which revision: a delivery waits for its own."""
    response = jsonify(status="ok", revision=revision())
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/_ah/warmup")
def warmup() -> tuple[str, int]:
    """Let App Engine start an instance before traffic reaches it."""
    return "", 204
