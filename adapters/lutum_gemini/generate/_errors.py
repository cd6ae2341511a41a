"""Google's error bodies (google.rpc.Status) to `ProviderError`.

A wrong key is a 400 whose details name `API_KEY_INVALID`. The time to wait is in the body (`RetryInfo`) and
not in a header.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

from lutum import ErrorKind, ProviderError, Response
from lutum.dialect.errors import STATUSES, kind_of_status, read_error
from lutum.dialect.json import FAULTS, decode_array, decode_object
from lutum.dialect.retry import retry_after

# google.rpc.Code: its kind, and the status that it stands for.
_WORDS: Final[dict[str, tuple[ErrorKind, int]]] = {
    "CANCELLED": ("server", 499),
    "UNKNOWN": ("server", 500),
    "INVALID_ARGUMENT": ("invalid_request", 400),
    "FAILED_PRECONDITION": ("invalid_request", 400),  # a country or an account that is not served
    "OUT_OF_RANGE": ("invalid_request", 400),
    "DEADLINE_EXCEEDED": ("timeout", 504),
    "NOT_FOUND": ("not_found", 404),
    "ALREADY_EXISTS": ("invalid_request", 409),
    "ABORTED": ("server", 409),
    "PERMISSION_DENIED": ("permission", 403),
    "UNAUTHENTICATED": ("authentication", 401),
    "RESOURCE_EXHAUSTED": ("rate_limit", 429),
    "UNIMPLEMENTED": ("invalid_request", 501),
    "INTERNAL": ("server", 500),
    "UNAVAILABLE": ("overloaded", 503),
    "DATA_LOSS": ("server", 500),
}
_KEY_REASONS: Final = frozenset(
    {"API_KEY_INVALID", "API_KEY_EXPIRED", "CREDENTIALS_MISSING", "ACCESS_TOKEN_TYPE_UNSUPPORTED"}
)
_SECONDS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)s")
_PER_DAY: Final = re.compile(r"PerDay", re.IGNORECASE)


class _Violation(Struct):
    quotaId: str = ""
    quotaValue: str | int = ""


class _StatusDetail(Struct):
    type: str = msgspec.field(name="@type", default="")
    reason: str = ""
    retryDelay: str = ""
    violations: list[_Violation] = []


class _Status(Struct):
    """The words of an error body."""

    message: str
    status: str | None
    code: int | None
    reason: str | None = None
    wait: float | None = None
    is_spent: bool = False


_decode_detail = msgspec.json.Decoder(_StatusDetail).decode


def http_error(response: Response, body: bytes, now: float) -> ProviderError:
    """Return the error of a response with an error status.

    Args:
      now: seconds since the epoch, for a Retry-After that is a date in a response without a date.
    """
    error = _read(body)
    status = response.status
    kind = _WORDS.get(error.status or "", (None, 0))[0]
    if kind is None or (kind == "invalid_request" and status in STATUSES):
        kind = STATUSES.get(status) or kind or kind_of_status(status)
    if error.wait is None:
        error.wait = retry_after(response.headers, now)
    if not error.message:
        shown = body[:200].decode(errors="replace").strip() or "no message"
        error.message = f"HTTP {status}: {shown}"
    return _provider_error(error, kind, status, response, body)


def stream_error(data: bytes, response: Response) -> ProviderError:
    """Return the error of a frame in a stream, classed as the status would be that its words stand for."""
    error = _read(data)
    kind, status = _WORDS.get(error.status or "", (None, None))
    if kind is None and error.code is not None:
        status = error.code
        kind = STATUSES.get(status) or kind_of_status(status)
    return _provider_error(error, kind or "unknown", status, response, data)


def body_error(body: bytes, response: Response) -> ProviderError | None:
    """Return the error of a response with a good status whose body is JSON instead of a stream.

    None when the body is not whole JSON, because it is cut.
    """
    try:
        msgspec.json.decode(body)
    except FAULTS:
        return None
    if is_error(body):
        return stream_error(body, response)
    return ProviderError("the answer is JSON and not an event stream", kind="malformed", body=body)


def is_error(data: bytes) -> bool:
    """Return whether JSON is an error object, or an array of one."""
    try:
        return "error" in decode_object(_first(data))
    except FAULTS:
        return False


def _first(data: bytes) -> bytes:
    """The first entry of an array; anything else as it is."""
    data = data.strip()
    if not data.startswith(b"["):
        return data
    entries = decode_array(data)
    return bytes(entries[0]) if entries else b"null"


def _read(body: bytes) -> _Status:
    """Read an error's JSON; never raises."""
    error = read_error(body)
    code = error.code or ""
    status = _Status(error.message, None, int(code) if code.isdecimal() and len(code) < 6 else None)
    try:
        members = decode_object(decode_object(_first(body))["error"])
        status.status = msgspec.json.decode(members.get("status", Raw(b"null")), type=str | None)
        details = decode_array(members.get("details", Raw(b"[]")))
    except (*FAULTS, KeyError):
        return status
    for raw in details:
        try:
            detail = _decode_detail(raw)
        except FAULTS:
            continue
        status.reason = status.reason or detail.reason or None
        if found := _SECONDS.fullmatch(detail.retryDelay):
            status.wait = float(found[1])
        if any(_PER_DAY.search(one.quotaId) or str(one.quotaValue) == "0" for one in detail.violations):
            status.is_spent = True
    return status


def _provider_error(
    error: _Status, kind: ErrorKind, status: int | None, response: Response, body: bytes
) -> ProviderError:
    if error.reason in _KEY_REASONS:
        kind = "authentication"
    elif kind == "rate_limit" and error.is_spent:
        kind = "billing"  # a quota of a day, or of nothing: waiting a minute does not help
    return ProviderError(
        error.message or error.status or "an error without a message",
        kind=kind,
        status=status,
        type=error.status,
        code=error.reason,
        request_id=response.request_id,
        retry_after=None if kind == "billing" else error.wait,
        body=body,
    )
