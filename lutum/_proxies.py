"""The proxies that the environment names, as transports for httpx's `mounts`.

A client with a transport of its own ignores the proxy variables, so they are read here. What goes
through a proxy goes through httpx's own transport and pool.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from urllib.request import getproxies

import anyio
import httpx

from lutum._connections import CLOSE_SECONDS, IDLE_SECONDS, MAX_IDLE, Local, PerLoopTransport, tls_context
from lutum._errors import BadValue


class ProxyPool(Local):
    """Connections through one proxy: httpx's own transport, with its curve."""

    def __init__(self, proxy: httpx.Proxy) -> None:
        super().__init__()
        self._in_use = 0
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_SECONDS
        )
        self._transport = httpx.AsyncHTTPTransport(verify=tls_context(), proxy=proxy, limits=limits)

    def __len__(self) -> int:
        return int(not self.closed)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self._in_use += 1
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException:
            await self.release()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _ProxiedBody(response.stream, self)
        return response

    async def release(self) -> None:
        """One response less; the last one closes the pool if it is not wanted any more."""
        self._in_use -= 1
        if self.closed and not self._in_use:
            await self.aclose()

    async def aclose(self) -> None:
        self.closed = True
        self.forget()
        if not self._in_use:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
                await self._transport.aclose()


class _ProxiedBody(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, home: ProxyPool) -> None:
        self._stream: httpx.AsyncByteStream = stream
        self._home: ProxyPool | None = home

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        home, self._home = self._home, None
        if home is None:
            return
        try:
            await self._stream.aclose()
        finally:
            await home.release()


def proxy_routes(proxies: Mapping[str, str]) -> dict[str, str | None]:
    """httpx's URL patterns for what `urllib.request.getproxies()` says; None means no proxy. Pure.

    `no` is a comma-separated list of hosts, each with all its subdomains and, if it names one, for one
    port only; `*` is every host. Address ranges are not understood.
    """
    routes: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if url := proxies.get(scheme):
            routes[f"{scheme}://"] = url if "://" in url else f"http://{url}"
    for entry in proxies.get("no", "").split(","):
        if entry.strip() == "*":
            return {}
        for pattern in _bypass(entry.strip().lower()):
            routes[pattern] = None
    return routes


def _bypass(entry: str) -> list[str]:
    """The patterns of one `NO_PROXY` entry; none for what is not understood."""
    host, port = entry, ""
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        port = port.removeprefix(":")
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    host = host.lstrip(".")
    if not host or "/" in host or (port and not port.isdecimal()):
        return []
    try:
        host = f"[{host}]" if ip_address(host).version == 6 else host
    except ValueError:
        host = f"*{host}"
    # httpx drops a port that is its scheme's own before it compares.
    if port in ("80", "443"):
        return [f"http{'s' * (port == '443')}://{host}", f"all://{host}:{port}"]
    return [f"all://{host}:{port}" if port else f"all://{host}"]


def proxy_mounts() -> dict[str, httpx.AsyncBaseTransport | None]:
    """Transports for the proxies that the environment names now.

    Raises:
      BadValue: a proxy variable is not the URL of a proxy; names the variable.
    """
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for pattern, url in proxy_routes(getproxies()).items():
        if url is None:
            mounts[pattern] = None
            continue
        name = _variable(f"{pattern.removesuffix('://')}_proxy")
        try:
            proxy = httpx.Proxy(url)
        except (ValueError, httpx.InvalidURL):
            # Not chained: those messages quote the URL, and it may hold a password.
            raise BadValue(name, "not the URL of a proxy, such as http://host:port") from None
        if not proxy.url.host:
            raise BadValue(name, "names no host; a proxy is given as http://host:port")
        if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
            raise BadValue(name, "a SOCKS proxy needs `pip install httpx[socks]`")
        mounts[pattern] = PerLoopTransport(partial(ProxyPool, proxy))
    return mounts


def _variable(name: str) -> str:
    """Which environment variable urllib took it from: lower case wins."""
    return next((key for key in (name, name.upper()) if os.environ.get(key)), name.upper())
