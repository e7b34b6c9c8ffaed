"""`python -m emulators.appengine`: an emulator to play with; emulators/README.md shows how."""

import argparse
import json
import shlex
import signal
import tempfile
import threading
import time
from pathlib import Path

from .emulator import AppEngine

DAY = 86400


def main() -> None:
    """Print export lines for a shell, then serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulators.appengine", description=__doc__)
    parser.add_argument("--project", default="demo-project")
    parser.add_argument("--port", type=int, default=0, help="of the APIs; a free one by default")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that operations take")
    parser.add_argument(
        "--credentials",
        choices=["laptop", "key", "keyless"],
        default="laptop",
        help="a signed-in gcloud, GAE_KEY, or GitLab's ID token (default: %(default)s)",
    )
    options = parser.parse_args()
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    with (
        AppEngine(options.project, port=options.port, latency=options.latency) as gae,
        tempfile.TemporaryDirectory() as home,
    ):
        variables = gae.environment(signed_in=options.credentials == "laptop")
        variables["GAE_PROJECT"] = variables["CLOUDSDK_CORE_PROJECT"] = gae.project
        variables["APP_URL"] = gae.url
        if options.credentials == "key":
            key = Path(home) / "key.json"
            key.touch(0o600)
            key.write_text(json.dumps(gae.service_account_key()))
            variables["GAE_KEY"] = str(key)
        elif options.credentials == "keyless":
            variables["GCP_WORKLOAD_IDENTITY_PROVIDER"] = gae.provider
            variables["GCP_SERVICE_ACCOUNT"] = gae.service_account
            variables["GITLAB_OIDC_TOKEN"] = gae.gitlab_token(exp=int(time.time()) + DAY)
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"# The APIs: {gae.api_url}  Ctrl-C ends everything.", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
