"""What OpenAI's APIs share, and the servers that speak them: endpoints, errors, usage, schemas. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import cast
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Raw, Struct

from lutum import ErrorKind, ProviderError, Response, Usage
from lutum.transport import Credential, Secret

decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode
encode = msgspec.json.Encoder().encode

# --- endpoints ---------------------------------------------------------------------------------

OWN_BASE_URL = "https://api.openai.com/v1"
OWN_HOST = "api.openai.com"

_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


class OpenAIEndpoint(Struct, frozen=True):
    """Where requests go.

    Attributes:
      base_url: without a slash at its end.
      host: with its port, where the URL names one.
      azure: authenticates with an `api-key` header instead of a bearer token.
      api_version: Azure's, in the query; its `/openai/v1` URLs need none.
    """

    base_url: str
    host: str
    azure: bool = False
    api_version: str | None = None

    @property
    def own(self) -> bool:
        """OpenAI's own, where a key is required."""
        return self.host == OWN_HOST

    def credential(self, api_key: Secret | None) -> Credential | None:
        """The key that was given, or `OPENAI_API_KEY`."""
        if (secret := Credential.find(api_key, "OPENAI_API_KEY")) is None:
            return None
        return Credential(secret, header="api-key", scheme="") if self.azure else Credential(secret)

    def url(self, path: str) -> str:
        """The URL of a path that begins with a slash."""
        query = f"?api-version={quote(self.api_version, safe='')}" if self.api_version else ""
        return self.base_url + path + query


def endpoint(base_url: str, api_version: str | None = None) -> OpenAIEndpoint:
    """The endpoint of a checked base URL."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    azure = host.endswith(_AZURE_HOSTS)
    if parts.port is not None:
        host = f"{host}:{parts.port}"
    return OpenAIEndpoint(base_url, host, azure, api_version)


# --- errors ------------------------------------------------------------------------------------

_BAD: tuple[ErrorKind, int] = ("invalid_request", 400)
_AUTH: tuple[ErrorKind, int] = ("authentication", 401)
_DENIED: tuple[ErrorKind, int] = ("permission", 403)
_BILLING: tuple[ErrorKind, int] = ("billing", 429)
_MISSING: tuple[ErrorKind, int] = ("not_found", 404)
_LIMIT: tuple[ErrorKind, int] = ("rate_limit", 429)
_SERVER: tuple[ErrorKind, int] = ("server", 500)
_BUSY: tuple[ErrorKind, int] = ("overloaded", 503)
_LATE: tuple[ErrorKind, int] = ("timeout", 504)

# guides/error-codes, the `code`s of openai-python's types/responses/response_error.py, and what servers
# that speak this API send.
CODES: dict[str, tuple[ErrorKind, int]] = {
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
TYPES: dict[str, tuple[ErrorKind, int]] = {
    "invalid_request_error": _BAD,
    "bad_request_error": _BAD,
    "authentication_error": _AUTH,
    "permission_error": _DENIED,
    "permission_denied_error": _DENIED,
    "insufficient_quota": _BILLING,
    "billing_error": _BILLING,
    "not_found_error": _MISSING,
    "rate_limit_error": _LIMIT,
    "tokens": _LIMIT,  # api.openai.com names the limit that was hit
    "requests": _LIMIT,
    "server_error": _SERVER,
    "api_error": _SERVER,
    "internal_server_error": _SERVER,
    "overloaded_error": _BUSY,
    "service_unavailable_error": _BUSY,
    "timeout_error": _LATE,
}
STATUSES: dict[int, ErrorKind] = {
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


class ErrorObject(Struct):
    """What an error body says, in whatever of its shapes."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    request_id: str | None = None


def error_object(body: bytes) -> ErrorObject:
    """Read an error's JSON: `{"error": {...}}`, the object itself, `{"error": "..."}`, `{"detail": ...}`,
    or a list of one of these. Never raises; what is no such thing has no message."""
    try:
        whole: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ErrorObject()
    if isinstance(whole, list) and whole:  # Google's front end wraps it so
        whole = cast("list[object]", whole)[0]
    if not isinstance(whole, dict):
        return ErrorObject()
    members = cast("dict[str, object]", whole)
    error = members.get("error") or members
    if isinstance(error, str):
        return ErrorObject(error, None, _word(members.get("code")))
    if not isinstance(error, dict):
        return ErrorObject()
    inner = cast("dict[str, object]", error)
    said = inner.get("message") or inner.get("detail") or members.get("detail") or ""
    message = said if isinstance(said, str) else encode(said).decode()
    type = _word(inner.get("type"))
    if inner is members and type == "error":  # the name of the event, which is no type of error
        type = None
    request_id = _word(members.get("request_id")) or _word(inner.get("request_id"))
    return ErrorObject(message, type, _word(inner.get("code")), request_id)


