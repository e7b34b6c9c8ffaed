"""An emulator of one of Google's products as a command, until it is interrupted."""

import argparse
import json
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

DAY = 86400


class Emulator(Protocol):
    """What the command needs of one."""

    project: str
    api_url: str

    def environment(self, *, signed_in: bool = False) -> dict[str, str]:
        """Return the variables that lead clients to it."""

    def service_account_key(self) -> dict[str, str]:
        """Return the deployer's key."""

    def gitlab_token(self, **claims: str | int) -> str:
        """Return a job's ID token."""

    @property
    def provider(self) -> str:
        """The provider that trusts that token."""

    @property
    def service_account(self) -> str:
        """Whom it lets in."""


E = TypeVar("E", bound=Emulator)


def serve(
    name: str,
    start: Callable[[argparse.Namespace], AbstractContextManager[E]],
    key_variable: str,
    settings: Callable[[E], dict[str, str]],
) -> None:
    """Print export lines for a shell, then serve until interrupted.

    `settings` are those of the product's own target, and `key_variable` is what has its key.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description="An emulator to play with; emulators/README.md shows how.",
    )
    parser.add_argument("--project", default="demo-project")
    parser.add_argument("--port", type=int, default=0, help="of the APIs; a free one by default")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that changes take")
    parser.add_argument(
        "--credentials",
        choices=["laptop", "key", "keyless"],
        default="laptop",
        help=f"a signed-in gcloud, {key_variable}, or GitLab's ID token (default: %(default)s)",
    )
    options = parser.parse_args()
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    with start(options) as emulator, tempfile.TemporaryDirectory() as home:
        variables = emulator.environment(signed_in=options.credentials == "laptop")
        variables["CLOUDSDK_CORE_PROJECT"] = emulator.project
        variables |= settings(emulator)
        if options.credentials == "key":
            key = Path(home) / "key.json"
            key.touch(0o600)
            key.write_text(json.dumps(emulator.service_account_key()))
            variables[key_variable] = str(key)
        elif options.credentials == "keyless":
            variables["GCP_WORKLOAD_IDENTITY_PROVIDER"] = emulator.provider
            variables["GCP_SERVICE_ACCOUNT"] = emulator.service_account
            variables["GITLAB_OIDC_TOKEN"] = emulator.gitlab_token(exp=int(time.time()) + DAY)
        for variable, value in variables.items():
            print(f"export {variable}={shlex.quote(value)}")
        print(f"# The APIs: {emulator.api_url}  Ctrl-C ends everything.", flush=True)
        stop.wait()
