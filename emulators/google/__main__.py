"""`python -m emulators.google`: a Google Cloud project to play with."""

import argparse
import shlex
import signal
import threading

from .emulator import Google


def main() -> None:
    """Print export lines for a shell, then serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulators.google", description=__doc__)
    parser.add_argument("--project", default="demo-project")
    parser.add_argument("--port", type=int, default=0, help="of the APIs; a free one by default")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that operations take")
    parser.add_argument(
        "--late", type=int, default=0, help="requests that a new account is unknown to"
    )
    parser.add_argument("--ready", action="store_true", help="with APIs and application")
    parser.add_argument("--without-billing", action="store_true")
    options = parser.parse_args()
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    with Google(
        options.project,
        fresh=not options.ready,
        billing=not options.without_billing,
        latency=options.latency,
        late=options.late,
        port=options.port,
    ) as google:
        project = {"GAE_PROJECT": google.project, "GCP_PROJECT": google.project}
        variables = google.environment() | google.run.environment() | project
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
        print(
            f"# the APIs: {google.gae.api_url}  the app: {google.gae.url}  Ctrl-C ends it",
            flush=True,
        )
        stop.wait()


if __name__ == "__main__":
    main()
