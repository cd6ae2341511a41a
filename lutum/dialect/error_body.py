"""Reads the message, the type and the code of an error from the different shapes that servers send.

These shapes are read, each with a server that sends it:

- `{"error": {"message", "type", "code"}}`: OpenAI, Anthropic and most others; `{"error": "..."}`: LiteLLM,
  Hugging Face; the inner object itself, or with `"object": "error"`: vLLM
- `[{"error": ...}]`: Google's front end
- `{"errors": [{"code", "message"}]}`: Cloudflare, watsonx
- `{"detail": "..."}`, `{"detail": [{"msg", "loc"}]}`: FastAPI; `{"title", "detail", "status"}`: RFC 9457
- `{"base_resp": {"status_code", "status_msg"}}`: MiniMax
- `{"code", "msg"}`: Zhipu; `{"error_code", "error_msg"}`: Baidu; `{"header": {"code", "message"}}`: iFlytek
- `{"success": false, "message"}`: gateways; `{"statusCode", "message"}`: Azure API Management
- `{"message"}`, `{"Message"}`, `{"__type"}`: AWS; `{"error": "...", "error_description": "..."}`: OAuth
- HTML and plain text: proxies
"""

from __future__ import annotations

import re
from typing import Final, cast

import msgspec
from msgspec import Struct

from lutum.dialect.json import FAULTS, encode
from lutum.dialect.surrogates import without_halves

__all__ = ["ErrorBody", "holds_error", "is_error", "read_error", "shown"]

SHOWN_CHARACTERS: Final = 500
"""The largest number of characters that are quoted of a body without a message."""

_MESSAGES: Final = (
    "message",
    "msg",
    "detail",
    "status_msg",
    "error_msg",
    "error_message",
    "errormessage",
    "error_description",
    "description",
    "reason",
    "title",
)
_CODES: Final = ("code", "status_code", "error_code", "errorcode", "statuscode", "err_code", "errno")
_TYPES: Final = ("type", "__type", "error_type", "status")
_REQUEST_IDS: Final = ("request_id", "requestid", "trace_id")
_OUTER: Final = ("error", "errors", "base_resp", "header", "err", "fault")
_SHAPED: Final = frozenset({"code", "error_code", "errorcode", "err_code", "errno", "statuscode"})
_FINE: Final = frozenset({"", "0", "200", "ok", "success"})

_title = re.compile(r"<title[^>]*>(.*?)</title>|<h1[^>]*>(.*?)</h1>", re.IGNORECASE | re.DOTALL).search
_tag = re.compile(r"<(?:script|style).*?</(?:script|style)>|<[^>]*>", re.IGNORECASE | re.DOTALL).sub
_blanks = re.compile(r"\s+").sub


class ErrorBody(Struct, frozen=True):
    """The content of an error body, from any of its shapes.

    Attributes:
      message: the message; empty if it is missing.
      type, code: the type and the code of the provider, as strings.
      request_id: the provider's id of the request.
      value: the decoded JSON; None if the body is not JSON.
    """

    message: str = ""
    type: str | None = None
    code: str | None = None
    request_id: str | None = None
    value: object = None


def read_error(body: bytes) -> ErrorBody:
    """Read an error body. This never raises. For a body without an error, the result is empty."""
    try:
        whole: object = msgspec.json.decode(without_halves(body))
    except FAULTS:
        return ErrorBody()
    return _read(whole)


def holds_error(whole: object) -> bool:
    """Return whether decoded JSON reports a failure. Call this only for JSON that is not an answer."""
    if isinstance(whole, list) and whole:
        return holds_error(cast("list[object]", whole)[0])
    if not isinstance(whole, dict):
        return False
    members = _lowered(cast("dict[object, object]", whole))
    if any(members.get(name) for name in ("error", "errors", "err", "fault", "detail")):
        return True
    if "error" in (members.get("object"), members.get("type"), members.get("status")):
        return True
    if members.get("success") is False:
        return True
    for name in ("base_resp", "header"):
        inner = members.get(name)
        if isinstance(inner, dict) and _coded(_lowered(cast("dict[object, object]", inner)), _CODES):
            return True
    worded = any(isinstance(members.get(name), str) for name in _MESSAGES)
    return worded and _coded(members, tuple(_SHAPED))


