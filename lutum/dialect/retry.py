"""How long a server asks a client to wait before the next request."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lutum.dialect.headers import http_date

__all__ = ["retry_after"]

# RFC 9110, 10.2.3: delay-seconds is 1*DIGIT. Servers also send fractions, so these are read; signs, exponents
# and "inf" are not. Nine digits are 31 years.
_number = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?").fullmatch


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait; None when no header says so.

    `retry-after-ms` is read first. If it is not a number, `Retry-After` is read, as a number of seconds or
    as an HTTP date. A date counts from the response's own `Date`, else from `now` (seconds since the epoch),
    because the clocks of client and server differ.

    Args:
      headers: names in lower case.
    """
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
