"""Proxies: choose the proxy for a URL from the environment, and open connections through it.

This module opens the tunnels itself, so that a cancelled handshake closes its socket.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final, final
from urllib.parse import unquote, urlsplit

import anyio

from lutum._http.answer import HttpAnswer, MalformedAnswer
from lutum._http.connect import connect_tcp
from lutum._http.heads import RequestHeaders, Target, request_head
from lutum._http.pool import Connection, Origin
from lutum._http.socket import TcpStream
from lutum._http.tls import start_tls, tls_context
from lutum._values.errors import BadValue

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class ProxyRefused(Exception):
    """The proxy answered, but refused to connect to the host."""


@final
class Proxy:
    """One proxy. The repr does not contain the password.

    Args:
      url: a URL with the scheme `http`, `https`, `socks5`, `socks5h` or `socks` (same as `socks5`) and a
        host. It may contain a user and a password.

    Raises:
      ValueError: `url` is not the URL of a proxy.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "socks":  # the form of desktop settings
            parts = parts._replace(scheme="socks5")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("is not the URL of a proxy")
        self.scheme: Final = parts.scheme
        self.host: Final = parts.hostname
        self.port: Final = parts.port or _PORTS[parts.scheme]
        self._user = unquote(parts.username or "").encode()
        self._password = unquote(parts.password or "").encode()

    @property
    def name(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def forwards(self) -> bool:
        """True if the proxy accepts plain http requests with whole URLs."""
        return self.scheme in ("http", "https")

    def __repr__(self) -> str:
        return f"<Proxy {self.scheme}://{self.name}>"

    def authorize(self, headers: RequestHeaders) -> None:
        """Add the header with user and password, if the proxy's URL contains them."""
        if self._user or self._password:
            pair = base64.b64encode(self._user + b":" + self._password).decode()
            headers.add([("proxy-authorization", f"Basic {pair}")])

    async def open(self, origin: Origin) -> Connection:
        """Open a connection to `origin` through the proxy. Cancellation or failure leaves nothing open.

        Raises:
          OSError: the connection to the proxy or a TLS handshake failed.
          ProxyRefused: the proxy refuses to connect.
          MalformedAnswer: the answer of the proxy violates its protocol.
        """
        if "https" in (self.scheme, origin.scheme):
            tls_context()  # may raise, so it is called before the connection is opened
        stream = await connect_tcp(self.host, self.port)
        if self.scheme == "https":
            stream = await start_tls(stream, self.host)
        if self.forwards and origin.scheme == "http":
            return Connection(origin, stream)
        try:
            if self.forwards:
                await self._tunnel(stream, origin)
            else:
                await self._socks(stream, origin)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        return Connection(
            origin, await start_tls(stream, origin.host) if origin.scheme == "https" else stream
        )

    async def _tunnel(self, stream: TcpStream, origin: Origin) -> None:
        """Request a tunnel with CONNECT (RFC 9110, 9.3.6)."""
        named = f"[{origin.host}]" if ":" in origin.host else origin.host
        place = f"{named}:{origin.port}"
        headers = RequestHeaders([("host", place)])
        self.authorize(headers)
        target = Target(origin.scheme, origin.host, origin.port, place, place)
        # A memoryview, because tracebacks with local variables would show the password in a bytes object.
        head = memoryview(request_head("CONNECT", target, headers, 0, absolute=False))
        await stream.send(head)
        answer = HttpAnswer(bodiless=True)
        try:
            while answer.headers is None:
                answer.feed(await stream.receive())
        except anyio.EndOfStream:
            raise MalformedAnswer("it closed the connection") from None
        finally:
            answer.close()
        if not 200 <= answer.status < 300:
            advice = ". Put a user and a password into its URL" if answer.status == 407 else ""
            raise ProxyRefused(f"status {answer.status}{advice}")

    async def _socks(self, stream: TcpStream, origin: Origin) -> None:
        """Connect through a SOCKS5 proxy (RFC 1928, passwords by RFC 1929). The proxy resolves the name."""
        with_password = bool(self._user or self._password)
        await stream.send(b"\x05\x01\x02" if with_password else b"\x05\x01\x00")
        version, method = await _exactly(stream, 2)
        if version != 5:
            raise MalformedAnswer("it does not speak SOCKS5")
        if method != (2 if with_password else 0):
            raise ProxyRefused("it requires another kind of login")
        if with_password:
            if not 0 < len(self._user) < 256 or not len(self._password) < 256:
                raise ProxyRefused("a user and a password for SOCKS5 may have at most 255 bytes each")
            await stream.send(memoryview(b"".join([b"\1", _sized(self._user), _sized(self._password)])))
            if (await _exactly(stream, 2))[1] != 0:
                raise ProxyRefused("it does not accept the user and the password")
        await stream.send(b"\x05\x01\x00" + _socks_address(origin.host) + origin.port.to_bytes(2, "big"))
        _, reply, _, kind = await _exactly(stream, 4)
        if reply != 0:
            raise ProxyRefused(_SOCKS_REPLIES.get(reply, f"SOCKS reply {reply}"))
        length = {1: 4, 4: 16}.get(kind) or (await _exactly(stream, 1))[0]
        await _exactly(stream, length + 2)


_SOCKS_REPLIES: Final[Mapping[int, str]] = {
    1: "general failure",
    2: "its rules do not allow the connection",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the host refuses the connection",
    6: "the TTL expired",
    7: "it does not support the command",
    8: "it does not support the kind of address",
}


def _sized(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def _socks_address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > 255:
            raise ProxyRefused("a host name for SOCKS5 may have at most 255 bytes") from None
        return b"\3" + _sized(name)
    return bytes([1 if address.version == 4 else 4]) + address.packed


async def _exactly(stream: TcpStream, count: int) -> bytes:
    """Read exactly `count` bytes, because the bytes after them belong to TLS."""
    data = b""
    while len(data) < count:
        try:
            data += await stream.receive(count - len(data))
        except anyio.EndOfStream:
            raise MalformedAnswer("it closed the connection") from None
    return data


def is_direct(no_proxy: str, host: str, port: int) -> bool:
    """Return whether `NO_PROXY` excludes a host from the proxy. No I/O.

    The entries are separated by commas or white space. A host or an address may have a port. An entry is one
    of these:

    - a host, also written as `*.host` or `.host`. It includes all subdomains of the host.
    - an address
    - a range of addresses, such as `10.0.0.0/8`
    - `*`, which means every host
    """
    host = host.lower().rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    for name in no_proxy.lower().replace(",", " ").split():
        wanted = ""
        if name == "*":
            return True
        if "/" in name:
            try:
                if address is not None and address in ip_network(name, strict=False):
                    return True
            except ValueError:  # not a range; the entry may be a URL
                pass
            continue
        if name.startswith("["):
            name, _, wanted = name[1:].partition("]")
            wanted = wanted.removeprefix(":")
        elif name.count(":") == 1:
            name, _, wanted = name.partition(":")
        name = name.removeprefix("*").strip(".")
        if not name or wanted not in ("", str(port)):
            continue
        if host == name or (address is None and host.endswith(f".{name}")):
            return True
        if address is not None and _same_address(name, host):
            return True
    return False


def _same_address(name: str, host: str) -> bool:
    try:
        return ip_address(name) == ip_address(host)
    except ValueError:
        return False


@final
class Proxies:
    """The proxies of the environment, read by the constructor.

    Raises:
      BadValue: a proxy variable is not the URL of a proxy. The error names the variable.
    """

    def __init__(self) -> None:
        named = _named_proxies()
        self._no_proxy = named.get("no", "")
        self._by_scheme: dict[str, Proxy] = {}
        for scheme in ("http", "https"):
            for key in (scheme, "all"):
                if url := named.get(key):
                    self._by_scheme[scheme] = _proxy(url if "://" in url else f"http://{url}", key)
                    break

    def for_target(self, target: Target) -> Proxy | None:
        """Return the proxy for a request; None for a direct connection."""
        proxy = self._by_scheme.get(target.scheme)
        if proxy is None or is_direct(self._no_proxy, target.host, target.port):
            return None
        return proxy


def _named_proxies() -> dict[str, str]:
    # Windows and macOS also have proxy settings in the system. On other systems, urllib.request reads only
    # the environment. It is not loaded without need, because it takes 5 ms to load.
    if sys.platform not in ("darwin", "win32") and not any(map(_is_proxy_variable, os.environ)):
        return {}
    from urllib.request import getproxies

    return getproxies()


def _is_proxy_variable(name: str) -> bool:
    return name[-6:].lower() == "_proxy"


def _proxy(url: str, key: str) -> Proxy:
    # In urllib, the variable in lower case has priority.
    names = (f"{key}_proxy", f"{key}_proxy".upper())
    name = next((name for name in names if os.environ.get(name)), names[1])
    try:
        return Proxy(url)
    except ValueError:
        pass
    # The ValueError is not the cause of this error, because its message may quote the URL with the password.
    raise BadValue(name, "is not the URL of a proxy, such as http://host:port or socks5://host:port")
