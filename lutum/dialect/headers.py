"""Headers that users add to requests, and headers that identify a request in a response."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, cast

from lutum._values.errors import BadValue
from lutum._values.rate_limit import RateKind, RateLimit

__all__ = [
    "REQUEST_IDS",
    "check_extra_headers",
    "duration",
    "http_date",
    "is_name",
    "is_value",
    "request_headers",
    "two_counts",
    "x_rate_limits",
]

REQUEST_IDS: Final = ("request-id", "x-request-id")
"""The response headers that contain the request's id at most providers, in order of preference."""

# RFC 9110, 5.6.2 and 5.5, ASCII only.
_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_value = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?").fullmatch

# The HTTP library writes these.
_CONNECTION: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})


def is_name(name: str) -> bool:
    """Return whether `name` is a valid name of a header."""
    return _name(name) is not None


def is_value(value: str) -> bool:
    """Return whether `value` is a valid value of a header."""
    return _value(value) is not None


def check_extra_headers(headers: object, *, secret: Collection[str], instead: str = "api_key=") -> None:
    """Check `extra_headers` of a user's options.

    Args:
      secret: the names, in lower case, of headers that contain a key.
      instead: the parameter for the key. The error message names it.

    Raises:
      BadValue: a name or a value is invalid. Or the header contains a key, which previews and traces would
        show.
    """
    if headers is None:
        return
    if not isinstance(headers, Mapping):
        raise BadValue("extra_headers", f"must be a mapping of names to values, not {type(headers).__name__}")
    for name, value in cast("Mapping[object, object]", headers).items():
        field = f"extra_headers[{name!r}]"
        if not isinstance(name, str) or not is_name(name):
            raise BadValue(field, "is not the name of a header")
        if name.lower() in secret:
            raise BadValue(field, f"holds a key, which previews and traces would show: use {instead}")
        if name.lower() in _CONNECTION:
            raise BadValue(field, "belongs to the connection and cannot be set")
        if not isinstance(value, str):
            raise BadValue(field, f"must be a str, not {type(value).__name__}")
        if not is_value(value):
            raise BadValue(field, "must be printable ASCII without spaces or a line end around it")


def request_headers(
    extra: Mapping[str, str] | None, own: Iterable[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """Return the headers of a request whose body is JSON and whose answer is a stream of events.

    Args:
      extra: `extra_headers` of a user's options. They replace all other headers with the same names.
      own: headers of the adapter, with names in lower case.
    """
    headers = {"content-type": "application/json", "accept": "text/event-stream", **dict(own)}
    headers |= {name.lower(): value for name, value in (extra or {}).items()}
    return tuple(headers.items())


# --- rate limits -------------------------------------------------------------------------------

_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)


def two_counts(headers: Mapping[str, str], limit: str, left: str) -> tuple[int, int] | None:
    """Return the values of two headers: a limit, and its remaining part. None unless both are counts."""
    if limit not in headers:
        return None
    texts = headers[limit], headers.get(left, "")
    if not all(text.isascii() and text.isdigit() and len(text) < 16 for text in texts):
        return None
    figures = int(texts[0]), int(texts[1])
    return figures if figures[0] > 0 else None


def duration(text: str) -> float | None:
    """Return the seconds of a duration such as `6m0s`, `17.212s` or `26ms`; None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    units = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
    return sum(float(part) * unit for part, unit in zip(match.groups(), units, strict=True) if part)


def http_date(text: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; None for anything else."""
    from email.utils import parsedate_to_datetime  # takes 5 ms to load, and few responses need it

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


_MINUTE = 60.0
_DAY = 86_400.0
_KINDS: tuple[RateKind, ...] = ("requests", "tokens")


def x_rate_limits(headers: Mapping[str, str], now: float) -> list[RateLimit]:
    """Return the rate limits in `x-ratelimit-*` headers, which most providers and gateways send.

    Args:
      now: the time in seconds since the epoch. It is used if the response has no `Date` header.
    """
    found = list[RateLimit]()
    for kind in _KINDS:
        names = (f"x-ratelimit-limit-{kind}", f"x-ratelimit-remaining-{kind}")
        if (figures := two_counts(headers, *names)) is not None:
            reset = duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
            found.append(RateLimit(kind, *figures, _period(*figures, reset), refunds=False))
    if (figures := two_counts(headers, "x-ratelimit-limit", "x-ratelimit-remaining")) is not None:
        clock = http_date(headers.get("date", "")) or now
        resets = headers.get("x-ratelimit-reset", "")
        if resets.isascii() and resets.isdigit() and len(resets) == 13:  # milliseconds since the epoch
            full_in = max(0.0, int(resets) / 1000 - clock)
            found.append(RateLimit("requests", *figures, _MINUTE if full_in <= _MINUTE else _DAY, full_in))
    return found


def _period(limit: int, left: int, reset: float | None) -> float:
    """Return the seconds in which an empty bucket is filled again.

    This is a minute. It is a day if refilling the whole limit takes more than two minutes. That time is the
    reported time for the missing part, scaled up to the whole limit. Under the same header names, some hosts
    send a limit of requests per day.
    """
    if not reset or left >= limit:
        return _MINUTE
    return _DAY if reset * limit / (limit - left) > 2 * _MINUTE else _MINUTE
