"""HTTP plumbing: one small threaded server that the Google APIs and the front end both stand on.

Errors have the form of https://cloud.google.com/apis/design/errors.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

IDLE_CONNECTION_SECONDS = 30.0
TLS_HANDSHAKE = b"\x16"
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True)
class Request:
    """What a client sent, read to its end."""

    method: str
    target: str
    headers: Message
    body: bytes
    client: str
    secure: bool

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body or b"{}")
        except ValueError as error:
            raise ApiError(400, f"Invalid JSON payload received. {error}") from error
        if not isinstance(value, dict):
            raise ApiError(400, "Invalid JSON payload received. Root element must be a message.")
        return value


@dataclass
class Answer:
    """What goes back; `close` drops the connection without a byte."""

    status: int = 200
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    close: bool = False

    @classmethod
    def of(cls, value: Mapping[str, Any], status: int = 200) -> Self:
        body = json.dumps(value, indent=2).encode()
        return cls(status, body, [("Content-Type", "application/json; charset=UTF-8")])


class ApiError(Exception):
    """A refusal in the form of every Google API: code, message, status."""

    def __init__(
        self,
        code: int,
        message: str,
        details: list[dict[str, Any]] | None = None,
        *,
        status: str = "",
    ):
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or []
        self.status = status or STATUS_NAMES.get(code, "UNKNOWN")

    def answer(self) -> Answer:
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
        }
        if self.details:
            error["details"] = self.details
        return Answer.of({"error": error}, self.code)


class Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1 until stopped; with `tls` it speaks both TLS and plain HTTP."""

    daemon_threads = True
    request_queue_size = 512
    # A kill in the middle of a test leaves ports in TIME_WAIT; the same port must be free again.
    allow_reuse_address = True

    def __init__(
        self,
        respond: Callable[[Request], Answer],
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ):
        super().__init__(("127.0.0.1", port), _Handler)
        self.respond = respond
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        """Stop accepting, then close what is still open."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Runs in the connection's own thread, so a slow handshake holds up nobody else.
        request.settimeout(IDLE_CONNECTION_SECONDS)
        if self._tls is not None and request.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE:
            request = self._tls.wrap_socket(request, server_side=True)
        with self._open_lock:
            self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)
            if isinstance(request, ssl.SSLSocket):
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        server = self.server
        assert isinstance(server, Server)
        request = Request(
            method=self.command,
            target=self.path,
            headers=self.headers,
            body=self._read_body(),
            client=self.client_address[0],
            secure=isinstance(self.connection, ssl.SSLSocket),
        )
        answer = server.respond(request)
        if answer.close:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if "Content-Length" not in dict(answer.headers):  # an answer to HEAD may state it
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.wfile.write(answer.body)
        self.wfile.flush()

    def version_string(self) -> str:
        return "Google Frontend"

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Tests read `requests`; nothing goes to the terminal."""
