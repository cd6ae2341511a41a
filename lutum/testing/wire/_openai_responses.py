"""OpenAI's Responses dialect: `/responses`, streamed or not, `/responses/{id}` and `/responses/input_tokens`.

`_openai_responses_check` checks the requests. Reasoning is sealed (`_openai_seal`) when the request includes
`reasoning.encrypted_content`. Altered reasoning is refused. Another model's reasoning is left out, and listed
in `input_transformations`. A summary that differs from the reasoning is refused too; the API does not check
this.
"""

import json
import re
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_array, is_object
from lutum.testing.wire._openai import (
    Bill,
    Bills,
    at_openrouter,
    check_key,
    code_of,
    error_body,
    error_headers,
    input_tokens,
    status_of,
    type_of,
)
from lutum.testing.wire._openai_responses_check import check_openai_responses_request
from lutum.testing.wire._openai_responses_render import ResponsesRendering, begun, numbered
from lutum.testing.wire._openai_seal import unseal
from lutum.testing.wire._paths import is_endpoint
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["OpenAIResponsesDialect"]

_ONE: Final = re.compile(r".*/responses/(?!input_tokens$)([^/]+)")
_CLIENT_CALLS: Final = ("function_call", "custom_tool_call")


@final
class OpenAIResponsesDialect:
    """The dialect of the Responses API. With `signing`, sealed reasoning must come back unchanged.

    `bills` receives the reported usage of each answer.
    """

    def __init__(self, *, signing: bool = True, api_key: str | None = None, bills: Bills) -> None:
        self._signing = signing
        self._api_key = api_key
        self._bills = bills
        self._stored: dict[str, bytes] = {}
        self._items: set[str] = set()
        self._places: dict[int, int] = {}

    def matches(self, request: WireRequest) -> bool:
        ends = ("/responses", "/responses/input_tokens")
        return is_endpoint(request.path, *ends, below=True) or _one(request) is not None

    def headers(self, request: WireRequest) -> dict[str, str]:
        return error_headers(request)

    def check(self, request: WireRequest) -> WireError | None:
        if (found := check_key(request, self._api_key)) is not None:
            return found
        if (wanted := _one(request)) is not None:
            if request.method != "GET":
                return WireError("Method Not Allowed", status=405)
            return None if wanted in self._stored else _not_found(f"Response with id '{wanted}'")
        if request.method != "POST":
            return WireError("Method Not Allowed", status=405)
        try:
            body = request.json
        except ValueError:
            return WireError("We could not parse the JSON body of your request.")
        previous: Any = body.get("previous_response_id") if is_object(body) else None
        if previous is not None and previous not in self._stored:
            return WireError(
                f"Previous response with id '{previous}' not found.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        found = check_openai_responses_request(
            body, known_calls=self._open_calls(previous), extras=at_openrouter(request)
        )
        return found or self._check_references(request)

    def _open_calls(self, response: str | None) -> list[str]:
        if response is None:
            return []
        output = json.loads(self._stored[response])["output"]
        return [item["call_id"] for item in output if item["type"] in _CLIENT_CALLS]

    def _check_references(self, request: WireRequest) -> WireError | None:
        """Refuse input that refers to a missing item, and invalid sealed reasoning."""
        given: Any = request.json.get("input")
        items: list[Any] = given if is_array(given) else []
        for at, item in enumerate(items):
            kind = item.get("type")
            if kind == "item_reference" and item["id"] not in self._items:
                return _not_found(f"Item with id '{item['id']}'")
            if kind != "reasoning":
                continue
            sealed = item.get("encrypted_content")
            if not sealed:
                shown = any(is_object(part) and part.get("text") for part in item.get("content") or ())
                if item.get("id") not in self._items and not shown:
                    return _not_found(f"Item with id '{item.get('id')}'")
            elif self._signing:
                content = unseal(sealed)
                summary = "".join(part["text"] for part in item["summary"])
                if content is None or summary not in ("", content.text):
                    return WireError(
                        f"The encrypted content {sealed[:4]}...{sealed[-4:]} could not be verified. Reason: "
                        "Encrypted content could not be decrypted or parsed.",
                        code="invalid_encrypted_content",
                    )
                if content.model != request.json["model"]:
                    request.transformations.append(
                        {
                            "type": "reasoning_dropped",
                            "path": f"input[{at}]",
                            "reason": "model_binding_mismatch",
                        }
                    )
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        if request.path.endswith("/input_tokens"):
            said = {"object": "response.input_tokens", "input_tokens": input_tokens(request)}
            return msgspec.json.encode(said)
        wanted = _one(request)
        return None if wanted is None else self._stored[wanted]

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return error_body(request, error)

    def error_type(self, status: int) -> str:
        return type_of(status)

    def status_of(self, error_type: str) -> int:
        return status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        """Write the `error` event and the `response.failed` after it."""
        number = self._places.pop(request.number, 0)
        kind, code = code_of(WireError(event.message, type=event.error_type))
        said: dict[str, Any] = {"type": kind, "code": code, "message": event.message, "param": None}
        failed = begun(request, request.json["model"]) | {
            "status": "failed",
            "error": {"code": code or kind, "message": event.message},
        }
        return numbered("error", number, {"error": said}) + numbered(
            "response.failed", number + 1, {"response": failed}
        )

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        rendering = ResponsesRendering(request, reply)
        rendered = rendering.render()
        final, usage = rendering.final, rendering.usage
        if rendering.failing is not None:
            self._places[request.number] = rendering.failing
        self._bills[final["id"]] = Bill(
            request,
            final["model"],
            usage["input_tokens"],
            usage["output_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
        )
        if final["store"]:
            self._stored[final["id"]] = msgspec.json.encode(final)
            self._items.update(str(item.get("id")) for item in map(json.loads, rendering.output))
        return rendered


def _one(request: WireRequest) -> str | None:
    """Return the id in the path of a stored response."""
    found = _ONE.fullmatch(request.path)
    return None if found is None else found[1]


def _not_found(what: str) -> WireError:
    return WireError(
        f"{what} not found. Items are not persisted when `store` is set to false. Try again with `store` set "
        "to true, or remove this item from your input.",
        status=404,
        param="input",
    )
