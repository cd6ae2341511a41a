"""The Chat Completions dialect of OpenAI and compatible hosts: any path that ends in `/chat/completions`.

`_openai_chat_check` checks the requests. The path selects the host that the server imitates. Paths below
`/api/v1/` are OpenRouter's (comments, generation ids, `reasoning_details`, cost), and paths below
`/deployments/NAME/` are Azure's.

OpenAI's own server never shows a model's reasoning. Other servers show it. `reasoning` selects the member:
`reasoning_content`, `reasoning`, or `reasoning_details`. `reasoning_details` are signed (`_openai_seal`), and
refused if they come back altered.
"""

import json
from typing import Any, final

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_array, is_object
from lutum.testing.wire._openai import (
    Bill,
    Bills,
    at_openrouter,
    check_key,
    error_body,
    error_headers,
    status_of,
    type_of,
)
from lutum.testing.wire._openai_chat_check import check_openai_chat_request
from lutum.testing.wire._openai_chat_render import (
    ChatRendering,
    Reasoning,
    data,
    deployment_of,
    head_of,
    model_of,
)
from lutum.testing.wire._openai_seal import unseal
from lutum.testing.wire._paths import is_endpoint
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["OpenAIChatDialect"]


@final
class OpenAIChatDialect:
    """The dialect of Chat Completions. With `signing`, signed reasoning must come back unchanged.

    `reasoning` is the name of the member for reasoning; None: the host's own name. `bills` receives the
    reported usage of each answer.
    """

    def __init__(
        self,
        *,
        signing: bool = True,
        api_key: str | None = None,
        reasoning: Reasoning | None = None,
        bills: Bills,
    ) -> None:
        self._signing = signing
        self._api_key = api_key
        self._reasoning: Reasoning | None = reasoning
        self._bills = bills

    def matches(self, request: WireRequest) -> bool:
        return is_endpoint(request.path, "/chat/completions")

    def headers(self, request: WireRequest) -> dict[str, str]:
        return error_headers(request)

    def check(self, request: WireRequest) -> WireError | None:
        if request.method != "POST":
            return WireError("Method Not Allowed", status=405)
        if (found := check_key(request, self._api_key)) is not None:
            return found
        deployment = deployment_of(request)
        if deployment is not None and "api-version=" not in request.query:
            return WireError("Resource not found", status=404, code="404")
        try:
            body = request.json
        except ValueError:
            return WireError("We could not parse the JSON body of your request.")
        own = request.headers.get("host") == "api.openai.com"
        found = check_openai_chat_request(body, deployment=deployment, own=own)
        if found is None and self._signing:
            found = _check_details(request)
        return found

    def answer(self, request: WireRequest) -> bytes | None:
        return None

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return error_body(request, error)

    def error_type(self, status: int) -> str:
        return type_of(status)

    def status_of(self, error_type: str) -> int:
        return status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        """Write the event of an error. At OpenRouter, the event is a chunk that contains the error."""
        status = status_of(event.error_type)
        error = json.loads(
            error_body(request, WireError(event.message, status=status, type=event.error_type))
        )
        if not at_openrouter(request):
            return data(error)
        choice = {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "finish_reason": "error",
            "native_finish_reason": None,
        }
        return data(
            head_of(request, model_of(request), "chat.completion.chunk") | {"choices": [choice]} | error
        )

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        style = self._reasoning or ("reasoning_details" if at_openrouter(request) else "reasoning_content")
        rendering = ChatRendering(request, reply, style)
        rendered = rendering.render()
        usage = rendering.usage
        self._bills[rendering.id] = Bill(
            request,
            rendering.model,
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["completion_tokens_details"]["reasoning_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
        )
        return rendered


def _check_details(request: WireRequest) -> WireError | None:
    """Refuse invalid signed reasoning. List reasoning of another model in `request.transformations`."""
    for number, message in enumerate(request.json["messages"]):
        details = message.get("reasoning_details")
        texts: dict[Any, str] = {}
        for at, detail in enumerate(details if is_array(details) else []):
            if not is_object(detail):
                continue
            kind, place = detail.get("type"), detail.get("index")
            if kind == "reasoning.text":
                texts[place] = texts.get(place, "") + str(detail.get("text") or "")
            sealed = detail.get("data") if kind == "reasoning.encrypted" else detail.get("signature")
            if not sealed:
                continue
            path = f"messages[{number}].reasoning_details[{at}]"
            content = unseal(str(sealed))
            if content is None or (kind == "reasoning.text" and content.text != texts[place]):
                return WireError(f"{path}: Invalid `signature` in `thinking` block")
            if content.model != model_of(request):
                reason = "model_binding_mismatch"
                request.transformations.append({"type": "reasoning_dropped", "path": path, "reason": reason})
    return None
