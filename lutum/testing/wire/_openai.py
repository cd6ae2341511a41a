"""Parts that OpenAI's dialects share: error types, the pieces of an answer, and its usage. No I/O, no clock.

The figures are invented. They are plausible, and the same on every run. The input is a quarter of the
request's bytes, and the output is the number of deltas. A token of input costs $0.000001, and a token of
output $0.000005.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_object
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import Step

__all__ = [
    "CREATED",
    "Bill",
    "Bills",
    "at_openrouter",
    "cached_tokens",
    "check_key",
    "code_of",
    "error_body",
    "error_headers",
    "input_tokens",
    "json_bytes",
    "merged",
    "padding",
    "pieces_of_arguments",
    "pieces_of_text",
    "status_of",
    "type_of",
]

CREATED: Final = 1_767_225_600
"""The creation time of every object, the same on every run: 2026-01-01."""

# By name (a `type` or a `code`): the type, the code and the status of an error. From guides/error-codes and
# from recorded errors.
_WORDS: Final[dict[str, tuple[str, str | None, int]]] = {
    "invalid_request_error": ("invalid_request_error", None, 400),
    "invalid_api_key": ("invalid_request_error", "invalid_api_key", 401),
    "unsupported_country_region_territory": (
        "request_forbidden",
        "unsupported_country_region_territory",
        403,
    ),
    "model_not_found": ("invalid_request_error", "model_not_found", 404),
    "context_length_exceeded": ("invalid_request_error", "context_length_exceeded", 400),
    "invalid_encrypted_content": ("invalid_request_error", "invalid_encrypted_content", 400),
    "rate_limit_exceeded": ("requests", "rate_limit_exceeded", 429),
    "insufficient_quota": ("insufficient_quota", "insufficient_quota", 429),
    "server_error": ("server_error", "server_error", 500),
    "server_is_overloaded": ("service_unavailable_error", "server_is_overloaded", 503),
}
_WORD_OF: Final = {
    401: "invalid_api_key",
    403: "unsupported_country_region_territory",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    503: "server_is_overloaded",
}

_ARGUMENT_PIECE: Final = 6  # as in the recorded streams: a token or two
_PADDED_TO: Final = 16
_LETTERS: Final = "lZ4kPq9TfWx2Nc7R"


@final
class Bill(msgspec.Struct, frozen=True):
    """The reported usage of a generation. `request.outcome` is how the generation ended."""

    request: WireRequest
    model: str
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cached_tokens: int

    @property
    def cost(self) -> msgspec.Raw:
        """The cost in dollars, as a JSON number."""
        micro = self.input_tokens + 5 * self.output_tokens
        return msgspec.Raw(f"{micro // 10**6}.{micro % 10**6:06}".encode())


Bills = dict[str, Bill]
"""Bills by the id of their answer. Later requests read them."""


def at_openrouter(request: WireRequest) -> bool:
    """Return whether the request is for OpenRouter. Only OpenRouter's paths begin with `/api/v1/`."""
    return request.path.startswith("/api/v1/")


def type_of(status: int) -> str:
    """Return the error type or code for a status."""
    return _WORD_OF.get(status, "server_error" if status >= 500 else "invalid_request_error")


def status_of(word: str) -> int:
    """Return the status of the errors with this type or code."""
    return _WORDS[word][2] if word in _WORDS else 500


def code_of(error: WireError) -> tuple[str, str | None]:
    """Return the `type` and `code` of an error. `error.type` may be a type or a code."""
    if error.code is not None or error.type not in _WORDS:
        return error.type, error.code
    return _WORDS[error.type][:2]


def error_body(request: WireRequest, error: WireError) -> bytes:
    """Write the JSON body of an error. At OpenRouter, its `code` is the status, and it has no `type`."""
    if at_openrouter(request):
        return msgspec.json.encode({"error": {"message": error.message, "code": error.status}})
    kind, code = code_of(error)
    said = {"message": error.message, "type": kind, "param": error.param, "code": code}
    return msgspec.json.encode({"error": said})


def error_headers(request: WireRequest) -> dict[str, str]:
    """Return the headers of every answer. OpenRouter sends no request id."""
    if at_openrouter(request):
        return {}
    return {"x-request-id": f"req_{request.number:04}", "openai-version": "2020-10-01"}


def check_key(request: WireRequest, api_key: str | None) -> WireError | None:
    """Refuse a request without the key. It may be a bearer token, or in `api-key`, as at Azure."""
    if api_key is None:
        return None
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    given = request.headers.get("api-key") or bearer
    if given == api_key:
        return None
    if not given:
        return WireError("You didn't provide an API key.", status=401)
    shown = given[:3] + "*" * 8
    return WireError(f"Incorrect API key provided: {shown}.", status=401, code="invalid_api_key")


def pieces_of_text(pieces: tuple[str | Step, ...]) -> Iterator[str | Step]:
    """Return several pieces unchanged. Split a single piece into words, each with the space before it."""
    if len(pieces) != 1 or not isinstance(pieces[0], str):
        yield from pieces
        return
    yield from re.findall(r"^[^ ]+| [^ ]*", pieces[0])


def pieces_of_arguments(given: Mapping[str, Any] | str | tuple[str, ...]) -> list[str]:
    """Split the arguments of a call into the pieces that are sent."""
    if isinstance(given, tuple):
        return list(given)
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    return [text[at : at + _ARGUMENT_PIECE] for at in range(0, len(text), _ARGUMENT_PIECE)]


def padding(text: str) -> str:
    """Return padding that hides the length of a delta from an observer. The API's own padding is random."""
    return _LETTERS[: _PADDED_TO - len(text.encode()) % _PADDED_TO]


def json_bytes(value: Mapping[str, Any] | str) -> bytes:
    """Return JSON text unchanged, or a value as JSON."""
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def cached_tokens(request: WireRequest) -> int:
    """Return the number of input tokens that were read from the server's prompt cache."""
    return 0 if request.cache is None else request.cache.read


def input_tokens(request: WireRequest) -> int:
    """Return the reported number of input tokens."""
    return max(1, len(request.body) // 4)


def merged(made_up: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Override the invented usage with the script's usage. Objects are merged member by member."""
    whole = dict(made_up)
    for name, value in said.items():
        before = whole.get(name)
        whole[name] = {**before, **value} if is_object(before) and is_object(value) else value
    return whole
