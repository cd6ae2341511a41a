"""Heads of requests and responses, and the words for a request without a response. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, final
from urllib.parse import quote, urlsplit

from lutum._values.errors import BadValue
from lutum._values.results import Response
from lutum.abc import Phase
from lutum.dialect.headers import is_name, is_value

BEFORE_HEAD: Final[Mapping[Phase | None, str]] = {
    None: "no answer from {host}: {words}. Check base_url, the network and the proxy variables",
    "connecting": "no connection to {host}: {words}. Check base_url, the network and the proxy variables",
    "connected": "the connection to {host} broke while the request was written: {words}. It was not"
    " processed and can be sent again",
    "sent": "{host} broke the connection before it answered: {words}. The request was written and may"
    " have been processed; sending it again may be charged again",
}

_PORTS: Final = {"http": 80, "https": 443}

# What RFC 3986 allows in a path or a query. `%` is among them: existing escapes stay as they are.
_SAFE: Final = "/:@!$&'()*+,;=%?~"

_OURS: Final = frozenset({"connection", "content-length", "transfer-encoding"})


@final
class RequestHeaders:
    """Checked headers of one request. Its repr has no values, because one may be a key.

    Of several headers with one name the last one counts.

    Raises:
      BadValue: a name or a value is invalid, or the header belongs to the connection. The value is not
        quoted.
    """

    __slots__ = ("_lines",)

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self._lines: dict[str, tuple[str, str]] = {}
        self.add(headers)

    def add(self, headers: Iterable[tuple[str, str]]) -> None:
        """Add headers, or replace those with the same names."""
        lines = self._lines
        for name, value in headers:
            key = name.lower()
            if key in _OURS:
                raise BadValue(name, "belongs to the connection, and lutum writes it: leave it out")
            if not is_name(name):
                raise BadValue("headers", f"{name!r} is not a valid name of a header")
            if not is_value(value):
                raise BadValue(name, "must be printable ASCII without spaces or a line end around it")
            lines[key] = (name, value)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._lines.values())

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def __repr__(self) -> str:
        return f"<RequestHeaders {', '.join(self._lines)}>"


class Target(NamedTuple):
    """Where a URL leads: the connection, and what the request line and the Host header say."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str
    """Host and port as the Host header has them: without the scheme's own port."""

    @classmethod
    def of(cls, url: str) -> Target:
        """Take a URL apart.

        Raises:
          BadValue: it is not an http or https URL with a host, or has user info.
        """
        return _target(url)


@lru_cache(maxsize=256)
def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        if not host.isascii():
            import idna  # comes with anyio, which looks names up with it

            host = idna.encode(host, uts46=True).decode("ascii")
    except ValueError:
        raise BadValue("url", "is not a URL") from None
    if parts.scheme not in _PORTS or not host or not all("!" <= char <= "~" for char in host):
        raise BadValue("url", "must start with http:// or https:// and a host")
    if "@" in parts.netloc:
        # It would be a password in plain sight: in errors, previews and traces.
        raise BadValue("url", "must not contain a user name or a password")
    named = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_SAFE)
    usual = _PORTS[parts.scheme]
    authority = named if port in (None, usual) else f"{named}:{port}"
    return Target(parts.scheme, host, usual if port is None else port, path, authority)


def wire_url(url: str) -> str:
    """Return a URL as it is sent: its path and query escaped, without the scheme's own port.

    Raises:
      BadValue: it is not an http or https URL with a host, or has user info.
    """
    target = _target(url)
    return f"{target.scheme}://{target.authority}{target.path}"


def request_head(
    method: str, target: Target, headers: RequestHeaders, length: int, *, absolute: bool
) -> bytes:
    """Write the head of a request whose body has `length` bytes.

    Args:
      absolute: the request goes to a proxy, which needs the whole URL.
    """
    place = f"{target.scheme}://{target.authority}{target.path}" if absolute else target.path
    lines = [f"{method} {place} HTTP/1.1"]
    for name, value in (("host", target.authority), *_DEFAULTS):
        if name not in headers:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in headers]
    if length or method not in ("GET", "HEAD", "CONNECT"):
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


_DEFAULTS: Final = (("accept", "*/*"), ("accept-encoding", "identity"), ("user-agent", "lutum"))


def response_of(status: int, headers: Mapping[str, str]) -> Response:
    """Return the part of a response head that turns keep; the names are in lower case."""
    return Response(
        status=status,
        headers={name: value for name, value in headers.items() if _keeps(name)},
    )


@lru_cache(maxsize=1024)
def _keeps(name: str) -> bool:
    """Return whether a response header is an id, a rate limit, a time or an advice about retrying."""
    return (
        "request-id" in name
        or "ratelimit" in name
        or name.startswith("retry-after")
        or name.endswith(("-id", "processing-ms", "service-time", "-requestid"))
        # A Retry-After date counts from the server's own clock. A redirect and an answer of another type are
        # errors that name the target and the type.
        # AWS names the type of an error in a header.
        or name in ("cf-ray", "content-type", "date", "location", "x-should-retry", "x-amzn-errortype")
    ) and name != "set-cookie"
