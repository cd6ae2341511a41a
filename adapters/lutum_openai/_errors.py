"""The error codes of OpenAI's APIs and of compatible servers."""

from __future__ import annotations

from lutum import ErrorKind
from lutum.dialect.errors import ErrorTable

_BAD: tuple[ErrorKind, int] = ("invalid_request", 400)
_AUTH: tuple[ErrorKind, int] = ("authentication", 401)
_DENIED: tuple[ErrorKind, int] = ("permission", 403)
_BILLING: tuple[ErrorKind, int] = ("billing", 429)
_MISSING: tuple[ErrorKind, int] = ("not_found", 404)
_LIMIT: tuple[ErrorKind, int] = ("rate_limit", 429)
_SERVER: tuple[ErrorKind, int] = ("server", 500)
_BUSY: tuple[ErrorKind, int] = ("overloaded", 503)
_LATE: tuple[ErrorKind, int] = ("timeout", 504)

# Sources: guides/error-codes, the `code`s of openai-python's types/responses/response_error.py, and codes
# that compatible servers send.
_CODES: dict[str, tuple[ErrorKind, int]] = {
    "invalid_api_key": _AUTH,
    "incorrect_api_key": _AUTH,
    "token_expired": _AUTH,
    "insufficient_quota": _BILLING,
    "billing_hard_limit_reached": _BILLING,
    "billing_not_active": _BILLING,
    "model_not_found": _MISSING,
    "deploymentnotfound": _MISSING,
    "rate_limit_exceeded": _LIMIT,
    "unsupported_country_region_territory": _DENIED,
    "server_error": _SERVER,
    "internal_error": _SERVER,
    "server_is_overloaded": _BUSY,
    "slow_down": _BUSY,
    "vector_store_timeout": _LATE,
    "context_length_exceeded": _BAD,
    "invalid_prompt": _BAD,
    "data_residency_mismatch": _BAD,
    "bio_policy": _BAD,
    "misalignment_policy_violation": _BAD,
    "content_filter": _BAD,
    "content_policy_violation": _BAD,
    "invalid_image": _BAD,
    "invalid_image_format": _BAD,
    "invalid_base64_image": _BAD,
    "invalid_image_url": _BAD,
    "image_too_large": _BAD,
    "image_too_small": _BAD,
    "image_parse_error": _BAD,
    "image_content_policy_violation": _BAD,
    "invalid_image_mode": _BAD,
    "image_file_too_large": _BAD,
    "unsupported_image_media_type": _BAD,
    "empty_image_file": _BAD,
    "failed_to_download_image": _BAD,
    "image_file_not_found": _BAD,
    "invalid_encrypted_content": _BAD,
}
_TYPES: dict[str, tuple[ErrorKind, int]] = {
    "invalid_request_error": _BAD,
    "bad_request_error": _BAD,
    "authentication_error": _AUTH,
    "permission_error": _DENIED,
    "permission_denied_error": _DENIED,
    "insufficient_quota": _BILLING,
    "billing_error": _BILLING,
    "not_found_error": _MISSING,
    "rate_limit_error": _LIMIT,
    "tokens": _LIMIT,  # api.openai.com sends the name of the exceeded limit as the type
    "requests": _LIMIT,
    "server_error": _SERVER,
    "api_error": _SERVER,
    "internal_server_error": _SERVER,
    "overloaded_error": _BUSY,
    "service_unavailable_error": _BUSY,
    "timeout_error": _LATE,
}

ERRORS = ErrorTable(codes=_TYPES | _CODES)
"""Error codes and types of OpenAI's APIs and of compatible servers."""
