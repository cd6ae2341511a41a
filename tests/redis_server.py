"""A Redis server of the tests' own, on a free port, that can be paused, killed and restarted; and a proxy
that cuts connections."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")

needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed")


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def until(true: Callable[[], Any], seconds: float = 30.0, what: str = "the condition") -> Any:
    """Poll until `true()`, and fail at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        if found := true():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not met within {seconds:g} s")
        time.sleep(0.02)


class PrivateRedis:
    """One server. Its data is in a folder of its own, and outlives a restart if `appendfsync` is given."""

    def __init__(self, *options: str, appendfsync: str | None = None, password: str = "") -> None:
        assert SERVER is not None
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="lutum-redis-"))
        self.password = password
        self._options = [*options, *(("--requirepass", password) if password else ())]
        if appendfsync is None:
            self._options += ["--appendonly", "no"]
        else:
            self._options += ["--appendonly", "yes", "--appendfsync", appendfsync]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert SERVER is not None
        command = [
            SERVER,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        until(self._answers, 30, "an answer of redis-server")

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(b"+PONG")
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Send one command on a new connection, and return the beginning of its answer."""

        def encoded(parts: tuple[str, ...]) -> bytes:
            return b"*%d\r\n" % len(parts) + b"".join(
                b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in parts
            )

        with socket.create_connection(("127.0.0.1", self.port), 5) as made:
            made.settimeout(5)
            if self.password:
                made.sendall(encoded(("AUTH", self.password)))
                made.recv(100)
            made.sendall(encoded(words))
            return made.recv(65536)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self.send(signal.SIGCONT)
        self.send(number)
        self._process.wait(30)

    def restart(self, number: int = signal.SIGKILL) -> None:
        self.stop(number)
        self.start()

    def close(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self.send(signal.SIGCONT)
            self._process.kill()
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PrivateRedis:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class CuttingProxy:
    """A TCP proxy to a server that cuts its connections and refuses new ones when told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._refuse = False
        self._pairs = set[tuple[socket.socket, socket.socket]]()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, refuse: bool = False) -> None:
        """Cut all connections; with `refuse`, new ones too until `heal`."""
        self._refuse = refuse
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._close(pair)

    def heal(self) -> None:
        self._refuse = False

    def close(self) -> None:
        self._refuse = True
        self._listener.close()
        self.cut(refuse=True)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refuse:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            pair = near, far
            with self._lock:
                self._pairs.add(pair)
            threading.Thread(target=self._carry, args=(pair,), daemon=True).start()

    def _carry(self, pair: tuple[socket.socket, socket.socket]) -> None:
        near, far = pair
        with contextlib.suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([near, far], [], [], 1.0)
                for side in ready:
                    data = side.recv(65536)
                    if not data:
                        return self._close(pair)
                    (far if side is near else near).sendall(data)
        self._close(pair)

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for side in pair:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[PrivateRedis]:
    """One server for tests that do not disturb it; each uses a ledger of its own name."""
    with PrivateRedis() as server:
        yield server


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
