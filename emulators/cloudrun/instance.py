"""The container of a revision: started from its image, probed, asked over HTTP, removed by its id.

Modelled after:

- https://cloud.google.com/run/docs/container-contract for PORT, K_SERVICE, K_REVISION,
  K_CONFIGURATION, memory, the request's timeout that includes a start (504), and SIGTERM before
  SIGKILL (one second here, ten there: what is slow to end shows here first);
- https://cloud.google.com/run/docs/configuring/healthchecks for startup probes: HTTP (2xx and 3xx
  are well), TCP, their defaults, and that an instance that fails them is ended;
- https://cloud.google.com/run/docs/about-instance-autoscaling: without an instance a request waits
  for one to start;
- https://cloud.google.com/run/docs/troubleshooting for 503 where an instance dies with a request
  in it, and for the words in the log.

A real container of the Docker engine that the machine has. One instance per revision at a time.

Not modelled: more instances, CPU limits and throttling, liveness probes, gRPC probes, secrets and
volumes, sidecars, the metadata server, the service account's identity.
"""

import contextlib
import http.client
import itertools
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any

from emulators.appengine.instance import free_port, send
from emulators.appengine.wire import Answer, Request

LABEL = "emulators.cloudrun"
GRACE_SECONDS = 3.0
POLL_SECONDS = 0.05
DEATH_SECONDS = 2.0
DOCKER_SECONDS = 120.0
UNITS = {"Mi": 2**20, "Gi": 2**30, "M": 10**6, "G": 10**9, "Ki": 2**10, "k": 10**3, "": 1}
UNAVAILABLE = b"Service Unavailable"
TIMEOUT = b"upstream request timeout"
STDOUT, STDERR = "run.googleapis.com%2Fstdout", "run.googleapis.com%2Fstderr"
SYSTEM = "run.googleapis.com%2Fvarlog%2Fsystem"
Write = Callable[[str, str], None]  # takes the log's name and a line


class PullError(Exception):
    """An image that is not there, or that may not be read."""


class Docker:
    """The machine's engine, for one emulator: everything it starts carries the emulator's label."""

    def __init__(self, folder: Path, identity: str):
        self.identity = identity
        self._folder = folder  # of docker's settings, with the login to the registry
        folder.mkdir()
        self._numbers = itertools.count(1)
        self._pulled: set[str] = set()
        self._lock = threading.Lock()

    def log_in(self, host: str, auth: str) -> None:
        """Use these credentials, USER:PASSWORD in base64, for pulls from a registry."""
        config = json.dumps({"auths": {host: {"auth": auth}}})
        (self._folder / "config.json").write_text(config)

    def pull(self, image: str) -> None:
        """Bring an image to the engine; PullError says why not."""
        with self._lock:
            done = self.run("pull", "--quiet", image)
            if done.returncode:
                raise PullError(done.stderr.strip())
            self._pulled.add(image)

    def start(
        self,
        image: str,
        environment: Mapping[str, str],
        options: Sequence[str],
        arguments: Sequence[str],
        port: int,
    ) -> "tuple[str, subprocess.Popen[bytes]]":
        """Start a container whose $PORT is reachable on `port`; return its name and its process."""
        name = f"cloudrun-{self.identity}-{next(self._numbers)}"
        inside = environment["PORT"]
        command = [
            *("docker", "--config", str(self._folder), "run", f"--name={name}", "--pull=never"),
            "--no-healthcheck",  # Docker's own: https://github.com/opencontainers/image-spec/issues/749
            *(f"--label={LABEL}={self.identity}", f"--publish=127.0.0.1:{port}:{inside}"),
            *(f"--env={key}={value}" for key, value in environment.items()),
            *options,
            image,
            *arguments,
        ]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,  # Ctrl-C in a terminal is for the emulator alone
        )
        return name, process

    def remove(self, name: str) -> None:
        """End a container as Cloud Run does, and remove it."""
        self.run("stop", "--time=1", name)
        self.run("rm", "--force", "--volumes", name)

    def close(self) -> None:
        """Remove what is left: containers by id, images by the names under which they came."""
        if not self._pulled:
            return  # nothing was started, so no engine is needed either
        listed = self.run("ps", "--all", "--quiet", f"--filter=label={LABEL}={self.identity}")
        if containers := listed.stdout.split():
            self.run("rm", "--force", "--volumes", *containers)
        self.run("image", "rm", *sorted(self._pulled))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a docker command to its end, whatever that is."""
        return subprocess.run(
            ["docker", "--config", str(self._folder), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=DOCKER_SECONDS,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) | ({"DOCKER_HOST": _host()} if _host() else {})


_hosts: dict[str, str] = {}


def _host() -> str:
    """Return where the engine is: of docker's current context, which --config would hide."""
    if "host" not in _hosts:
        shown = subprocess.run(
            ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
            capture_output=True,
            text=True,
            timeout=DOCKER_SECONDS,
            check=False,
        )
        _hosts["host"] = shown.stdout.strip()
    return _hosts["host"]


