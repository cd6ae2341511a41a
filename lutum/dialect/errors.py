"""Error bodies, statuses and error events to `ProviderError`.

A provider's words are data: an `ErrorTable`. Reading a body and choosing the kind is the same for all.
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
    """The error words of a provider.

    Attributes:
      codes: values of `code` or `type`, in lower case, that are more exact than the status: their kind, and
        the equivalent status for an event of a stream.
      types: values of `type` that the status overrides.
      statuses: the meaning of the provider's statuses.
    """

    codes: Mapping[str, tuple[ErrorKind, int]] = {}
    types: Mapping[str, tuple[ErrorKind, int]] = {}
    statuses: Mapping[int, ErrorKind] = msgspec.field(default_factory=lambda: STATUSES)


_NOT_SAID: Final = "no message"


def http_error(response: Response, body: bytes, now: float, table: ErrorTable) -> ProviderError:
    """Return the error of a response with an error status.

    The kind is the first of these that is known: the meaning of the sentence (a prompt that is too long, an
    empty account), statuses 401 and 413, the code or type, the status.

    Args:
      now: seconds since the epoch, for a Retry-After that is a date in a response without a date.
    """
    error, status = _typed(read_error(body), response), response.status
    kind = _coded(error, table.codes)[0]
    # Most providers call any error "invalid_request_error"; the status is more exact.
    if kind is None or (kind == "invalid_request" and status in table.statuses):
        kind = table.statuses.get(status) or kind or _coded(error, table.types)[0]
    if status == 401:  # api.openai.com calls a wrong key an invalid_request_error
        kind = "authentication"
    if status == 413:  # Groq: a request above the limit of tokens a minute, which never fits
        kind = "too_large"
    worded = kind_of_text(error.message, status)
    # Gemini writes "quota" for a limit a minute, Groq "reduce the length" for a prompt above such a limit.
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
    """Return the error of an event in a stream, classed like the status that matches its words.

    Args:
      default: the kind if nothing in the event determines one.
    """
    error = read_error(data)
    kind, status = _coded(error, table.codes)
    if kind is None:
        kind, status = _coded(error, table.types)
    if kind is None and (error.code or "").isdecimal() and 400 <= int(error.code or "") < 600:
        status = int(error.code or "")  # gateways send the status of their upstream
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
    """Return the error of a response with a good status whose body is JSON instead of a stream.

    None when the body is not whole JSON, because it is cut.
    """
    try:
        whole: object = msgspec.json.decode(without_halves(body))
    except FAULTS:
        return None
    if holds_error(whole):
        return stream_error(body, response, table)
    return not_an_answer(body, response)


def not_an_answer(body: bytes, response: Response) -> ProviderError:
    """Return the error of a response with a good status that is not an answer of the dialect at all.

    The address may be wrong, or a proxy answered in the provider's place. It is not retried, because the same
    request gets the same page.
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
    """Return what a status means if nothing else is known."""
    return "server" if status >= 500 else "invalid_request" if status >= 400 else "unknown"


def _typed(error: ErrorBody, response: Response) -> ErrorBody:
    """Return an error with the type from its header, where the body has none, as of AWS's gateways."""
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
        # AWS writes "com.amazon...#ThrottlingException", with a colon and an address behind it.
        name = (word or "").lower().rpartition("#")[2].partition(":")[0]
        if found := table.get((word or "").lower()) or table.get(name) or CODES.get(name):
            return found
    return None, None


def _shape(error: ErrorBody) -> str | None:
    """Return the host whose numbers the code of an error may be."""
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
