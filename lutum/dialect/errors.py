"""Conversion of error bodies, statuses and error events to `ProviderError`.

The codes and types of a provider are data in an `ErrorTable`. The code that reads a body and chooses the kind
is the same for all providers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from lutum._values.errors import ErrorKind, ProviderError
from lutum._values.results import Response
from lutum.dialect.error_body import ErrorBody, holds_error, is_error, read_error, shown
from lutum.dialect.error_words import CODES, HOST_CODES, STATUSES, VAGUE_TEXTS, kind_of_text
from lutum.dialect.json import FAULTS
from lutum.dialect.retry import retry_after, should_retry
from lutum.dialect.surrogates import without_halves

__all__ = [
    "STATUSES",
    "ErrorBody",
    "ErrorTable",
    "body_error",
    "holds_error",
    "http_error",
    "is_error",
    "kind_of_status",
    "not_an_answer",
    "read_error",
    "stream_error",
]


class ErrorTable(Struct, frozen=True, kw_only=True):
    """The error codes and types of a provider.

    Attributes:
      codes: values of `code` or `type`, in lower case, that are more exact than the status. Each has its
        kind, and the equivalent status for an error event of a stream.
      types: values of `type` that the status overrides.
      statuses: the meaning of the provider's statuses.
    """

    codes: Mapping[str, tuple[ErrorKind, int]] = {}
    types: Mapping[str, tuple[ErrorKind, int]] = {}
    statuses: Mapping[int, ErrorKind] = msgspec.field(default_factory=lambda: STATUSES)


_NOT_SAID: Final = "no message"


def http_error(response: Response, body: bytes, now: float, table: ErrorTable) -> ProviderError:
    """Return the error of a response with an error status.

    The kind is the first of these that is known:

    - the meaning of the message, such as a prompt that is too long or an empty account
    - the status, if it is 401 or 413
    - the code or the type
    - any other status

    Args:
      now: the time in seconds since the epoch. It is used if Retry-After is a date and the response has no
        `Date` header.
    """
    error, status = _typed(read_error(body), response), response.status
    kind = _coded(error, table.codes)[0]
    # Most providers use "invalid_request_error" for many errors; the status is more exact.
    if kind is None or (kind == "invalid_request" and status in table.statuses):
        kind = table.statuses.get(status) or kind or _coded(error, table.types)[0]
    if status == 401:  # for a wrong key, api.openai.com sends the type invalid_request_error
        kind = "authentication"
    if status == 413:  # Groq: the request alone exceeds the limit of tokens a minute; a retry cannot help
        kind = "too_large"
    worded = kind_of_text(error.message, status)
    # For a limit per minute, Gemini writes "quota". For a prompt above such a limit, Groq writes "reduce the
    # length".
    if worded is not None and not (kind in ("rate_limit", "too_large") and worded == "context_length"):
        kind = worded
    message = error.message or shown(body)
    if 300 <= status < 400:
        message = _redirect(response, message)
    wait = retry_after(response.headers, now, error=error.value, message=message, status=status)
    return _provider_error(
        error,
        message or _NOT_SAID,
        kind or kind_of_status(status),
        status,
        response,
        wait,
        body,
    )


def stream_error(
    data: bytes, response: Response, table: ErrorTable, *, default: ErrorKind = "unknown"
) -> ProviderError:
    """Return the error of an event in a stream. Its kind and status are those that match its code or message.

    Args:
      default: the kind if nothing in the event determines one.
    """
    error = read_error(data)
    kind, status = _coded(error, table.codes)
    if kind is None:
        kind, status = _coded(error, table.types)
    if kind is None and (error.code or "").isdecimal() and 400 <= int(error.code or "") < 600:
        status = int(error.code or "")  # gateways send the status of the provider behind them
        kind = table.statuses.get(status) or kind_of_status(status)
    message = error.message or error.code or error.type or shown(data) or "an error without a message"
    worded = kind_of_text(message, status)
    if worded is not None:
        kind = worded
    if kind is None:
        lower = message.lower()
        kind, status = next((found for part, found in VAGUE_TEXTS if part in lower), (None, status))
    wait = retry_after(
        {}, 0.0, error=error.value, message=message, status=429 if kind == "rate_limit" else 500
    )
    return _provider_error(error, message, kind or default, status, response, wait, data)


def body_error(body: bytes, response: Response, table: ErrorTable) -> ProviderError | None:
    """Return the error of a response with a success status whose body is JSON instead of a stream.

    Return None if the body is not valid JSON, because it is cut.
    """
    try:
        whole: object = msgspec.json.decode(without_halves(body))
    except FAULTS:
        return None
    if holds_error(whole):
        return stream_error(body, response, table)
    return not_an_answer(body, response)


def not_an_answer(body: bytes, response: Response) -> ProviderError:
    """Return the error of a response with a success status that is not an answer of the dialect.

    The address may be wrong, or a proxy may have answered in place of the provider. The request is not
    retried, because the same request gets the same response.
    """
    type = response.headers.get("content-type")
    told = f"the response has content type {type}" if type else "the response"
    if not body.strip():
        message = f"{told} and is empty" if type else "the response is empty"
    else:
        quoted = shown(body)
        told = f"{told} and" if type else told
        message = f"{told} is not an answer of this API: {quoted}"
    return ProviderError(
        f"{message}. Check base_url, and whether a proxy answers in the provider's place",
        kind="malformed",
        request_id=response.request_id,
        body=body,
    )


def kind_of_status(status: int) -> ErrorKind:
    """Return the kind of an error if only its status is known."""
    return "server" if status >= 500 else "invalid_request" if status >= 400 else "unknown"


def _typed(error: ErrorBody, response: Response) -> ErrorBody:
    """Return an error with the type from the header `x-amzn-errortype`, if the body has neither type nor
    code.

    AWS's gateways send such errors.
    """
    type = response.headers.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2].strip()
    if not type or error.type is not None or error.code is not None:
        return error
    return msgspec.structs.replace(error, type=type)


def _redirect(response: Response, message: str) -> str:
    target = response.headers.get("location", "")
    if not target:
        return message or "a redirect without a target"
    return f"redirected to {target}, which is not followed: set base_url to the address that answers"


def _coded(
    error: ErrorBody, table: Mapping[str, tuple[ErrorKind, int]]
) -> tuple[ErrorKind, int] | tuple[None, None]:
    if error.code is not None and (shape := _shape(error)) and (found := HOST_CODES[shape].get(error.code)):
        return found
    for word in (error.code, error.type):
        # AWS writes "com.amazon...#ThrottlingException", followed by a colon and an address.
        name = (word or "").lower().rpartition("#")[2].partition(":")[0]
        if found := table.get((word or "").lower()) or table.get(name) or CODES.get(name):
            return found
    return None, None


def _shape(error: ErrorBody) -> str | None:
    """Return the host whose numeric codes apply to an error, from the shape of the error."""
    value = error.value
    if not isinstance(value, dict):
        return None
    if "base_resp" in value:
        return "minimax"
    if "error_code" in value:
        return "baidu"
    return "zhipu" if error.type is None and "errors" not in value else None


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
        should_retry=should_retry(response.headers),
        body=body,
    )
