"""`python -m emulators.appengine`: an emulator to play with; emulators/README.md shows how."""

from .command import serve
from .emulator import AppEngine

if __name__ == "__main__":
    serve(
        "emulators.appengine",
        lambda o: AppEngine(o.project, port=o.port, latency=o.latency),
        "GAE_KEY",
        lambda gae: {"GAE_PROJECT": gae.project, "APP_URL": gae.url},
    )
