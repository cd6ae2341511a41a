"""One descent: a request goes through the encoder's modules once, from the settings to the bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import msgspec
import pytest

import lutum
from lutum import ModelInput
from lutum_claude import ClaudeAdapter, ClaudeOptions

STAGES = (
    "_encode",
    "_settings",
    "_items",
    "_ids",
    "_request_body",
    "_tools",
    "_request_body",  # the plan of the tools may change what the messages are bound to
    "_request_options",
    "_write",
)


@lutum.tool
async def weather(city: str) -> str:
    """The weather."""
    return city


class Answer(msgspec.Struct):
    a: int


def conversation(text: str) -> ModelInput:
    """Items of each kind, which no other request has encoded."""
    start = ModelInput().system("s").user(text).assistant("a").developer("late").user("v")
    return start.tool_result("c1", "x", name="weather", arguments='{"city":"x"}').user("w")


def visits(run: Callable[[], object]) -> list[str]:
    """The encoder's modules in the order in which their functions are called; neighbours count once."""
    found = list[str]()

    def called(frame: FrameType, event: str, arg: object) -> None:
        package, _, module = str(frame.f_globals.get("__name__", "")).partition(".")
        if event == "call" and package == "lutum_claude" and module in STAGES and found[-1:] != [module]:
            found.append(module)

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        run()
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("claude-sonnet-4-5", "tools"),
        ("claude-opus-5", "tools"),
        ("claude-sonnet-4-5", "value"),
        ("claude-opus-5", "value"),
        ("claude-sonnet-4-5", "value by tool"),
    ],
)
def test_a_request_goes_down_once(model: str, kind: str) -> None:
    options = ClaudeOptions(structured="tool" if kind == "value by tool" else None)
    llm = lutum.Lutum(ClaudeAdapter(model, api_key="k", options=options))
    asked = conversation(f"{kind} of {model}")
    with_tools = llm.text_turn(asked).tools(lutum.Toolset(weather)).effort("low")
    turn = with_tools if kind == "tools" else llm.structured_turn(Answer, asked)
    assert visits(turn.preview) == list(STAGES)