def http_error(response: Response, body: bytes, now: float) -> ProviderError:
    """The error of an answer with an error status; `now`, in seconds since the epoch, is for a
    Retry-After that is a date, where the answer has no Date of its own."""
    error = error_object(body)
    status = response.status
    kind = _coded(error)[0]
    if kind is None or (kind == "invalid_request" and status in STATUSES):
        kind = STATUSES.get(status) or kind
    if status == 401:  # whatever the type says: api.openai.com calls a wrong key an invalid_request_error
        kind = "authentication"
    if kind is None:
        kind = "server" if status >= 500 else "invalid_request" if status >= 400 else "unknown"
    if not error.message:
        shown = body[:200].decode(errors="replace").strip() or "no message"
        error.message = f"HTTP {status}: {shown}"
    return _provider_error(error, kind, status, response, retry_after(response.headers, now), body)


def stream_error(data: bytes, response: Response) -> ProviderError:
    """The error of an event, classed as the HTTP status would be that its code or type stands for."""
    error = error_object(data)
    kind, status = _coded(error)
    if kind is None and (error.code or "").isdecimal() and len(error.code or "") == 3:
        status = int(error.code or "")  # gateways send the status of their upstream
        kind = STATUSES.get(status) or ("server" if status >= 500 else "invalid_request")
    return _provider_error(error, kind or "unknown", status, response, None, data)


def _coded(error: ErrorObject) -> tuple[ErrorKind | None, int | None]:
    for word, table in ((error.code, CODES), (error.type, CODES), (error.type, TYPES), (error.code, TYPES)):
        if found := table.get((word or "").lower()):
            return found
    return None, None


