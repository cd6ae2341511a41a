"""What one server alone has: llama.cpp's lock and limits, litellm's mocks and 429s, plain completions."""

from typing import Literal

import msgspec
import pytest
from peers.servers import Server, Servers, installed

import lutum
from lutum_openai import OpenAIChatAdapter, OpenAICompletionsAdapter, OpenAIOptions


async def test_the_server_sees_the_end(llama: Server) -> None:
    """llama.cpp's server, whose turns come one after the other, notices that a turn was left."""
    seen = len(llama.log)
    async with OpenAIChatAdapter(llama.model, base_url=llama.url) as adapter:
        llm = lutum.Lutum(adapter)
        async with llm.text_turn("Hello?").max_output_tokens(2_000).stream() as turn:
            async for _ in turn.text():
                break
        await llm.text_turn("Still there?").max_output_tokens(4).collect()
    assert any("isconnected from client" in line for line in llama.log[seen:])


async def test_too_long(llama: Server) -> None:
    """What does not fit llama.cpp's context is an error: a 200 that breaks off before its first chunk."""
    async with OpenAIChatAdapter(llama.model, base_url=llama.url) as adapter:
        with pytest.raises((lutum.ProviderError, lutum.Interrupted)) as caught:
            await lutum.Lutum(adapter).text_turn("long " * 2_000).max_output_tokens(16).collect()
    assert not caught.value.started


async def test_peers_broken_off(servers: Servers) -> None:
    """llama.cpp as it comes breaks off one turn for the next, with a `[DONE]`: that is no completed turn."""
    server = installed("llama-default", servers)
    async with OpenAIChatAdapter(server.model, base_url=server.url) as adapter:
        llm = lutum.Lutum(adapter)
        with pytest.raises(lutum.ProviderError, match="without a finish_reason") as caught:
            async with llm.text_turn("Hello?").max_output_tokens(3_000).stream() as turn:
                async for event in turn:
                    if isinstance(event, lutum.TextDelta):
                        break
                second = await llm.text_turn("Now me.").max_output_tokens(8).collect()
                async for _ in turn:
                    pass
    assert second.finish_reason == "length"
    assert caught.value.started
    assert turn.usage.output_tokens >= 1
    assert turn.usage.known in ("estimated", "lower_bound")


async def test_rate_limits(litellm: Server) -> None:
    """litellm's 429 is a rate limit; asked to, the turn is sent again, and each attempt is told."""
    waits = list[lutum.WillRetry]()
    policy = lutum.RetryPolicy(attempts=3, initial=0.01)
    async with OpenAIChatAdapter("busy", base_url=litellm.url) as adapter:
        llm = lutum.Lutum(adapter)
        with pytest.raises(lutum.ProviderError) as caught:
            async with llm.text_turn("Hello?").max_output_tokens(8).retry(policy).stream() as turn:
                async for event in turn:
                    if isinstance(event, lutum.WillRetry):
                        waits.append(event)
    assert (caught.value.kind, caught.value.status) == ("rate_limit", 429)
    assert len(waits) == 2
    assert llm.budget.spent.total_tokens == 0


async def test_words_of_a_gateway(litellm: Server) -> None:
    """litellm's fixed words come in order and whole."""
    async with OpenAIChatAdapter("words", base_url=litellm.url) as adapter:
        result = await lutum.Lutum(adapter).text_turn("Hello?").max_output_tokens(64).collect()
    assert result.text == "Words that are always the same, in pieces."
    assert (result.finish_reason, result.usage.known) == ("stop", "exact")


class Sky(msgspec.Struct):
    """What is up there."""

    colour: Literal["blue", "grey"]


async def test_a_grammar(llama: Server) -> None:
    """llama.cpp takes a schema as a member of its own, which `extra_body` reaches."""
    schema = {"type": "object", "properties": {"colour": {"enum": ["blue", "grey"]}}, "required": ["colour"]}
    format = {"response_format": {"type": "json_object", "schema": schema}}
    options = OpenAIOptions(structured="json_object", extra_body=format)
    async with OpenAIChatAdapter(llama.model, base_url=llama.url) as adapter:
        turn = lutum.Lutum(adapter).structured_turn(Sky, "Sky, in JSON?").max_output_tokens(100).ext(options)
        assert (await turn.collect()).value.colour in ("blue", "grey")


@pytest.mark.parametrize("name", ["llama", "transformers", "litellm"])
async def test_peers_servers_completions(name: str, servers: Servers) -> None:
    """A prompt goes on, streamed, as long as it may."""
    server = installed(name, servers)
    async with OpenAICompletionsAdapter(server.model, base_url=server.url) as adapter:
        llm = lutum.Lutum(adapter, completion=adapter)
        turn = llm.completion("One, two").max_output_tokens(12)
        pieces = list[str]()
        async with turn.stream() as stream:
            async for text in stream.text():
                pieces.append(text)
    assert "".join(pieces) == stream.result.text
    assert stream.result.text
    assert stream.result.usage.total_tokens > 0
