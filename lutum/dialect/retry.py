"""The time that a server requires before the next request, and whether the client should send one at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from lutum.dialect.headers import http_date

__all__ = ["duration", "retry_after", "retry_info", "should_retry", "wait_in_words"]

# RFC 9110, 10.2.3: delay-seconds is 1*DIGIT. Fractions are read too, because servers send them. Signs,
# exponents and "inf" are not read. Nine digits are 31 years.
_number = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?").fullmatch

# Go's and protobuf's durations: "6m0s", "1h2m3.5s", "34.07s", "120ms" (Groq, OpenAI, google.rpc.RetryInfo).
_duration = re.compile(
    r"(?:(?P<d>[0-9]{1,4})d)?(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,7})m(?!s))?"
    r"(?:(?P<s>[0-9]{1,9}(?:\.[0-9]+)?)s)?(?:(?P<ms>[0-9]{1,9}(?:\.[0-9]+)?)ms)?"
).fullmatch
_SECONDS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

# "Please try again in 7.66s", "retry after 20 seconds", "Please retry in 1 minute", "wait 30 seconds",
# "available again in 2h".
_words = re.compile(
    r"\b(?:try again|retry(?:ing)?|again|wait(?:ing)?|available)\b(?: again)?"
    r"(?: in| after| for)?(?: about| another| at least)?[: ]+"
    r"(?:(?P<wait>(?:[0-9]{1,6}h)?(?:[0-9]{1,7}m)?(?:[0-9]{1,9}(?:\.[0-9]+)?m?s)?)(?![a-z0-9.])(?<=[hms])"
    r"|(?P<number>[0-9]{1,7}(?:\.[0-9]+)?) ?"
    r"(?P<unit>milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|hours?)\b)",
    re.IGNORECASE,
).search
_UNITS: Final = {"mil": 0.001, "ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "hou": 3_600.0}


def retry_after(
    headers: Mapping[str, str], now: float, *, error: object = None, message: str = "", status: int = 0
) -> float | None:
    """Return the seconds to wait; None if the response has no such information.

    The first of these that can be read is used, because the later ones are less exact:

    1. `retry-after-ms`;
    2. `Retry-After`: a number of seconds or an HTTP date. The delay until a date is computed from the
       response's own `Date`, because the clocks of client and server differ. Without `Date` it is computed
       from `now` (seconds since the epoch);
    3. `google.rpc.RetryInfo` in the error;
    4. a delay in the message of the error, such as "try again in 7.66s";
    5. with status 429, `x-ratelimit-reset-requests` or `-tokens` of a limit whose remaining part is 0.

    Args:
      headers: names in lower case.
      error: the decoded JSON of the error.
      message: the message of the error.
      status: the HTTP status.
    """
    found = _from_headers(headers, now)
    if found is None:
        found = retry_info(error)
    if found is None and (status in (408, 429, 498) or status >= 500):
        found = wait_in_words(message)
    if found is None and status == 429:
        found = _reset(headers)
    return found


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return the value of `x-should-retry`; None if it is absent or unreadable.

    OpenAI and Anthropic send this header, and their SDKs obey it. Proxies that have already retried send it
    too.
    """
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def duration(text: str) -> float | None:
    """Return the seconds of a duration such as `6m0s`, `34.07s` or `120ms`; None for any other text."""
    found = _duration(text.strip()) if text.strip() else None
    if found is None:
        return None
    return sum(float(value) * _SECONDS[unit] for unit, value in found.groupdict().items() if value)


def retry_info(error: object) -> float | None:
    """Return `retryDelay` of a `google.rpc.RetryInfo` anywhere in an error's JSON."""
    if isinstance(error, list):
        return next(
            (wait for entry in cast("list[object]", error) if (wait := retry_info(entry)) is not None), None
        )
    if not isinstance(error, dict):
        return None
    members = cast("dict[str, object]", error)
    delay = members.get("retryDelay")
    if isinstance(delay, str):
        return duration(delay)
    inner = (members.get("error"), members.get("details"))
    return next((wait for value in inner if (wait := retry_info(value)) is not None), None)


def wait_in_words(message: str) -> float | None:
    """Return the delay in a sentence such as "Please try again in 7.66s"; None if it contains none."""
    found = _words(message)
    if found is None:
        return None
    if found["number"]:
        return float(found["number"]) * _UNITS[found["unit"][:3].lower()]
    return duration(found["wait"].lower())


def _from_headers(headers: Mapping[str, str], now: float) -> float | None:
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _number(milliseconds):
        return float(milliseconds) / 1000
    given = headers.get("retry-after", "").strip()
    if _number(given):
        return float(given)
    date = http_date(given)
    if date is None or (clock := http_date(headers["date"]) if "date" in headers else now) is None:
        return None
    return max(0.0, date - clock)


def _reset(headers: Mapping[str, str]) -> float | None:
    """Return the longest reset time of the limits whose remaining part is 0 (OpenAI, Groq)."""
    waits = list[float]()
    for kind in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() != "0":
            continue
        given = headers.get(f"x-ratelimit-reset-{kind}", "")
        wait = float(given) if _number(given.strip()) else duration(given)
        if wait is not None:
            waits.append(wait)
    return max(waits, default=None)
