"""Names of a server without DNS: connections that have the name, and a proxy that knows it."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Visit(HTTPSConnection):
    """A connection to a port of this machine, as to a host of that name.

    `trust` returns what to trust; it is asked anew where the server has another authority now.
    """

    def __init__(self, host: str, port: int, trust: Callable[[bool], ssl.SSLContext]) -> None:
        super().__init__(host, timeout=30, context=trust(False))
        self._at = port
        self._trust = trust

    def connect(self) -> None:
        """Connect, and ask for the host by SNI."""
        try:
            self._open(self._trust(False))
        except ssl.SSLCertVerificationError:
            self._open(self._trust(True))

    def _open(self, tls: ssl.SSLContext) -> None:
        with contextlib.ExitStack() as on_failure:
            plain = socket.create_connection(("127.0.0.1", self._at), timeout=30)
            on_failure.callback(plain.close)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = tls.wrap_socket(plain, server_hostname=self.host)
            on_failure.pop_all()


class Names(ThreadingHTTPServer):
    """A proxy for HTTPS_PROXY: `CONNECT anything.test:443` leads to a port of this machine.

    It refuses every other host: who uses it is not to reach the internet.
    """

    daemon_threads = True  # they end with their connections

    def __init__(self, ports: Mapping[int, int]) -> None:
        """Lead each of these ports to one of this machine."""
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.ports = ports
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Tunnel(BaseHTTPRequestHandler):
    server: Names

    def do_CONNECT(self) -> None:
        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        inside = self.server.ports.get(int(port)) if port.isdecimal() else None
        if inside is None or not host.endswith(".test"):
            self.send_error(403, f"The tests have no {self.path}")
            return
        with socket.create_connection(("127.0.0.1", inside)) as server:
            self.send_response(200, "Connection established")
            self.end_headers()
            other = {self.connection: server, server: self.connection}
            while True:
                for end in select.select(list(other), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing goes to the terminal."""
