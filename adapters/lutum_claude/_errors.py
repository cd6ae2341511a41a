"""The API's errors, of a status or in a stream, to `ProviderError`. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import cast

import msgspec

from lutum import ErrorKind, ProviderError, Response
from lutum_claude import _wire

_NUMBER = re.compile(r"\d{1,9}(\.\d+)?", re.ASCII)


def stream_error(data: bytes, response: Response) -> ProviderError:
    """The error of an `error` event, classed as the HTTP status would be that its type stands for."""
    error, request_id = _error_object(data)
    kind, status = _wire.ERRORS.get(error.type or "", (None, None))
    return _provider_error(error, kind or "unknown", status, request_id or response.request_id, None, data)


def body_error(body: bytes, response: Response) -> ProviderError | None:
    """The error of an answer with a good status whose body is JSON and no stream; None when it is cut."""
    try:
        whole: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if isinstance(whole, list) and whole:
        whole = cast("list[object]", whole)[0]
    if isinstance(whole, dict) and "error" in whole:
        return stream_error(body, response)
    return ProviderError("the answer is JSON and no event stream", kind="malformed", body=body)


def http_error(response: Response, body: bytes, now: float) -> ProviderError:
    """The error of an answer with an error status; `now`, in seconds since the epoch, is for a
    Retry-After that is a date, where the answer has no Date of its own."""
    error, request_id = _error_object(body)
    status = response.status
    kind = _wire.STATUSES.get(status) or _wire.ERRORS.get(error.type or "", (None, 0))[0]
    if kind is None:
        kind = "server" if status >= 500 else "invalid_request" if status >= 400 else "unknown"
    if not error.message:
        error.message = body[:200].decode(errors="replace").strip() or "no message"
        error.message = f"HTTP {status}: {error.message}"
    wait = retry_after(response.headers, now)
    return _provider_error(error, kind, status, request_id or response.request_id, wait, body)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or either form of `Retry-After`; None when they say nothing."""
    milliseconds, given = headers.get("retry-after-ms", ""), headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    if _NUMBER.fullmatch(given):
        return float(given)
    try:
        if (date := headers.get("date")) is not None:
            now = parsedate_to_datetime(date).timestamp()
        return max(0.0, parsedate_to_datetime(given).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _provider_error(
    error: _wire.ClaudeErrorObject,
    kind: ErrorKind,
    status: int | None,
    request_id: str | None,
    wait: float | None,
    body: bytes,
) -> ProviderError:
    return ProviderError(
        error.message or error.type or "an error without a message",
        kind=kind,
        status=status,
        type=error.type,
        code=error.code,
        request_id=request_id,
        retry_after=wait,
        body=body,
    )


def _error_object(body: bytes) -> tuple[_wire.ClaudeErrorObject, str | None]:
    """What an error body says, in whatever of the usual shapes; never raises."""
    try:
        whole: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _wire.ClaudeErrorObject(), None
    if isinstance(whole, list) and whole:  # Google's front end wraps it so
        whole = cast("list[object]", whole)[0]
    if not isinstance(whole, dict):
        return _wire.ClaudeErrorObject(), None
    members = cast("dict[str, object]", whole)
    error = members.get("error", members)
    if isinstance(error, str):
        return _wire.ClaudeErrorObject(message=error), None
    found = _wire.ClaudeErrorObject()
    if isinstance(error, dict):
        inner = cast("dict[str, object]", error)
        details = inner.get("details")
        code = cast("dict[str, object]", details).get("error_code") if isinstance(details, dict) else None
        found = _wire.ClaudeErrorObject(_str(inner.get("type")), _str(inner.get("message")) or "", _str(code))
    return found, _str(members.get("request_id"))


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None
