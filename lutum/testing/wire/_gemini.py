"""The dialect of Gemini's `generateContent`, on the Gemini API and on Vertex AI.

It signs parts as the API does. From Gemini 3 on, it signs the first call of each answer. An answer without a
call gets an empty text part at its end, which is signed. On 2.5, it signs the first call of an answer with
thoughts.
"""

import json
import re
from typing import Any, Final, final
from urllib.parse import parse_qs, unquote

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._gemini_check import check_gemini_request
from lutum.testing.wire._gemini_render import GeminiRendering
from lutum.testing.wire._openai import input_tokens
from lutum.testing.wire._paths import is_prefix
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["GeminiDialect"]

_PATH: Final = re.compile(
    r".*/(?:models|tunedModels)/([^/]+):(generateContent|streamGenerateContent|countTokens)"
)

# The names of google.rpc.Code, and the HTTP status of each.
_STATUS_OF: Final = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_TYPE_OF: Final = {
    **{status: word for word, status in _STATUS_OF.items() if word != "FAILED_PRECONDITION"},
    529: "UNAVAILABLE",
}
# Claude's names of errors, because scripts that run on every dialect use them.
_WORDS: Final = {
    "overloaded_error": "UNAVAILABLE",
    "rate_limit_error": "RESOURCE_EXHAUSTED",
    "api_error": "INTERNAL",
    "timeout_error": "DEADLINE_EXCEEDED",
    "invalid_request_error": "INVALID_ARGUMENT",
    "authentication_error": "UNAUTHENTICATED",
    "permission_error": "PERMISSION_DENIED",
    "not_found_error": "NOT_FOUND",
}


@final
class GeminiDialect:
    """The dialect of `generateContent`, `streamGenerateContent` and `countTokens`."""

    def __init__(self, *, signing: bool = True, api_key: str | None = None) -> None:
        self._signing = signing
        self._api_key = api_key
        self._hops: dict[str, list[bytes]] = {}

    def matches(self, request: WireRequest) -> bool:
        found = _PATH.fullmatch(request.path)
        return found is not None and is_prefix(request.path[: found.start(1)].split("/")[1:])

    def headers(self, request: WireRequest) -> dict[str, str]:
        return {"x-gemini-service-tier": "standard", "server-timing": "gfet4t7; dur=1"}

    def check(self, request: WireRequest) -> WireError | None:
        if request.method != "POST":
            return WireError("Method Not Allowed", status=405, type="INVALID_ARGUMENT")
        if (refused := self.check_key(request)) is not None:
            return refused
        body = request.body
        if _method(request) == "countTokens":
            given = request.json.get("generateContentRequest", request.json)
            body = json.dumps({name: value for name, value in given.items() if name != "model"}).encode()
        return check_gemini_request(
            body, model_of(request), vertex="/publishers/" in request.path, signing=self._signing
        )

    def answer(self, request: WireRequest) -> bytes | None:
        if _method(request) != "countTokens":
            return None
        return msgspec.json.encode({"totalTokens": input_tokens(request)})

    def error(self, request: WireRequest, error: WireError) -> bytes:
        word = _WORDS.get(error.type, error.type)
        said: dict[str, Any] = {"code": error.status, "message": error.message, "status": word}
        if error.code is not None:
            detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code}
            said["details"] = [detail]
        return msgspec.json.encode({"error": said})

    def error_type(self, status: int) -> str:
        return _TYPE_OF.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")

    def status_of(self, error_type: str) -> int:
        return _STATUS_OF.get(_WORDS.get(error_type, error_type), 500)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        status = self.status_of(event.error_type)
        error = WireError(event.message, status=status, type=event.error_type)
        return b"data: %b\r\n\r\n" % self.error(request, error)

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        streamed = _method(request) == "streamGenerateContent"
        if streamed and parse_qs(request.query).get("alt") != ["sse"]:
            raise ValueError("without alt=sse the API sends a JSON array, which this server does not send")
        earlier = self._hops.get(request.json.get("continuationToken", ""), [])
        rendering = GeminiRendering(request, model_of(request), reply, earlier, signing=self._signing)
        rendered = rendering.render(streamed)
        if rendering.continuation is not None:
            self._hops[rendering.continuation] = rendering.parts
        return rendered

    def check_key(self, request: WireRequest) -> WireError | None:
        """Refuse a request without the key."""
        if self._api_key is None:
            return None
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("x-goog-api-key") or bearer
        if given == self._api_key:
            return None
        if not given:
            text = "Method doesn't allow unregistered callers (callers without established identity)."
            return WireError(text, status=403, type="PERMISSION_DENIED")
        text = "API key not valid. Please pass a valid API key."
        return WireError(text, type="INVALID_ARGUMENT", code="API_KEY_INVALID")


def model_of(request: WireRequest) -> str:
    """Return the model in the path of a request."""
    found = _PATH.fullmatch(request.path)
    return unquote(found[1]) if found else ""


def _method(request: WireRequest) -> str:
    found = _PATH.fullmatch(request.path)
    return found[2] if found else ""
