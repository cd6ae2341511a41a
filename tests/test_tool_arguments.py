"""Arguments arrive in pieces: they are joined and parsed once, when the call is whole."""

from __future__ import annotations

from typing import Any

import pytest

import lutum
from lutum.testing.wire import Call, Reply, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

TEXT = "x" * 65_536
ARGUMENTS = f'{{"text":"{TEXT}"}}'


@lutum.tool
def take(text: str) -> int:
    return len(text)


# Where each adapter asks whether a call's arguments are one JSON object.
CHECKS = {
    "claude": "lutum_claude._decode.is_object",
    "openai-chat": "lutum_openai.chat._decode.is_object",
    "openai-responses": "lutum_openai.responses._decode.is_object",
}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", CHECKS)
async def test_64_kib_in_pieces_of_one_character_are_not_parsed_on_the_way(
    dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their number, the adapter looks at whole arguments only, and the tool decodes once."""
    looked = list[int]()
    module, _, name = CHECKS[dialect].rpartition(".")
    before: Any = getattr(__import__(module, fromlist=[name]), name)

    def count(text: Any) -> Any:
        if text.startswith('{"text'):
            looked.append(len(text))
        return before(text)

    decoded = list[int]()
    decode = type(take).decode

    def decode_counted(self: Any, arguments: str) -> Any:
        decoded.append(len(arguments))
        return decode(self, arguments)

    monkeypatch.setattr(CHECKS[dialect], count)
    monkeypatch.setattr(type(take), "decode", decode_counted)
    server = WireServer([Reply(Call("take", tuple(ARGUMENTS)))])
    client = server.connect
    path = "" if dialect == "claude" else "/v1"
    made: dict[str, Any] = {"claude": ClaudeAdapter, "openai-chat": OpenAIChatAdapter}
    adapter = made.get(dialect, OpenAIAdapter)(
        model="claude-sonnet-4-5", base_url=f"{server.url}{path}", api_key="k", http_client=client
    )
    deltas = 0
    async with adapter, lutum.Lutum(adapter).text_turn("u").tools(lutum.Toolset(take)).stream() as stream:
        async for event in stream:
            if isinstance(event, lutum.ToolCallDelta):
                deltas += 1
    assert deltas == len(ARGUMENTS)
    assert set(looked) == {len(ARGUMENTS)}
    assert len(looked) <= 3
    assert decoded == [len(ARGUMENTS)]
    [result] = await stream.result.round.run()
    assert result.text == str(len(TEXT))
