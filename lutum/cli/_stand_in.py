"""A substitute for a provider: a wire server whose answer depends on the request, in each protocol.

It thinks on request, calls a forced tool, and returns the value that `smoke` requests. Otherwise it repeats
the last message; a request to count gets an endless answer.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from lutum.testing.wire import (
    Answer,
    Call,
    NeverEnding,
    Pause,
    Reply,
    Say,
    Step,
    Think,
    WireRequest,
    WireServer,
)

COUNT = "count"
"""A message that contains this word gets an endless answer."""

PACE = 0.03
"""Seconds between two words: a little faster than a model writes, slow enough to be stopped."""

PLACE = {"city": "Oslo"}
WEATHER = '{"city":"Oslo","degrees":3}'
"""`smoke` requests both: `PLACE` as the arguments of a tool call, `WEATHER` as a value."""


@asynccontextmanager
async def provider(pace: float = PACE) -> AsyncGenerator[str]:
    """Run the server until the block ends, and yield its URL."""
    # No proxies: a proxy cannot reach a server in this process, and no other host is contacted.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["no_proxy"] = "*"
    async with WireServer(lambda request: answer(request, pace)) as server:
        yield server.url


Object = dict[str, Any]


class _Asked(msgspec.Struct):
    """A request in any of the protocols, with the members that this module reads."""

    messages: list[Object] | None = None
    input: list[Object] | None = None
    prompt: str | None = None
    tools: list[Object] | None = None
    tool_choice: Object | str | None = None
    text: Object | None = None
    response_format: Object | None = None
    output_config: Object | None = None
    thinking: Object | None = None
    reasoning: Object | None = None
    reasoning_effort: str | None = None
    contents: list[Object] | None = None
    toolConfig: Object | None = None
    generationConfig: Object | None = None

    @property
    def generation(self) -> Object:
        """Gemini's settings."""
        return self.generationConfig or {}


_decode = msgspec.json.Decoder(_Asked).decode


def answer(request: WireRequest, pace: float = 0.0) -> Answer:
    """Return the answer to a request. No I/O."""
    asked = _decode(request.body)
    if name := _tool_to_call(asked):
        return Reply(Call(name, PLACE))
    if _wants_value(asked):
        return Reply(Say(WEATHER))
    heard, number = _heard(asked)
    if COUNT in heard.lower():
        return Reply(NeverEnding("one more, ", max(pace, 0.001)))
    said = Say(*_paced(f"You said: {heard} I am a wire server inside this process, and no model.", pace))
    if not _thinks(asked):
        return Reply(said)
    return Reply(Think(*_paced(f"This is message {number} of the conversation.", pace)), said)


def _tool_to_call(asked: _Asked) -> str:
    """Return the name of the tool that the request forces; empty if it forces none."""
    if asked.contents is not None:
        return _function_to_call(asked)
    choice = asked.tool_choice
    if not asked.tools or choice is None or choice in ("auto", "none"):
        return ""
    if isinstance(choice, str):
        return _name(asked.tools[0])
    return "" if choice.get("type") in ("auto", "none") else _name(choice) or _name(asked.tools[0])


def _function_to_call(asked: _Asked) -> str:
    """Return the name of the function that a Gemini request forces; empty if it forces none."""
    config = (asked.toolConfig or {}).get("functionCallingConfig", {})
    if config.get("mode") != "ANY":
        return ""
    declared = [_name(one) for tool in asked.tools or () for one in tool.get("functionDeclarations", ())]
    return str([*config.get("allowedFunctionNames", ()), *declared][0])


def _name(tool: Object) -> str:
    return str(tool.get("name") or tool.get("function", {}).get("name", ""))


def _wants_value(asked: _Asked) -> bool:
    if "responseJsonSchema" in asked.generation:
        return True
    form = (
        asked.response_format or (asked.text or {}).get("format") or (asked.output_config or {}).get("format")
    )
    return form is not None and form["type"] != "text"


def _thinks(asked: _Asked) -> bool:
    if "thinkingConfig" in asked.generation:
        return True
    effort = asked.reasoning_effort or (asked.reasoning or {}).get("effort") or "none"
    return effort != "none" or (asked.thinking or {}).get("type", "disabled") != "disabled"


def _heard(asked: _Asked) -> tuple[str, int]:
    """Return the text of the last user message, and the number of messages."""
    if asked.prompt is not None:
        return asked.prompt, 1
    said = asked.messages or asked.input or asked.contents or []
    last = [one for one in said if one.get("role") == "user"][-1]
    content: str | list[Object] = last["parts"] if asked.contents else last["content"]
    if isinstance(content, str):
        return content, len(said)
    texts = [str(part.get("text", "")) for part in content]
    return next((text for text in reversed(texts) if text), ""), len(said)


def _paced(text: str, pace: float) -> list[str | Step]:
    first, *rest = text.split(" ")
    steps: list[str | Step] = [first]
    for word in rest:
        steps += [Pause(pace), " " + word] if pace else [" " + word]
    return steps
