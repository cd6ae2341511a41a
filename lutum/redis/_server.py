"""The connection to Redis, through coredis: opening it, checking it, calling the script.

Other modules never see coredis. Its errors become `LedgerError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from anyio import aclose_forcefully, connect_tcp, connect_unix, fail_after, get_cancelled_exc_class
from anyio.abc import AsyncResource

from lutum._values.errors import BadValue, LedgerError, LutumError, UsageError
from lutum.redis._wire import BatchReply, decode, script

if TYPE_CHECKING:
    import coredis

OLDEST = (7, 0)

CONNECT = 5.0
"""Seconds that opening a connection may take."""


class Address:
    """The address of a server, read from its URL. The repr does not contain the password."""

    __slots__ = ("database", "host", "password", "path", "port", "tls", "url", "username")

    def __init__(self, url: str) -> None:
        """Read a URL.

        Raises:
          BadValue: it is not the URL of a Redis server.
        """
        advice = "use redis://host:6379/0, rediss://host:6379/0 for TLS, or unix:///path/to/socket"
        if not isinstance(url, str):
            raise BadValue("url", f"{url!r} is not text; {advice}")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadValue("url", f"is not valid ({error}); {advice}") from None
        if parts.scheme == "valkey":
            parts = parts._replace(scheme="redis")
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise BadValue("url", f"has the scheme {parts.scheme!r}; {advice}")
        if parts.scheme != "unix" and not parts.hostname:
            raise BadValue("url", f"has no host; {advice}")
        self.tls: bool = parts.scheme == "rediss"
        self.host: str = parts.hostname or ""
        self.port: int = port or 6379
        self.path: str = parts.path if parts.scheme == "unix" else ""
        self.username: str = unquote(parts.username or "")
        self.password: str = unquote(parts.password or "")
        number = parts.path.strip("/") if parts.scheme != "unix" else ""
        if not (number == "" or number.isdecimal()):
            raise BadValue(
                "url", f"has the path {parts.path!r}, which is not the number of a database; {advice}"
            )
        self.database: int = int(number or 0)
        self.url: str = parts.geturl()

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


class RedisServer:
    """An open client. Each event loop has its own."""

    def __init__(self, client: coredis.Redis[bytes], address: Address) -> None:
        self._client = client
        self._address = address

    async def call(self, keys: str, *args: str | bytes | int) -> BatchReply:
        """Run the script. After a cancellation it is unknown whether the script ran.

        Raises:
          LedgerError: the server did not answer, or the script failed.
        """
        text, digest = script()
        given: list[Any] = [keys, *args]
        try:
            try:
                data = await self._client.evalsha(digest, keys=[keys + "meta"], args=given)
            except _exceptions().NoScriptError:
                data = await self._client.eval(text, keys=[keys + "meta"], args=given)
        except Exception as error:
            raise described(error, self._address) from error
        if not isinstance(data, bytes):
            raise LedgerError(f"Redis at {self._address} returned {data!r} for a batch, which is not a reply")
        return decode(data)

    async def names(self) -> list[str]:
        """Return the names of the ledgers on this server."""
        found = list[str]()
        try:
            async for key in self._client.scan_iter(match="lutum:{*}:meta", count=1_000):
                found.append(bytes(key).decode()[len("lutum:{") : -len("}:meta")])
        except Exception as error:
            raise described(error, self._address) from error
        return sorted(found)

    async def info(self) -> dict[str, str]:
        """Return the server's INFO, with all values as text."""
        try:
            found: dict[Any, Any] = dict(await self._client.info())
        except Exception as error:
            raise described(error, self._address) from error
        return {_word(key): _word(value) for key, value in found.items()}

    async def listen(self, channels: list[str], heard: Callable[[str], None]) -> None:
        """Call `heard` with "subscribed", then with each message, until the connection is lost.

        It may be cancelled at any time.
        """
        async with self._client.pubsub(
            channels=channels, retry_policy=None, subscription_timeout=CONNECT
        ) as pubsub:
            heard("subscribed")
            async for message in pubsub:
                if message["type"] == "message":
                    heard(_word(message["data"]))