def _provider_error(
    error: ErrorObject,
    kind: ErrorKind,
    status: int | None,
    response: Response,
    wait: float | None,
    body: bytes,
) -> ProviderError:
    return ProviderError(
        error.message or error.code or error.type or "an error without a message",
        kind=kind,
        status=status,
        type=error.type,
        code=error.code,
        request_id=response.request_id or error.request_id,
        retry_after=wait,
        body=body,
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or either form of `Retry-After`; None when they say nothing."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        given = headers["retry-after"].strip()
        if given.replace(".", "", 1).isdecimal():
            return float(given)
        date = headers.get("date")
        if date is not None:
            now = parsedate_to_datetime(date).timestamp()
        return max(0.0, parsedate_to_datetime(given).timestamp() - now)
    except (KeyError, ValueError, OverflowError):
        return None


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


# --- usage -------------------------------------------------------------------------------------


class _InputDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(Struct):
    reasoning_tokens: int | None = None


class _Reported(Struct):
    """Both spellings: `input_tokens` of Responses, `prompt_tokens` of Chat Completions."""

    input_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    prompt_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cost: Raw = Raw()
    cost_in_usd_ticks: int | None = None


_decode_usage = msgspec.json.Decoder(_Reported | None).decode

# xAI: ten thousand million ticks are a dollar.
_TICKS_PER_DOLLAR = 10**10


def usage_of(reported: bytes) -> Usage | None:
    """A `usage` object as lutum counts; None for null, or an object without counts.

    Raises:
      msgspec.DecodeError: it is no usage object.
    """
    read = _decode_usage(reported)
    if read is None:
        return None
    input = read.prompt_tokens if read.input_tokens is None else read.input_tokens
    output = read.completion_tokens if read.output_tokens is None else read.output_tokens
    if output is None and input is not None and read.total_tokens is not None:
        output = max(0, read.total_tokens - input)
    if input is None and output is None:
        return None
    inputs = read.input_tokens_details or read.prompt_tokens_details or _InputDetails()
    outputs = read.output_tokens_details or read.completion_tokens_details or _OutputDetails()
    return Usage(
        input_tokens=input or 0,
        output_tokens=output or 0,
        cache_read_tokens=inputs.cached_tokens or read.prompt_cache_hit_tokens or 0,
        cache_write_tokens=inputs.cache_write_tokens or 0,
        reasoning_tokens=outputs.reasoning_tokens or 0,
        cost_usd=_cost(bytes(read.cost), read.cost_in_usd_ticks),
    )


def _cost(lexeme: bytes, ticks: int | None) -> Decimal | None:
    """What a gateway billed in US dollars, by its digits; the API itself says nothing."""
    if ticks:
        return Decimal(ticks) / _TICKS_PER_DOLLAR
    try:
        cost = Decimal(lexeme.decode().strip('"'))
    except (InvalidOperation, UnicodeDecodeError):
        return None
    return cost if cost.is_finite() and cost > 0 else None


# --- names -------------------------------------------------------------------------

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")

CALL_ID_CHARACTERS = 64
"""A longer `call_id` is refused ("string too long"); ids of other providers may be."""


def schema_name(name: str) -> str:
    """A schema's name in the letters and the length that `text.format.name` takes."""
    return _NOT_IN_A_NAME.sub("_", name)[:64] or "schema"


def call_id(id: str, limit: int = CALL_ID_CHARACTERS) -> str:
    """A call's id as it goes out: itself, or a digest of one that is too long."""
    return id if 0 < len(id) <= limit else "call_" + sha256(id.encode()).hexdigest()[: limit - 5]


def json_instruction(schema: str) -> str:
    """What JSON mode wants said: it knows no schema, and is refused where nobody says the word JSON. It goes
    last in the input, for its request alone."""
    return f"Answer with one JSON object, and nothing else, that fits this JSON schema:\n{schema}"


def is_object(text: str) -> bool:
    """Whether `text` is one JSON object."""
    try:
        decode_object(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


# --- tokens: calibrated rules, no bound ----------------------------------------------------------

ASCII_PER_TOKEN = 3.1
OTHER_TOKENS = 1.2  # a character outside ASCII: o200k takes about 0.7 for CJK, more for rare scripts
MESSAGE_TOKENS = 9  # of its template, and what opens the answer; raw JSON is longer than any template
TOOL_TOKENS = 2
ENCRYPTED_PER_TOKEN = 16  # base64 of encrypted reasoning, most of which is left out again
JSON_PER_TOKEN = 6.4  # of a schema, which models are shown in a shorter form
PAGE_TOKENS = 3_000  # text of a page and its picture (guides/file-inputs)
IMAGE_TOKENS = 4_100
"""guides/images-vision: 1,536 patches at the largest multiplier, 2.46, are 3,779; tiled models take 1,445."""
MINI_IMAGE_TOKENS = 48_169
"""guides/images-vision: gpt-4o-mini counts 2,833 and 5,667 a tile, up to eight."""

_ENCRYPTED = re.compile(rb'"(?:encrypted_content|data)":"[^"]*"')
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    if text.isascii():
        return int(len(text) / ASCII_PER_TOKEN) + 1
    plain = len(text.encode("ascii", "ignore"))
    return int(plain / ASCII_PER_TOKEN + (len(text) - plain) * OTHER_TOKENS) + 1


def json_tokens(json: bytes) -> int:
    """Tokens of JSON that is sent."""
    if b"encrypted" not in json:
        return text_tokens(json.decode(errors="replace"))
    rest = _ENCRYPTED.sub(b"", json)
    return text_tokens(rest.decode(errors="replace")) + (len(json) - len(rest)) // ENCRYPTED_PER_TOKEN


def tool_tokens(json: bytes) -> int:
    """Tokens of a tool, or of a schema for the answer."""
    return int(text_tokens(json.decode(errors="replace")) * ASCII_PER_TOKEN / JSON_PER_TOKEN) + TOOL_TOKENS


def image_tokens(model: str) -> int:
    """The most tokens that one image takes."""
    return MINI_IMAGE_TOKENS if "gpt-4o-mini" in model else IMAGE_TOKENS


def pdf_tokens(data: bytes) -> int | None:
    """Tokens of a PDF; None when its pages cannot be counted, as in compressed object streams."""
    return len(_PAGE.findall(data)) * PAGE_TOKENS or None
