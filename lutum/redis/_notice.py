"""The socket that records which requests were sent.

Before a request to a provider is written, a synchronous call (without `await`) writes one Redis command into
the kernel's socket buffer. The command reaches the Redis server even if the process is killed in the next
instruction. So if the process dies, the budget reserved for a request that a provider may bill is charged. It
is not released as if nothing had been sent. The server sends no replies on this connection.
"""

from __future__ import annotations

import socket
import ssl

from lutum.redis._server import CONNECT, Address


class SentNotice:
    """A connection without replies. `write` is a synchronous call and never blocks."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def connect(self, address: Address) -> None:
        """Open the connection. Blocks, so it runs in a worker thread.

        Raises:
          OSError: the server cannot be reached, or refuses.
        """
        if address.path:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(CONNECT)
            made.connect(address.path)
        else:
            made = socket.create_connection((address.host, address.port), CONNECT)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if address.tls:
                made = ssl.create_default_context().wrap_socket(made, server_hostname=address.host)
            if address.password:
                user = (address.username,) if address.username else ()
                _ask(made, "AUTH", *user, address.password)
            if address.database:
                _ask(made, "SELECT", str(address.database))
            made.sendall(_command("CLIENT", "REPLY", "OFF"))
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
        self.close()
        self._socket = made

    def write(self, key: str, id: str) -> bool:
        """Add `id` to the set at `key`. If the connection cannot take it, close it and return False."""
        if self._socket is None:
            return False
        command = _command("SADD", key, id)
        try:
            if _is_alive(self._socket) and self._socket.send(command) == len(command):
                return True
        except OSError:  # broken, or its buffer is full
            pass
        self.close()
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_alive(made: socket.socket) -> bool:
    """Return whether the connection is open.

    The server sends no data, so `recv` returns only after the connection has ended.
    """
    try:
        made.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    return False


def _command(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _ask(made: socket.socket, *words: str) -> None:
    made.sendall(_command(*words))
    answer = b""
    while not answer.endswith(b"\r\n"):
        piece = made.recv(4096)
        if not piece:
            raise OSError(f"the server closed the connection after {words[0]}")
        answer += piece
    if not answer.startswith(b"+"):
        raise OSError(f"{words[0]}: {answer.decode('utf-8', 'replace').strip()}")
