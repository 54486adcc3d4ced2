"""HTTP servers for tests: one that is over when it is closed, and how all of them are run."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any


class ClosingServer(ThreadingHTTPServer):
    """Its closing ends the connections that clients keep open for later, and waits for the threads that serve them."""

    daemon_threads = False  # others are not waited for

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._connections: set[Any] = set()
        super().__init__(*arguments, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End all connections and their threads."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


@contextlib.contextmanager
def served_at(server: ThreadingHTTPServer) -> Iterator[str]:
    """Serve in a thread and yield the address; afterwards the server is closed."""
    with server:
        # By default a server looks twice a second whether it shall end: half a second for every test with one.
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
