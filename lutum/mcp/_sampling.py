"""Sampling: an MCP server requests an answer of a model, and a `Lutum` answers under its budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ErrorData,
    SamplingMessage,
    TextContent,
    ToolResultContent,
    ToolUseContent,
)

from lutum._lutum import Lutum
from lutum._values.errors import BadValue, LutumError
from lutum._values.items import Text
from lutum._values.model_input import ModelInput
from lutum.mcp._content import part_of

Answer = Callable[[Any, CreateMessageRequestParams], Awaitable[CreateMessageResult | ErrorData]]

_REFUSED: Final = -1  # the code that the specification shows for a client that declines
_INVALID: Final = -32602
_REASONS: Final = {"stop": "endTurn", "length": "maxTokens"}


def sampling(llm: Lutum) -> Answer:
    """Return a `sampling_callback` for your `mcp.Client`: each request is one turn of `llm`.

    The budget, timeouts, retries and hooks of `llm` apply. If the turn raises a `LutumError`, the server
    receives an error with its message. The server's preferences for a model are ignored. Requests with tools
    are declined.
    """

    async def answer(context: Any, params: CreateMessageRequestParams) -> CreateMessageResult | ErrorData:
        try:
            turn = llm.text_turn(_input(params)).max_output_tokens(params.max_tokens)
            if params.temperature is not None:
                turn = turn.temperature(params.temperature)
            if params.stop_sequences:
                turn = turn.stop(*params.stop_sequences)
            result = await turn.collect()
        except BadValue as exc:
            return ErrorData(code=_INVALID, message=str(exc))
        except LutumError as exc:
            return ErrorData(code=_REFUSED, message=f"{type(exc).__name__}: {exc}")
        return CreateMessageResult(
            role="assistant",
            content=TextContent(type="text", text=result.text or result.refusal or ""),
            model=result.model,
            stop_reason=_REASONS.get(result.finish_reason, result.finish_reason),
        )

    return answer


def _input(params: CreateMessageRequestParams) -> ModelInput:
    if params.tools:
        raise BadValue("tools", "are not supported in sampling requests")
    made = ModelInput().system(params.system_prompt) if params.system_prompt else ModelInput()
    for message in params.messages:
        made = _with(made, message)
    return made


def _with(made: ModelInput, message: SamplingMessage) -> ModelInput:
    blocks = message.content_as_list
    if any(isinstance(block, ToolUseContent | ToolResultContent) for block in blocks):
        raise BadValue("messages", "hold a tool call or its result, which are not supported")
    parts = [part_of(block) for block in blocks]
    if message.role == "user":
        return made.user(parts)
    return made.assistant("".join(part.text for part in parts if isinstance(part, Text)))
