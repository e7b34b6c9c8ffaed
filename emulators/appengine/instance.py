"""A version's process: booted at the first request, asked over HTTP, ended by its id.

Modelled after:

- https://cloud.google.com/appengine/docs/standard/how-instances-are-managed and
  configuring-warmup-requests: a request waits while an instance loads, and what a warm-up request
  answers does not matter;
- https://cloud.google.com/appengine/docs/standard/python3/runtime for the entrypoint and $PORT;
- reports of apps that cannot start, all of Python 3 in the standard environment: nginx's 502 where
  the server started and died (https://github.com/googlecodelabs/feedback/issues/962, with the page
  as here; https://github.com/web2py/web2py/issues/2287; https://github.com/google/brandometer/issues/7),
  500 where there was no command to start
  (https://github.com/kamalgill/cloud-starterkit-flask-appengine/issues/7).

A process that dies later answers 500 and is booted anew; that is an assumption.
"""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from email.message import Message
from typing import IO

from .builder import Build
from .wire import Answer, Request

PORTS = range(20_000, 32_000)  # below the range that outgoing connections take theirs from
GRACE_SECONDS = 3.0
POLL_SECONDS = 0.02
WARMUP_PATH = "/_ah/warmup"
SERVER_ERROR = b"<h1>Error: Server Error</h1>\n<h2>The server encountered an error.</h2>\n"
BAD_GATEWAY = (
    b'<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body bgcolor="white">\r\n'
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
CANNOT_EXECUTE = (126, 127)  # how the shell says that the entrypoint's command is not there
CONNECTION_HEADERS = {
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    *("proxy-authenticate", "proxy-authorization", "content-length"),
}


class Instance:
    """One instance of one version. A dead process is booted anew by the next request."""

    def __init__(
        self,
        build: Build,
        environment: dict[str, str],
        *,
        warmup: bool,
        deadline: float,
        write: Callable[[str, str], None],
    ):
        self.build = build
        self._environment = environment
        self._warmup = warmup
        self._deadline = deadline
        self._write = write  # takes the stream's name and a line
        self._lines: list[str] = []
        self._listeners: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._ready = False  # this process has answered
        self._could_not_start = False
        self._boot_lock = threading.Lock()
        self._idle = threading.Condition()
        self._in_flight = 0
        self.boots = 0

    @property
    def pid(self) -> int | None:
        """The process (and process group) id while one runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def log(self) -> str:
        """Everything that the app has written so far."""
        return "".join(f"{line}\n" for line in self._lines)

    def ask(self, request: Request) -> Answer:
        """Return the app's answer; 502 or 500 when it dies, 504 when it is silent too long."""
        with self._idle:
            self._in_flight += 1
        try:
            return self._ask(request, time.monotonic() + self._deadline)
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def stop(self) -> None:
        """Let requests in flight finish, then end the process and all its children."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=GRACE_SECONDS)
        with self._boot_lock:
            self._end()

    def _ask(self, request: Request, until: float) -> Answer:
        try:
            port = self._boot(until)
            answer = send(port, request, until)
        except TimeoutError:
            return _page(504, SERVER_ERROR)
        except (OSError, http.client.HTTPException):
            if self._ready or self._could_not_start:
                return _page(500, SERVER_ERROR)
            return _page(502, BAD_GATEWAY)
        self._ready = True
        return answer

    def _boot(self, until: float) -> int:
        """Return the port of a process that listens; requests that come meanwhile wait here."""
        with self._boot_lock:
            if self.pid is not None:
                return self._port
            self._end()
            self._port, self._ready, self._could_not_start = free_port(), False, False
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self.build.entrypoint],
                cwd=self.build.source,
                env=self._environment | {"PORT": str(self._port)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            self._listen(self._process)
            self.boots += 1
            try:
                self._await_listening(until)
            except OSError:
                self._end()
                raise
            if self._warmup:
                hello = Request("GET", WARMUP_PATH, Message(), b"", "0.1.0.3", secure=True)
                # App Engine ignores what a warm-up request answers, and so does the emulator.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    send(self._port, hello, until)
            return self._port

    def _await_listening(self, until: float) -> None:
        while time.monotonic() < until:
            if self.pid is None:
                assert self._process is not None
                self._could_not_start = self._process.returncode in CANNOT_EXECUTE
                raise ConnectionError("the process ended before it listened")
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            time.sleep(POLL_SECONDS)  # nothing else tells that another program listens
        raise TimeoutError("the process did not listen on $PORT in time")

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        def keep(stream: str, pipe: IO[bytes]) -> None:
            with pipe:
                for line in pipe:
                    text = line.decode(errors="replace").rstrip("\r\n")
                    self._lines.append(text)
                    if text:
                        self._write(stream, text)

        for stream in ("stdout", "stderr"):
            pipe = getattr(process, stream)
            thread = threading.Thread(target=keep, args=(stream, pipe), daemon=True)
            self._listeners.append(thread)
            thread.start()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        # The pipes end with the last process that holds them: everything was read then.
        while self._listeners:
            self._listeners.pop().join(GRACE_SECONDS)


def _page(status: int, body: bytes) -> Answer:
    return Answer(status, body, [("Content-Type", "text/html")])


def send(port: int, request: Request, until: float) -> Answer:
    """Pass a request on to a port of this machine; return its answer."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=left)) as sent:
        sent.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        if "Host" not in request.headers:
            sent.putheader("Host", "127.0.0.1")
        for name, value in request.headers.items():
            if name.lower() not in CONNECTION_HEADERS:
                sent.putheader(name, value)
        sent.putheader("Connection", "close")
        sent.putheader("Content-Length", str(len(request.body)))
        sent.endheaders(request.body)
        answer = sent.getresponse()
        headers = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in CONNECTION_HEADERS | {"server", "date"}
        ]
        return Answer(answer.status, answer.read(), headers)


def free_port() -> int:
    """Return a port that nothing listens on."""
    for port in random.SystemRandom().sample(PORTS, k=200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port for an instance")
