"""The older Completions dialect, which continues a prompt: any path that ends in `/completions`."""

from typing import Any, final

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._openai import (
    CREATED,
    check_key,
    error_body,
    error_headers,
    input_tokens,
    merged,
    pieces_of_text,
    status_of,
    type_of,
)
from lutum.testing.wire._openai_chat_check import check_openai_completions_request
from lutum.testing.wire._openai_chat_render import DONE, data
from lutum.testing.wire._paths import is_endpoint
from lutum.testing.wire._plan import Forever, Item
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import (
    At,
    BeforeHead,
    Block,
    Call,
    CutAt,
    ErrorEvent,
    NeverEnding,
    RedactedThink,
    Reply,
    Say,
    SlowClose,
    Think,
)

__all__ = ["OpenAICompletionsDialect"]


@final
class OpenAICompletionsDialect:
    """The dialect of Completions. It sends only the text of a reply."""

    def __init__(self, *, api_key: str | None = None) -> None:
        self._api_key = api_key

    def matches(self, request: WireRequest) -> bool:
        return is_endpoint(request.path, "/completions", below=True)

    def headers(self, request: WireRequest) -> dict[str, str]:
        return error_headers(request)

    def check(self, request: WireRequest) -> WireError | None:
        if request.method != "POST":
            return WireError("Method Not Allowed", status=405)
        return check_key(request, self._api_key) or check_openai_completions_request(request.body)

    def answer(self, request: WireRequest) -> bytes | None:
        return None

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return error_body(request, error)

    def error_type(self, status: int) -> str:
        return type_of(status)

    def status_of(self, error_type: str) -> int:
        return status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        error = WireError(event.message, status=status_of(event.error_type), type=event.error_type)
        return b"data: %b\n\n" % error_body(request, error)

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        body = request.json
        head = {
            "id": f"cmpl-{request.id}",
            "object": "text_completion",
            "created": CREATED,
            "model": reply.model or body["model"],
        }
        items: list[Item] = []
        said: list[str] = []

        def chunk(text: str, reason: str | None = None) -> bytes:
            return data(head | {"choices": [_choice(text, reason)]})

        for part in reply.parts:
            match part:
                case Say(pieces):
                    for piece in pieces_of_text(pieces):
                        if isinstance(piece, str):
                            said.append(piece)
                            items.append(chunk(piece))
                        else:
                            items.append(piece)
                case NeverEnding(text, delay):
                    items.append(Forever(chunk(text), delay))
                case At() | BeforeHead() | CutAt() | SlowClose():
                    pass  # placed when the stream is complete
                case Think() | RedactedThink() | Call() | Block():
                    raise ValueError(f"a completion contains text only, not {part!r}")
                case _:
                    items.append(part)
        reason = reply.stop_reason or "stop"
        usage: dict[str, Any] = {
            "prompt_tokens": input_tokens(request),
            "completion_tokens": len(said) + 1,
        }
        usage = merged(usage, reply.usage)
        usage.setdefault("total_tokens", usage["prompt_tokens"] + usage["completion_tokens"])
        if not body.get("stream"):
            steps = [item for item in items if not isinstance(item, bytes)]
            whole = head | {"choices": [_choice("".join(said), reason)], "usage": usage}
            return Rendered([*steps, msgspec.json.encode(whole)], stream=False)
        items.append(chunk("", reason))
        options: Any = body.get("stream_options") or {}
        if options.get("include_usage"):
            last: dict[str, Any] = {"choices": [], "usage": usage}
            items.append(data(head | last))
        return Rendered([*items, DONE], stream=True)


def _choice(text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
