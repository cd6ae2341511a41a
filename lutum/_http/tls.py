"""TLS over a byte stream, for HTTP.

anyio's `TLSStream` cannot be read after a send that failed or was cancelled. This stream can still be read
then. This is needed because a server that refuses a request may answer and close while the request is still
being written.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from lutum._http.socket import TcpStream
from lutum._values.errors import BadValue


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS settings of this process. They are created for the first https connection, which takes
    10 ms.

    Raises:
      BadValue: `SSL_CERT_FILE` or `SSL_CERT_DIR` cannot be used.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file:
            context = ssl.create_default_context(cafile=file)
        elif folder:
            if not os.path.isdir(folder):
                raise NotADirectoryError
            context = ssl.create_default_context(capath=folder)
        else:
            context = ssl.create_default_context(cafile=_bundle())
    except OSError as exc:
        name = "SSL_CERT_FILE" if file else "SSL_CERT_DIR"
        raise BadValue(name, f"no certificates could be read from {os.environ.get(name)!r}") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bundle() -> str:
    """Return the file with certifi's certificates."""
    # certifi's `where()` returns the same file, but it loads seven modules for archives and temporary files.
    # Linux distributions that use the system's certificates do not ship the file, and change `where()`.
    spec = find_spec("certifi")
    if spec is not None and spec.origin is not None:
        file = os.path.join(os.path.dirname(spec.origin), "cacert.pem")
        if os.path.isfile(file):
            return file
    from certifi import where

    return where()


async def start_tls(stream: TcpStream, host: str) -> TlsStream:
    """Start TLS over `stream` and check that the certificate is for `host`.

    Cancellation or failure closes `stream`.

    Raises:
      OSError: the handshake fails, or the certificate is not trusted.
      BadValue: a certificate variable cannot be used.
    """
    try:
        secured = TlsStream(stream, tls_context(), host)
        begun = time.monotonic()
        await secured.handshake()
        secured.settles_in = min(max(time.monotonic() - begun, 0.002), 0.05)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
        raise
    return secured


@final
class TlsStream(TcpStream):
    """The client's end of a TLS connection.

    If the server closes without TLS's closing message (`close_notify`), this counts as a normal end. Many
    servers close in this way, and HTTP itself defines the end of a body.
    """

    def __init__(self, stream: TcpStream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.settles_in = 0.0
        """Seconds until the server's session tickets have arrived and are acknowledged. Until then the
        server's kernel holds back a short answer (Nagle's algorithm), and drops the answer if the server
        closes."""
        self._lost = False  # encrypted bytes were not written, so the server could not decrypt later ones

    async def handshake(self) -> None:
        """Do the TLS handshake. After cancellation, the stream cannot be used.

        Raises:
          OSError: the handshake failed, or the certificate is not trusted.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._flush()  # sends the alert with the reason to the server
                raise
            else:
                return await self._flush()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            try:
                data = self._object.read(max_bytes)
            except ssl.SSLWantReadError:
                if self._outgoing.pending and not self._lost:
                    await self._flush()
                await self._fill()
            except ssl.SSLError as exc:
                if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                    raise anyio.EndOfStream from None
                if exc.reason == "UNEXPECTED_EOF_WHILE_READING":
                    raise anyio.EndOfStream from None
                raise
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes | memoryview) -> None:
        await checkpoint_if_cancelled()
        if self._lost:
            raise anyio.BrokenResourceError
        try:
            self._object.write(item)
        except ssl.SSLError as exc:
            raise anyio.BrokenResourceError from exc
        await self._flush()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            try:
                await self._stream.send(self._outgoing.read())
            except BaseException:
                self._lost = True
                raise

    async def _fill(self) -> None:
        try:
            self._incoming.write(await self._stream.receive())
        except anyio.EndOfStream:
            self._incoming.write_eof()

    async def send_eof(self) -> None:
        raise NotImplementedError("TLS has no half-closed connections")

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close_now(self) -> None:
        self._stream.close_now()

    def is_quiet(self) -> bool:
        if not self._stream.is_quiet():
            return False
        try:
            self._object.read(1)  # another record may have arrived together with the last record
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            pass
        return False

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        stream: Any = self._stream  # anyio's type lacks type parameters
        return {**stream.extra_attributes}
