"""The Claude dialect on Vertex AI: the model is in the URL, and the API version is in the body."""

import json
import re
from typing import Final, final
from urllib.parse import unquote

import httpx

from lutum.testing.wire._claude import ClaudeDialect
from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_object
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["ClaudeVertexDialect"]

_PATH: Final = re.compile(r".*/publishers/anthropic/models/([^/]+):(?:streamRawPredict|rawPredict)")
_VERSION: Final = "vertex-2023-10-16"
_COUNT: Final = "count-tokens"


@final
class ClaudeVertexDialect:
    """The dialect of Claude's Messages on Vertex AI.

    It checks the members that differ on Vertex AI, and passes the rest of the request to `ClaudeDialect`.
    """

    def __init__(self, claude: ClaudeDialect) -> None:
        self._claude = claude
        self._inner: dict[int, WireRequest] = {}

    def matches(self, request: WireRequest) -> bool:
        return _PATH.fullmatch(request.path) is not None

    def headers(self, request: WireRequest) -> dict[str, str]:
        return self._claude.headers(request)

    def check(self, request: WireRequest) -> WireError | None:
        try:
            body = request.json
        except ValueError as error:
            return WireError(f"The request body is not valid JSON: {error}")
        if not is_object(body) or body.get("anthropic_version") != _VERSION:
            return WireError(f"anthropic_version: Input should be '{_VERSION}'")
        found = _PATH.fullmatch(request.path)
        model = unquote(found[1]) if found else ""
        counting = model == _COUNT
        if "model" in body and not counting:
            return WireError("model: Extra inputs are not permitted")
        members = {name: value for name, value in body.items() if name != "anthropic_version"}
        if not counting:
            members = {"model": model, **members}
        headers = httpx.Headers([*request.headers.multi_items(), ("anthropic-version", "2023-06-01")])
        path = "/v1/messages/count_tokens" if counting else "/v1/messages"
        inner = WireRequest(request.number, request.method, path, headers, json.dumps(members).encode())
        inner.transformations = request.transformations
        self._inner[request.number] = inner
        return self._claude.check(inner)

    def answer(self, request: WireRequest) -> bytes | None:
        return self._claude.answer(self._inner[request.number])

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return self._claude.error(request, error)

    def error_type(self, status: int) -> str:
        return self._claude.error_type(status)

    def status_of(self, error_type: str) -> int:
        return self._claude.status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        return self._claude.error_event(request, event)

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        return self._claude.render(self._inner.pop(request.number), reply)
