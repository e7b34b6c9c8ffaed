"""A switch that leads traffic to containers, as a load balancer does."""

import select
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from tests.support.waiting import until


class Switch:
    """A TCP proxy: new connections go to its target, old ones stay where they are."""

    def __init__(self, target: int) -> None:
        """Listen on a port of this machine."""
        self.target = target
        self._unanswered: Counter[int] = Counter()  # connections without a byte yet, by target
        self._lock = threading.Lock()
        self._server = _Server(self._connect)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def move(self, target: int) -> None:
        """Lead new connections to another target; return when the old one has taken its last."""
        old, self.target = self.target, target
        until(lambda: not self._unanswered[old], "the old container to take its last connection")

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; clients have closed their connections by now."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _connect(self, client: socket.socket) -> None:
        with self._lock:
            target = self.target
            self._unanswered[target] += 1
        new = 1
        try:
            with socket.create_connection(("127.0.0.1", target)) as server:
                other = {client: server, server: client}
                while True:
                    for end in select.select([client, server], [], [])[0]:
                        data = end.recv(65536)
                        if not data:
                            return
                        if end is server:
                            self._count(target, new)
                            new = 0
                        other[end].sendall(data)
        except OSError:
            pass  # the client sees its connection end
        finally:
            self._count(target, new)

    def _count(self, target: int, answered: int) -> None:
        with self._lock:
            self._unanswered[target] -= answered


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128

    def __init__(self, connect: Callable[[socket.socket], None]) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._connect = connect

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002
        self._connect(request)