def _word(value: object) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)


def _exceptions() -> Any:
    import coredis.exceptions

    return coredis.exceptions


@asynccontextmanager
async def open_server(address: Address, *, timeout: float) -> AsyncGenerator[RedisServer]:
    """Open a client. It connects at its first call.

    Raises:
      LedgerError: the server cannot be reached.
      UsageError: coredis is not installed.
    """
    try:
        import coredis
        from coredis.retry import NoRetryPolicy
    except ImportError:
        raise UsageError(
            "a ledger in Redis needs coredis: pip install 'lutum[redis]' (in a clone: '.[redis]')"
        ) from None
    await _probe(address)
    client: coredis.Redis[bytes] = coredis.Redis.from_url(
        address.url,
        decode_components=True,
        decode_responses=False,
        stream_timeout=timeout,
        connect_timeout=CONNECT,
        max_connections=8,
        retry_policy=NoRetryPolicy(),  # the courier retries, because it knows what was executed
    )
    try:
        async with client:
            yield RedisServer(client, address)
    except BaseExceptionGroup as group:  # from the task group in the client
        raise _plain(group, address) from None


async def _probe(address: Address) -> None:
    """Connect once, because coredis 6.9 leaves streams unclosed (a warning) if it cannot connect."""
    try:
        with fail_after(CONNECT):
            if address.path:
                stream: AsyncResource = await connect_unix(address.path)
            else:
                stream = await connect_tcp(address.host, address.port)
    except OSError as error:  # includes TimeoutError
        raise described(error, address) from error
    await aclose_forcefully(stream)


def _plain(group: BaseExceptionGroup[BaseException], address: Address) -> BaseException:
    """Return one exception of a group: the cancellation if there is one, else a `LutumError`, else the first.

    A first exception from coredis is returned as a `LedgerError`.
    """
    leaves = list[BaseException]()
    groups = [group]
    for found in groups:
        for inner in found.exceptions:
            if isinstance(inner, BaseExceptionGroup):
                groups.append(cast("BaseExceptionGroup[BaseException]", inner))
            else:
                leaves.append(inner)
    for kind in (get_cancelled_exc_class(), LutumError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    first = leaves[0]
    return described(first, address) if isinstance(first, Exception) else first


async def check_server(server: RedisServer, address: Address) -> dict[str, str]:
    """Return the server's INFO.

    Raises:
      LedgerError: the server is too old or cannot be reached.
    """
    info = await server.info()
    version = info.get("valkey_version") or info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST:
        raise LedgerError(
            f"the server at {address} is Redis {version or 'of an unknown version'}; a ledger needs Redis 7"
            " or Valkey 8: update the server, or use another one"
        )
    return info


def described(error: Exception, address: Address) -> LedgerError:
    """Return an error with the problem of the server and its remedy."""
    leaves = list[BaseException]()
    current: BaseException | None = error
    while current is not None and len(leaves) < 8:
        leaves.append(current)
        current = current.__cause__ or current.__context__
    texts = " ".join(str(leaf) for leaf in leaves)
    names = {type(leaf).__name__ for leaf in leaves}
    if "WRONGPASS" in texts or "AuthenticationFailureError" in names or "invalid username-password" in texts:
        return LedgerError(f"Redis at {address} refuses the password; check the user and password in the URL")
    if "NOAUTH" in texts or "AuthenticationRequiredError" in names:
        return LedgerError(f"Redis at {address} requires a password; use redis://:password@host:port/0")
    if "NOPERM" in texts or "AuthorizationError" in names:
        return LedgerError(
            f"Redis at {address} does not permit what a ledger does: {error}; its user needs scripts, pub/sub"
            " and all commands on keys that begin with 'lutum:'"
        )
    if isinstance(error, OSError) or names & {"ConnectionError", "TimeoutError"}:
        reason = next((str(leaf) for leaf in reversed(leaves) if str(leaf)), "no answer")
        return LedgerError(
            f"Redis at {address} cannot be reached ({reason}); is it running, and is the URL right?"
        )
    return LedgerError(f"Redis at {address}: {type(error).__name__}: {error}")
