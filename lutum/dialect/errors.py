"""Error bodies, statuses and error events to `ProviderError`.

A provider's words are data: an `ErrorTable`. Reading a body and choosing the kind is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec
from msgspec import Struct

from lutum._values.errors import ErrorKind, ProviderError
from lutum._values.results import Response
from lutum.dialect.json import FAULTS, encode
from lutum.dialect.retry import retry_after

__all__ = [
    "STATUSES",
    "ErrorBody",
    "ErrorTable",
    "body_error",
    "http_error",
    "kind_of_status",
    "read_error",
    "stream_error",
]

STATUSES: Final[Mapping[int, ErrorKind]] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "invalid_request",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
"""What an HTTP status means at most providers (RFC 9110, 15; 529 is Anthropic's)."""


class ErrorTable(Struct, frozen=True, kw_only=True):
    """The error words of a provider.

    Attributes:
      codes: values of `code` or `type`, in lower case, that say more than the status: their kind, and the
        status that they stand for in an event of a stream.
      types: values of `type` that the status overrides.
      statuses: what the provider's statuses mean.
    """

    codes: Mapping[str, tuple[ErrorKind, int]] = {}
    types: Mapping[str, tuple[ErrorKind, int]] = {}
    statuses: Mapping[int, ErrorKind] = msgspec.field(default_factory=lambda: STATUSES)


class ErrorBody(Struct, frozen=True):
    """The words of an error body, in whatever shape it has."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    request_id: str | None = None


def read_error(body: bytes) -> ErrorBody:
    """Read an error's JSON; never raises. A body without an error gives an empty one.

    These shapes are read: `{"error": {...}}`, the inner object itself, `{"error": "..."}`, `{"detail": ...}`,
    and a list of one of these, which Google's front end sends.
    """
    try:
        whole: object = msgspec.json.decode(body)
    except FAULTS:
        return ErrorBody()
    if isinstance(whole, list) and whole:
        whole = cast("list[object]", whole)[0]
    if not isinstance(whole, dict):
        return ErrorBody()
    members = cast("dict[str, object]", whole)
    error = members.get("error") or members
    request_id = _word(members.get("request_id"))
    if isinstance(error, str):
        return ErrorBody(error, None, _word(members.get("code")), request_id)
    if not isinstance(error, dict):
        return ErrorBody(request_id=request_id)
    inner = cast("dict[str, object]", error)
    said = inner.get("message") or inner.get("detail") or members.get("detail") or ""
    message = said if isinstance(said, str) else encode(said).decode()
    type = _word(inner.get("type"))
    if inner is members and type == "error":  # the name of the event, which is not a type of error
        type = None
    details = inner.get("details")
    code = _word(inner.get("code"))
    if code is None and isinstance(details, dict):  # Anthropic's
        code = _word(cast("dict[str, object]", details).get("error_code"))
    return ErrorBody(message, type, code, request_id or _word(inner.get("request_id")))


def http_error(response: Response, body: bytes, now: float, table: ErrorTable) -> ProviderError:
    """Return the error of a response with an error status.

    Args:
      now: seconds since the epoch, for a Retry-After that is a date in a response without a date.
    """
    error, status = read_error(body), response.status
    kind = _coded(error, table.codes)[0]
    # Most providers call anything "invalid_request_error"; the status says more.
    if kind is None or (kind == "invalid_request" and status in table.statuses):
        kind = table.statuses.get(status) or kind or _coded(error, table.types)[0]
    if status == 401:  # api.openai.com calls a wrong key an invalid_request_error
        kind = "authentication"
    message = error.message
    if not message:
        shown = body[:200].decode(errors="replace").strip() or "no message"
        message = f"HTTP {status}: {shown}"
    wait = retry_after(response.headers, now)
    return _provider_error(error, message, kind or kind_of_status(status), status, response, wait, body)


def stream_error(data: bytes, response: Response, table: ErrorTable) -> ProviderError:
    """Return the error of an event in a stream, classed as the status would be that its words stand for."""
    error = read_error(data)
    kind, status = _coded(error, table.codes)
    if kind is None:
        kind, status = _coded(error, table.types)
    if kind is None and (error.code or "").isdecimal() and len(error.code or "") == 3:
        status = int(error.code or "")  # gateways send the status of their upstream
        kind = table.statuses.get(status) or kind_of_status(status)
    message = error.message or error.code or error.type or "an error without a message"
    return _provider_error(error, message, kind or "unknown", status, response, None, data)


def body_error(body: bytes, response: Response, table: ErrorTable) -> ProviderError | None:
    """Return the error of a response with a good status whose body is JSON instead of a stream.

    None when the body is not whole JSON, because it is cut.
    """
    try:
        whole: object = msgspec.json.decode(body)
    except FAULTS:
        return None
    if isinstance(whole, list) and whole:
        whole = cast("list[object]", whole)[0]
    if isinstance(whole, dict) and "error" in whole:
        return stream_error(body, response, table)
    return ProviderError("the answer is JSON and not an event stream", kind="malformed", body=body)


def kind_of_status(status: int) -> ErrorKind:
    """Return what a status means if nothing else is known."""
    return "server" if status >= 500 else "invalid_request" if status >= 400 else "unknown"


def _coded(
    error: ErrorBody, table: Mapping[str, tuple[ErrorKind, int]]
) -> tuple[ErrorKind, int] | tuple[None, None]:
    for word in (error.code, error.type):
        if found := table.get((word or "").lower()):
            return found
    return None, None


def _provider_error(
    error: ErrorBody,
    message: str,
    kind: ErrorKind,
    status: int | None,
    response: Response,
    wait: float | None,
    body: bytes,
) -> ProviderError:
    return ProviderError(
        message,
        kind=kind,
        status=status,
        type=error.type,
        code=error.code,
        request_id=error.request_id or response.request_id,
        retry_after=wait,
        body=body,
    )


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
