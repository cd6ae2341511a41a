"""The error types of the Messages API (api/errors)."""

from __future__ import annotations

from lutum import ErrorKind
from lutum.dialect.errors import STATUSES, ErrorTable

_TYPES: dict[str, tuple[ErrorKind, int]] = {
    "invalid_request_error": ("invalid_request", 400),
    "authentication_error": ("authentication", 401),
    "billing_error": ("billing", 402),
    "permission_error": ("permission", 403),
    "not_found_error": ("not_found", 404),
    "conflict_error": ("invalid_request", 409),
    "request_too_large": ("too_large", 413),
    "rate_limit_error": ("rate_limit", 429),
    "api_error": ("server", 500),
    "timeout_error": ("timeout", 504),
    "overloaded_error": ("overloaded", 529),
}
"""The error types, each with its kind in lutum and its HTTP status."""

ERRORS = ErrorTable(types=_TYPES, statuses={**STATUSES, **{status: kind for kind, status in _TYPES.values()}})
"""The errors by type and by status. The status overrides the type, because bridges send it with any type."""