@dataclass(frozen=True)
class Probe:
    """How to tell that an instance has started."""

    path: str = ""  # of an HTTP request; without one, that something listens is enough
    port: int = 8080
    period: float = 240.0  # seconds, as the next one
    timeout: float = 240.0
    threshold: int = 1
    delay: float = 0.0

    @classmethod
    def of(cls, probe: Mapping[str, Any], port: int) -> "Probe":
        """Read the API's startupProbe."""
        http_get = probe.get("httpGet")
        return cls(
            path=str(http_get.get("path", "/")) if http_get is not None else "",
            port=int((http_get or probe.get("tcpSocket") or {}).get("port") or port),
            period=float(probe.get("periodSeconds", 10)),
            timeout=float(probe.get("timeoutSeconds", 1)),
            threshold=int(probe.get("failureThreshold", 3)),
            delay=float(probe.get("initialDelaySeconds", 0)),
        )

    @property
    def kind(self) -> str:
        """The word for it in the log."""
        return "HTTP" if self.path else "TCP"

    @property
    def patience(self) -> float:
        """Seconds until the last probe has failed."""
        return self.delay + (self.threshold - 1) * self.period + self.timeout


@dataclass
class Container:
    """One revision's instance; while none runs, the next request starts one."""

    docker: Docker
    image: str
    environment: Mapping[str, str]  # PORT among it
    options: Sequence[str]  # of docker run
    arguments: Sequence[str]  # of the program inside
    probe: Probe
    timeout: float  # seconds for a request
    write: Write
    boots: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _name: str = ""
    _port: int = 0
    _removed: bool = False
    _readers: list[threading.Thread] = field(default_factory=list)
    _boot_lock: threading.Lock = field(default_factory=threading.Lock)
    _idle: threading.Condition = field(default_factory=threading.Condition)
    _in_flight: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether an instance runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def name(self) -> str:
        """The container's name while an instance runs."""
        return self._name if self.running else ""

    def ask(self, request: Request) -> Answer:
        """Return the application's answer; 503 where it dies or cannot start, 504 when late."""
        until = time.monotonic() + self.timeout
        with self._idle:
            self._in_flight += 1
        try:
            if not self._boot(until):
                self.write(SYSTEM, "The request failed because the instance failed to start.")
                return Answer(503, UNAVAILABLE, [("Content-Type", "text/plain")])
            return send(self._port, request, until)
        except TimeoutError:
            self.write(
                SYSTEM,
                "The request has been terminated because it has reached the maximum request "
                "timeout.",
            )
            return Answer(504, TIMEOUT, [("Content-Type", "text/plain")])
        except (OSError, http.client.HTTPException):
            self._notice_death()
            self.write(
                SYSTEM,
                "The request failed because either the HTTP response was malformed or connection "
                "to the instance had an error.",
            )
            return Answer(503, UNAVAILABLE, [("Content-Type", "text/plain")])
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def _notice_death(self) -> None:
        """Give Docker the time to tell that a container has ended, so that none is sent to it."""
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(DEATH_SECONDS)

    def start(self, deadline: float) -> bool:
        """Start an instance for the first time; whether it passed its startup probe."""
        return self._boot(time.monotonic() + deadline)

    def end(self) -> None:
        """End the instance that runs, if one does; the next request starts another."""
        with self._boot_lock:
            self._end()

    def remove(self) -> None:
        """Let requests in flight finish, then end the instance for good."""
        with self._idle:
            self._removed = True
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=GRACE_SECONDS)
        self.end()

    def revive(self) -> None:
        """Be there again after `remove`."""
        with self._idle:
            self._removed = False

    def _boot(self, until: float) -> bool:
        """Return once an instance is ready; requests that come meanwhile wait here."""
        with self._boot_lock:
            if self.running:
                return True
            self._end()
            if self._removed:
                return False
            self._port = free_port()
            self._name, self._process = self.docker.start(
                self.image, self.environment, self.options, self.arguments, self._port
            )
            self.boots += 1
            self._read(self._process)
            if self._passes(min(until, time.monotonic() + self.probe.patience)):
                return True
            self._end()
            return False

    def _passes(self, until: float) -> bool:
        """Probe until it is well, or the last probe has failed.

        More often than `periodSeconds`, so that tests need not wait; the whole time is as stated.
        """
        assert self._process is not None
        while time.monotonic() < until:
            if self._process.poll() is not None:
                code = self._process.returncode
                self.write(SYSTEM, f"Container called exit({code}).")
                break
            if self._is_well(until):
                return True
            time.sleep(POLL_SECONDS)  # nothing else tells that a program in a container listens
        probe = self.probe
        self.write(
            SYSTEM,
            f"STARTUP {probe.kind} probe failed {probe.threshold} "
            f"time{'s' if probe.threshold > 1 else ''} consecutively for container "
            f'"{self.environment["K_SERVICE"]}-1" on port {probe.port}'
            f"{f' path {json.dumps(probe.path)}' if probe.path else ''}. "
            "The instance was not started.",
        )
        return False

    def _is_well(self, until: float) -> bool:
        if self.probe.path:
            hello = Request("GET", self.probe.path, Message(), b"", "169.254.1.1", secure=False)
            limit = min(until, time.monotonic() + self.probe.timeout)
            with contextlib.suppress(OSError, http.client.HTTPException):
                return 200 <= send(self._port, hello, limit).status < 400
            return False
        return listens(self._port)

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        def keep(log: str, pipe: IO[bytes]) -> None:
            with pipe:
                for line in pipe:
                    text = line.decode(errors="replace").rstrip("\r\n")
                    self.lines.append(text)
                    if text:
                        self.write(log, text)

        for log, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr)):
            thread = threading.Thread(target=keep, args=(log, pipe), daemon=True)
            self._readers.append(thread)
            thread.start()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self.docker.remove(self._name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        if process.poll() is None:
            process.kill()  # docker's client, not the container
        while self._readers:
            self._readers.pop().join(GRACE_SECONDS)


class Hello:
    """Google's sample image, which the owner deploys first; no container stands for it."""

    running = True
    name = ""
    boots = 0

    def __init__(self) -> None:
        self.lines: list[str] = []

    def ask(self, _request: Request) -> Answer:
        """Say hello."""
        words = b"Congratulations | Cloud Run\nIt's running!\n"
        return Answer(200, words, [("Content-Type", "text/html")])

    def start(self, _deadline: float) -> bool:
        """Be ready."""
        return True

    def end(self) -> None:
        """Do nothing: there is no process."""

    remove = revive = end


def listens(port: int) -> bool:
    """Whether a program in a container listens behind a published port.

    Docker's proxy accepts every connection, and closes it where nothing listens: at once, or after
    a second while the container's network is new.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.settimeout(1.2)
            return bool(connection.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def bytes_of(quantity: str) -> int:
    """Return a Kubernetes quantity such as 512Mi in bytes; ValueError for what is none.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|k|M|G|)", quantity)
    if match is None:
        raise ValueError(quantity)
    return int(match[1]) * UNITS[match[2]]
