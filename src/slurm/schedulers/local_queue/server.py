"""Server: the supervisor's side of the socket. A slow or silent client does not delay others."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import time
from typing import TYPE_CHECKING

from slurm.schedulers.local_queue.messages import Refused, encode

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 16 << 20
"""The size limit of a request. On Linux an environment and a command line have at most two megabytes."""
MOST_CONNECTIONS = 200
"""The limit of connections. Beyond it, the oldest without a complete request is closed; its client tries again."""
_SECONDS = 30.0
"""Seconds for a client to send its request and read the reply. Clients time out earlier."""
_CHUNK = 1 << 16


class Server:
    """Reads requests and writes replies, within the supervisor's selector. `answer` returns the reply to a request.

    Its second argument is whether the client is still connected. A disconnected client has reported a time-out.
    """

    def __init__(
        self, listener: socket.socket, selector: selectors.BaseSelector, answer: Callable[[bytes, bool], bytes]
    ) -> None:
        self._listener, self._selector, self._answer = listener, selector, answer
        self._connections: dict[socket.socket, _Connection] = {}
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)

    def ready(self, sock: object) -> bool:
        """Read or write a socket that is ready, if it belongs to this server."""
        if sock is self._listener:
            self._accept()
            return True
        if not isinstance(sock, socket.socket) or sock not in self._connections:
            return False
        try:
            self._transfer(sock, self._connections[sock])
        except BlockingIOError:
            pass
        except OSError:
            self._close(sock)
        return True

    def drop_stuck(self) -> None:
        """Close connections that take too long."""
        now = time.monotonic()
        for sock in [sock for sock, connection in self._connections.items() if now > connection.until]:
            self._close(sock)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors
                if not self._make_room():
                    time.sleep(0.01)
                return
            sock.setblocking(False)
            self._connections[sock] = _Connection()
            self._selector.register(sock, selectors.EVENT_READ)
            if len(self._connections) > MOST_CONNECTIONS:
                self._make_room()

    def _make_room(self) -> bool:
        oldest = next((sock for sock, connection in self._connections.items() if connection.reply is None), None)
        if oldest is not None:
            self._close(oldest)
        return oldest is not None

    def _transfer(self, sock: socket.socket, connection: _Connection) -> None:
        if connection.reply is None:
            chunk = sock.recv(_CHUNK)
            connection.request += chunk
            if len(connection.request) > MOST_BYTES:
                reply = encode(Refused(f"the request is larger than {MOST_BYTES >> 20} MB"))
            elif chunk:
                return
            elif connection.request:
                reply = self._answer(bytes(connection.request), _connected(sock))
            else:
                self._close(sock)
                return
            connection.request.clear()
            connection.reply = memoryview(reply)
            self._selector.modify(sock, selectors.EVENT_WRITE)
        connection.reply = connection.reply[sock.send(connection.reply) :]
        if not connection.reply:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        del self._connections[sock]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()


class _Connection:
    """The bytes received from one client, and those still to send."""

    def __init__(self) -> None:
        self.until = time.monotonic() + _SECONDS
        self.request = bytearray()
        self.reply: memoryview | None = None


def _connected(sock: socket.socket) -> bool:
    """Whether the client can still receive; it shuts down its sending side only."""
    poll = select.poll()
    poll.register(sock, 0)
    return not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
