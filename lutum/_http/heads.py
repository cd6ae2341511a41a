"""Heads of requests and responses, and the error messages for a request without a response. No I/O."""

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

# Characters that RFC 3986 allows in a path or a query. They include `%`, so existing escapes are kept.
_SAFE: Final = "/:@!$&'()*+,;=%?~"

_OURS: Final = frozenset({"connection", "content-length", "transfer-encoding"})


@final
class RequestHeaders:
    """Checked headers of one request. The repr does not contain the values, because a value may be a key.

    If several headers have the same name, the last one is sent.

    Raises:
      BadValue: a name or a value is invalid, or the header belongs to the connection (such as
        `content-length`). The message does not contain the value.
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
    """A parsed URL: the parts for the connection, the request line and the Host header."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str
    """Host and port for the Host header. The scheme's default port is left out."""

    @classmethod
    def of(cls, url: str) -> Target:
        """Parse a URL.

        Raises:
          BadValue: `url` is not an http or https URL with a host, or contains user info.
        """
        return _target(url)


@lru_cache(maxsize=256)
def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        if not host.isascii():
            import idna  # installed with anyio, which uses it for lookups

            host = idna.encode(host, uts46=True).decode("ascii")
    except ValueError:
        raise BadValue("url", "is not a URL") from None
    if parts.scheme not in _PORTS or not host or not all("!" <= char <= "~" for char in host):
        raise BadValue("url", "must start with http:// or https:// and a host")
    if "@" in parts.netloc:
        # A password in the URL would be visible in errors, previews and traces.
        raise BadValue("url", "must not contain a user name or a password")
    named = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_SAFE)
    usual = _PORTS[parts.scheme]
    authority = named if port in (None, usual) else f"{named}:{port}"
    return Target(parts.scheme, host, usual if port is None else port, path, authority)


def wire_url(url: str) -> str:
    """Return a URL as it is sent: path and query are escaped, and the scheme's default port is left out.

    Raises:
      BadValue: `url` is not an http or https URL with a host, or contains user info.
    """
    target = _target(url)
    return f"{target.scheme}://{target.authority}{target.path}"


def request_head(
    method: str, target: Target, headers: RequestHeaders, length: int, *, absolute: bool
) -> bytes:
    """Write the head of a request whose body has `length` bytes.

    Args:
      absolute: write the whole URL, because the request is sent to a proxy.
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
    """Return the part of a response head that turns keep. The names of `headers` are in lower case."""
    return Response(
        status=status,
        headers={name: value for name, value in headers.items() if _keeps(name)},
    )


@lru_cache(maxsize=1024)
def _keeps(name: str) -> bool:
    """Return whether a response header is kept: an id, a rate limit, a time, or advice about retries."""
    return (
        "request-id" in name
        or "ratelimit" in name
        or name.startswith("retry-after")
        or name.endswith(("-id", "processing-ms", "service-time", "-requestid"))
        # `date` is kept because a Retry-After date is relative to the server's clock. `location` and
        # `content-type` are kept for the errors for a redirect and for an answer of another type. AWS sends
        # the type of an error in `x-amzn-errortype`.
        or name in ("cf-ray", "content-type", "date", "location", "x-should-retry", "x-amzn-errortype")
    ) and name != "set-cookie"
