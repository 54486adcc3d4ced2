"""A TCP proxy that cuts connections, as networks do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path


class DroppingProxy:
    """Passes bytes between clients and a server until told to cut.

    ``cut(after, times)`` resets the next ``times`` connections once ``after`` bytes went through them, counted
    in the direction that carries more. With a certificate clients speak TLS to it.
    """

    def __init__(self, target: int, certificate: Path | None = None) -> None:
        self._target = target
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._after = 0
        self._times = 0
        self.cuts = 0
        self.passed = 0
        self._lock = threading.Lock()
        self._serving: dict[threading.Thread, tuple[socket.socket, ...]] = {}
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def cut(self, after: int, times: int) -> None:
        """Cut connections from now on."""
        with self._lock:
            self._after, self._times, self.cuts = after, times, 0

    def close(self) -> None:
        """Accept no more connections, and end those that clients keep open."""
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who waits for a connection
        self._listener.close()
        self._accepting.join()
        for thread, ends in list(self._serving.items()):
            _shut(ends)
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._serving[thread] = (client,)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        ends = (client, server)
        self._serving[threading.current_thread()] = ends
        other = threading.Thread(target=self._pump, args=(server, client, ends), daemon=True)
        other.start()
        self._pump(client, server, ends)
        other.join()
        client.close()
        server.close()
        del self._serving[threading.current_thread()]

    def _pump(self, source: socket.socket, sink: socket.socket, ends: tuple[socket.socket, socket.socket]) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                passed += len(data)
                if self._shall_cut(passed):
                    break
                sink.sendall(data)
                self.passed += len(data)
        _shut(ends)

    def _shall_cut(self, passed: int) -> bool:
        with self._lock:
            if self._times == 0 or passed <= self._after:
                return False
            self._times -= 1
            self.cuts += 1
            return True


def _shut(ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