def is_error(data: bytes) -> bool:
    """Return whether data is JSON that reports a failure. Call this only for data that is not an answer."""
    try:
        return holds_error(msgspec.json.decode(data))
    except FAULTS:
        return False


def shown(body: bytes) -> str:
    """Return the beginning of a body on one line. Of HTML, return the title, or the text if it has no
    title."""
    text = body[:16_384].decode(errors="replace")
    if text.lstrip()[:1] == "<":
        title = _title(text)
        inner = (title[1] or title[2] or "") if title else ""
        text = inner if inner.strip() else _tag(" ", text)
    return _blanks(" ", text).strip()[:SHOWN_CHARACTERS]


def _read(whole: object) -> ErrorBody:
    outer = whole
    if isinstance(whole, list) and whole:
        whole = cast("list[object]", whole)[0]
    if isinstance(whole, str):
        return ErrorBody(whole, value=outer)
    if not isinstance(whole, dict):
        return ErrorBody(value=outer)
    members = _lowered(cast("dict[object, object]", whole))
    inner = next((members[name] for name in _OUTER if members.get(name)), None)
    while isinstance(inner, list):
        inner = cast("list[object]", inner)[0] if inner else None
    if isinstance(inner, dict):
        found = _lowered(cast("dict[object, object]", inner))
        message = _message(found) or _message(members)
    else:
        found = members
        message = inner if isinstance(inner, str) else _message(members)
        described = members.get("error_description")
        if isinstance(inner, str) and isinstance(described, str):  # OAuth: a word and a sentence
            message = f"{inner}: {described}"
    type = _first(found, _TYPES)
    if found is members and type in ("error", "response.failed"):  # the name of an event, not a type of error
        type = None
    code = _first(found, _CODES) or (None if found is members else _first(members, _CODES))
    details = found.get("details")
    if code is None and isinstance(details, dict):  # the shape of Anthropic
        code = _word(cast("dict[str, object]", details).get("error_code"))
    request_id = _first(members, _REQUEST_IDS) or _first(found, _REQUEST_IDS)
    return ErrorBody(message + _upstream(found, message), type, code, request_id, outer)


def _upstream(error: dict[str, object], message: str) -> str:
    """Return the message of the provider behind a router.

    This is needed because OpenRouter's own message is only "Provider returned error".
    """
    metadata = error.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    members = cast("dict[str, object]", metadata)
    raw, name = members.get("raw"), members.get("provider_name")
    words = ""
    if isinstance(raw, str) and raw.strip():
        words = read_error(raw.encode(errors="replace")).message or shown(raw.encode(errors="replace"))
    elif raw:
        words = _read(raw).message or shown(encode(raw))
    if not words or words in message:
        return f" ({name})" if isinstance(name, str) and name and not words else ""
    return f": {name}: {words}" if isinstance(name, str) and name else f": {words}"


def _message(members: dict[str, object]) -> str:
    for name in _MESSAGES:
        said = members.get(name)
        if isinstance(said, str) and said.strip():
            return said
        if isinstance(said, list | dict) and said:
            return encode(said).decode()
    return ""


def _lowered(members: dict[object, object]) -> dict[str, object]:
    return {str(name).lower(): value for name, value in members.items()}


def _coded(members: dict[str, object], names: tuple[str, ...]) -> bool:
    """Return whether one of the codes is present and reports a failure."""
    return any((_word(members.get(name)) or "").lower() not in _FINE for name in names)


def _first(members: dict[str, object], names: tuple[str, ...]) -> str | None:
    return next((word for name in names if (word := _word(members.get(name))) is not None), None)


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
