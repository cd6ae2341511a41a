"""Google's error bodies (google.rpc.Status): the details beyond the status.

A wrong key is a 400 whose details contain `API_KEY_INVALID`. A daily quota, or a quota of 0, is not retried,
because waiting does not help. `lutum.dialect` reads the message and `RetryInfo`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

from lutum import ProviderError
from lutum.dialect.errors import ErrorTable
from lutum.dialect.json import FAULTS, decode_array, decode_object

ERRORS: Final = ErrorTable(
    codes={
        "cancelled": ("server", 499),
        "unknown": ("server", 500),
        "aborted": ("server", 409),
        "already_exists": ("invalid_request", 409),
        "unimplemented": ("invalid_request", 501),
        "not_found": ("not_found", 404),
    }
)

_KEY_REASONS: Final = frozenset(
    {"API_KEY_INVALID", "API_KEY_EXPIRED", "CREDENTIALS_MISSING", "ACCESS_TOKEN_TYPE_UNSUPPORTED"}
)
_PER_DAY: Final = re.compile(r"PerDay", re.IGNORECASE)


class _Violation(Struct):
    quotaId: str = ""
    quotaValue: str | int = ""


class _StatusDetail(Struct):
    reason: str = ""
    violations: list[_Violation] = []


_decode_detail = msgspec.json.Decoder(_StatusDetail).decode


def refined(error: ProviderError) -> ProviderError:
    """Return the error, refined by its details: the reason as `code`, and a matching kind."""
    details = _details(error.body)
    reason = next((detail.reason for detail in details if detail.reason), None)
    if reason is not None:
        error.code = reason
    violations = [one for detail in details for one in detail.violations]
    if reason in _KEY_REASONS:
        error.kind = "authentication"
    elif any(_PER_DAY.search(one.quotaId) or str(one.quotaValue) == "0" for one in violations):
        error.kind, error.retry_after = "billing", None
    return error


def _details(body: bytes) -> list[_StatusDetail]:
    """Return the details of an error body, or of an array with one. Unreadable details are left out."""
    found = list[_StatusDetail]()
    try:
        body = body.strip()
        whole = bytes(decode_array(body)[0]) if body.startswith(b"[") else body
        entries = decode_array(decode_object(decode_object(whole)["error"]).get("details", Raw(b"[]")))
    except (*FAULTS, KeyError, IndexError):
        return found
    for entry in entries:
        try:
            found.append(_decode_detail(entry))
        except FAULTS:
            continue
    return found
