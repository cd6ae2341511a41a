"""The proxies that the environment names, as transports for httpx's `mounts`.

A client with a transport of its own ignores the proxy variables, so they are read here. What goes
through a proxy goes through httpx's own transport and pool.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies

import anyio
import httpx

from lutum._http.pool import CLOSE_SECONDS, IDLE_SECONDS, MAX_IDLE, LoopPool, PerLoopTransport, tls_context
from lutum._values.errors import BadValue


class ProxyPool(LoopPool):
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


class _Route(httpx.AsyncBaseTransport):
    """Through the proxy, or directly where `NO_PROXY` says so."""

    def __init__(
        self, direct: httpx.AsyncBaseTransport, proxied: httpx.AsyncBaseTransport, no_proxy: str
    ) -> None:
        self._direct = direct
        self._proxied = proxied
        self._no_proxy = no_proxy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        go = self._direct if is_direct(self._no_proxy, url.host, port) else self._proxied
        return await go.handle_async_request(request)

    async def aclose(self) -> None:
        await self._proxied.aclose()


def is_direct(no_proxy: str, host: str, port: int) -> bool:
    """Whether `NO_PROXY` keeps a host from the proxy. Pure.

    It is a comma-separated list of hosts, each with all its subdomains and, if it names one, for one
    port only; `*` is every host. Address ranges are not understood.
    """
    host = host.lower().rstrip(".")
    for entry in no_proxy.lower().split(","):
        name, wanted = entry.strip(), ""
        if name == "*":
            return True
        if name.startswith("["):
            name, _, wanted = name[1:].partition("]")
            wanted = wanted.removeprefix(":")
        elif name.count(":") == 1:
            name, _, wanted = name.partition(":")
        name = name.strip(".")
        if name and (host == name or host.endswith(f".{name}")) and wanted in ("", str(port)):
            return True
    return False


def proxy_mounts(direct: httpx.AsyncBaseTransport) -> dict[str, httpx.AsyncBaseTransport | None]:
    """Transports for the schemes that the environment sends through a proxy now; the rest is `direct`.

    Raises:
      BadValue: a proxy variable is not the URL of a proxy; names the variable.
    """
    proxies = getproxies()
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for scheme in ("http", "https"):
        for key in (scheme, "all"):
            if url := proxies.get(key):
                make = partial(ProxyPool, _proxy(url if "://" in url else f"http://{url}", key))
                mounts[f"{scheme}://"] = _Route(direct, PerLoopTransport(make), proxies.get("no", ""))
                break
    return mounts


def _proxy(url: str, key: str) -> httpx.Proxy:
    # urllib lets the variable in lower case win.
    names = (f"{key}_proxy", f"{key}_proxy".upper())
    name = next((name for name in names if os.environ.get(name)), names[1])
    try:
        host, _ = urlsplit(url).hostname, urlsplit(url).port
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        host, proxy = None, None
    if not host or proxy is None:
        # Not chained: those messages quote the URL, and it may hold a password.
        raise BadValue(name, "not the URL of a proxy, such as http://host:port")
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise BadValue(name, "a SOCKS proxy needs `pip install httpx[socks]`")
    return proxy
