"""Docker as the tests use it: containers that are gone when their test ends."""

import contextlib
import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


def docker(*arguments: str) -> str:
    """Run docker and return what it prints; its own words are the failure."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def inspect(thing: str) -> dict[str, Any]:
    """Describe an image or a container."""
    (found,) = json.loads(docker("inspect", thing))
    described: dict[str, Any] = found
    return described


def free_port() -> int:
    """Find a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def page(port: int, path: str = "/") -> str:
    """Return a page of a server on this machine; nothing unless it is there and well."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as server:
        try:
            server.request("GET", path)
            with server.getresponse() as response:
                text = response.read().decode()
        except (OSError, http.client.HTTPException):
            return ""
    return text if response.status == http.HTTPStatus.OK else ""


@dataclass
class Container:
    """A running container, its server published on a port of this machine."""

    id: str
    inside: int = 5000

    @property
    def port(self) -> int:
        """Where this machine reaches the server."""
        return int(docker("port", self.id, str(self.inside)).rpartition(":")[2])

    def run(self, *command: str, env: dict[str, str] | None = None) -> int:
        """Run a command inside; return its exit code."""
        settings = [f"--env={name}={value}" for name, value in (env or {}).items()]
        return subprocess.run(
            ["docker", "exec", *settings, self.id, *command], capture_output=True, check=False
        ).returncode

    def read(self, *command: str) -> str:
        """Run a command inside that has to succeed; return what it prints."""
        return docker("exec", self.id, *command)

    def logs(self) -> list[str]:
        """Return the lines that it has written so far."""
        done = subprocess.run(
            ["docker", "logs", self.id],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    def answers(self) -> bool:
        """Whether it serves."""
        return bool(page(self.port, "/health"))

    def terminate(self) -> None:
        """Ask it to stop, as every platform does, and do not wait."""
        docker("kill", "--signal=TERM", self.id)

    def exit_code(self) -> int:
        """Wait until it has stopped; 137 would mean that it was killed."""
        return int(docker("wait", self.id))


@contextlib.contextmanager
def container(
    image: str, *command: str, options: tuple[str, ...] = (), files: dict[str, str] | None = None
) -> Iterator[Container]:
    """Start a container, with more files in its folder if need be; remove it in the end."""
    port = next((int(o.partition("PORT=")[2]) for o in options if "=PORT=" in o), 5000)
    publish = f"--publish=127.0.0.1::{port}"
    made = Container(docker("create", publish, *options, image, *command), port)
    try:
        for path, copy in (files or {}).items():
            docker("cp", path, f"{made.id}:{copy}")
        docker("start", made.id)
        yield made
    finally:
        docker("rm", "--force", "--volumes", made.id)
