"""The clients, one small function for each, and a process that runs one client and measures itself.

    python benchmarks/clients.py NAME DIALECT BASE_URL EVENTS [--streams 1] [--repeat 5] [--backend asyncio]

A client is an async context manager that yields `turn(first)`. This function runs one turn, calls `first`
at the first piece of text, and returns the pieces. A piece is one text delta of the provider. If a client
has a result at the end, the result must equal the pieces. The raw clients only read: they return the
number of bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import anyio

MODELS = {"messages": "claude-sonnet-5", "completions": "gpt-4.1-mini", "responses": "gpt-4.1-mini"}
MODELS["gemini"] = "gemini-2.5-flash"
TOKENS = 32_000
First = Callable[[], None]
Turn = Callable[[First], Awaitable[Any]]
Client = Callable[[str], AbstractAsyncContextManager[Turn]]


def body(dialect: str) -> bytes:
    """The smallest request; the server does not read it."""
    if dialect == "gemini":
        return json.dumps({"contents": [{"role": "user", "parts": [{"text": "go"}]}]}).encode()
    message = [{"role": "user", "content": "go"}]
    asked = {"input": message} if dialect == "responses" else {"messages": message}
    return json.dumps({"model": MODELS[dialect], "stream": True, **asked}).encode()


@asynccontextmanager
async def raw_httpx(url: str, dialect: str, path: str) -> AsyncIterator[Turn]:
    import httpx

    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None)) as client:

        async def turn(first: First) -> int:
            size = 0
            async with client.stream("POST", url + path, content=body(dialect)) as response:
                async for piece in response.aiter_raw():
                    if not size:
                        first()
                    size += len(piece)
            return size

        yield turn


@asynccontextmanager
async def raw_aiohttp(url: str, dialect: str, path: str) -> AsyncIterator[Turn]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:

        async def turn(first: First) -> int:
            size = 0
            async with client.post(url + path, data=body(dialect)) as response:
                async for piece in response.content.iter_any():
                    if not size:
                        first()
                    size += len(piece)
            return size

        yield turn


@asynccontextmanager
async def lutum_turn(url: str, dialect: str) -> AsyncIterator[Turn]:
    import lutum

    if dialect == "messages":
        adapter: Any = lutum.ClaudeAdapter(MODELS[dialect], base_url=url, api_key="none")
    elif dialect == "gemini":
        adapter = lutum.GeminiAdapter(MODELS[dialect], base_url=url, api_key="none")
    elif dialect == "completions":
        adapter = lutum.OpenAIChatAdapter(MODELS[dialect], base_url=f"{url}/v1", api_key="none")
    else:
        adapter = lutum.OpenAIAdapter(MODELS[dialect], base_url=f"{url}/v1", api_key="none")
    async with adapter:
        llm = lutum.Lutum(adapter)

        async def turn(first: First) -> list[str]:
            pieces: list[str] = []
            async with llm.text_turn("go").max_output_tokens(TOKENS).stream() as stream:
                async for event in stream:
                    match event:
                        case lutum.TextDelta(text=text):
                            if not pieces:
                                first()
                            pieces.append(text)
            assert stream.result.text == "".join(pieces)
            return pieces

        yield turn


@asynccontextmanager
async def anthropic_events(url: str) -> AsyncIterator[Turn]:
    """`create(stream=True)`: typed events only, the least work that the SDK does."""
    import anthropic

    async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:

        async def turn(first: First) -> list[str]:
            pieces: list[str] = []
            stream = await client.messages.create(
                model=MODELS["messages"],
                max_tokens=TOKENS,
                messages=[{"role": "user", "content": "go"}],
                stream=True,
            )
            async with stream:
                async for event in stream:
                    if event.type == "content_block_delta" and event.delta.type == "text_delta":
                        if not pieces:
                            first()
                        pieces.append(event.delta.text)
            return pieces

        yield turn


@asynccontextmanager
async def anthropic_stream(url: str) -> AsyncIterator[Turn]:
    """`messages.stream()`: events, and the message at the end."""
    import anthropic

    async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:

        async def turn(first: First) -> list[str]:
            pieces: list[str] = []
            async with client.messages.stream(
                model=MODELS["messages"], max_tokens=TOKENS, messages=[{"role": "user", "content": "go"}]
            ) as stream:
                async for event in stream:
                    if event.type == "text":
                        if not pieces:
                            first()
                        pieces.append(event.text)
                [block] = (await stream.get_final_message()).content
            assert block.text == "".join(pieces)
            return pieces

        yield turn


@asynccontextmanager
async def openai_chat(url: str) -> AsyncIterator[Turn]:
    import openai

    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:

        async def turn(first: First) -> list[str]:
            pieces: list[str] = []
            stream = await client.chat.completions.create(
                model=MODELS["completions"],
                messages=[{"role": "user", "content": "go"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            async with stream:
                async for chunk in stream:
                    if chunk.choices and (text := chunk.choices[0].delta.content):
                        if not pieces:
                            first()
                        pieces.append(text)
            return pieces

        yield turn


@asynccontextmanager
async def openai_responses(url: str) -> AsyncIterator[Turn]:
    import openai

    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:

        async def turn(first: First) -> list[str]:
            pieces: list[str] = []
            stream = await client.responses.create(model=MODELS["responses"], input="go", stream=True)
            async with stream:
                async for event in stream:
                    match event.type:
                        case "response.output_text.delta":
                            if not pieces:
                                first()
                            pieces.append(event.delta)
                        case "response.completed":
                            assert event.response.output_text == "".join(pieces)
            return pieces

        yield turn


@asynccontextmanager
async def google_genai(url: str) -> AsyncIterator[Turn]:
    """`generate_content_stream`: typed chunks, each with its text."""
    from google import genai
    from google.genai import types

    options = types.HttpOptions(base_url=url, api_version="v1beta")
    client = genai.Client(api_key="none", http_options=options)

    async def turn(first: First) -> list[str]:
        pieces: list[str] = []
        config = types.GenerateContentConfig(max_output_tokens=TOKENS)
        stream = await client.aio.models.generate_content_stream(
            model=MODELS["gemini"], contents="go", config=config
        )
        async for chunk in stream:
            if text := chunk.text:
                if not pieces:
                    first()
                pieces.append(text)
        return pieces

    yield turn


@asynccontextmanager
async def pydantic_ai(url: str, dialect: str) -> AsyncIterator[Turn]:
    """`direct.model_request_stream`: below the agent, the least work that the library does."""
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import (
        ModelRequest,
        PartDeltaEvent,
        PartStartEvent,
        TextPart,
        TextPartDelta,
    )

    model: Any
    if dialect == "messages":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        model = AnthropicModel(MODELS[dialect], provider=AnthropicProvider(api_key="none", base_url=url))
    else:
        from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider

        made = OpenAIChatModel if dialect == "completions" else OpenAIResponsesModel
        model = made(MODELS[dialect], provider=OpenAIProvider(api_key="none", base_url=f"{url}/v1"))
    asked = [ModelRequest.user_text_prompt("go")]

    async def turn(first: First) -> list[str]:
        pieces: list[str] = []
        async with model_request_stream(model, asked, model_settings={"max_tokens": TOKENS}) as stream:
            async for event in stream:
                match event:
                    case (
                        PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                        | PartStartEvent(part=TextPart(content=text))
                    ) if text:
                        if not pieces:
                            first()
                        pieces.append(text)
                    case _:
                        pass
        [part] = stream.get().parts
        assert part.content == "".join(pieces)
        return pieces

    yield turn


@asynccontextmanager
async def litellm(url: str, dialect: str) -> AsyncIterator[Turn]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise its import sends a request
    from litellm import acompletion

    where = {"messages": ("anthropic/", url), "completions": ("openai/", f"{url}/v1")}[dialect]

    async def turn(first: First) -> list[str]:
        pieces: list[str] = []
        stream = await acompletion(
            model=where[0] + MODELS[dialect],
            api_base=where[1],
            api_key="none",
            messages=[{"role": "user", "content": "go"}],
            max_tokens=TOKENS,
            stream=True,
        )
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                if not pieces:
                    first()
                pieces.append(text)
        return pieces

    yield turn


def by_dialect(make: Callable[..., Any], *dialects: str) -> dict[str, Client]:
    return {dialect: partial(make, dialect=dialect) for dialect in dialects}


_PATHS = {
    "messages": "/v1/messages",
    "completions": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": f"/v1beta/models/{MODELS['gemini']}:streamGenerateContent",
}

CLIENTS: dict[str, dict[str, Client]] = {
    "raw httpx": {name: partial(raw_httpx, dialect=name, path=path) for name, path in _PATHS.items()},
    "raw aiohttp": {name: partial(raw_aiohttp, dialect=name, path=path) for name, path in _PATHS.items()},
    "lutum": by_dialect(lutum_turn, *_PATHS),
    "anthropic": {"messages": anthropic_events},
    "anthropic .stream()": {"messages": anthropic_stream},
    "openai": {"completions": openai_chat, "responses": openai_responses},
    "google-genai": {"gemini": google_genai},
    "pydantic-ai": by_dialect(pydantic_ai, "messages", "completions", "responses"),
    "litellm": by_dialect(litellm, "messages", "completions"),
}
"""Name and dialect to client. A raw client has `raw` in its name."""


async def many(turn: Turn, streams: int) -> tuple[list[Any], list[float], list[float]]:
    """Run `streams` turns at once. Returns three lists: the value of each turn, the wall seconds from its
    start to its first piece, and the CPU seconds of this process from the start of all turns to that
    piece."""
    outcomes: list[Any] = []
    waited: list[float] = []
    worked: list[float] = []
    start = time.process_time()

    async def one() -> None:
        began = time.perf_counter()

        def first() -> None:
            waited.append(time.perf_counter() - began)
            worked.append(time.process_time() - start)

        outcomes.append(await turn(first))

    async with anyio.create_task_group() as group:
        for _ in range(streams):
            group.start_soon(one)
    return outcomes, waited, worked


async def measure(
    client: Client, url: str, *, events: int, streams: int, repeat: int, fresh: int, warm: str
) -> dict[str, Any]:
    """Measure a client. Returns the median of the CPU microseconds per event over all repetitions, the peak
    memory in KiB, the seconds to each first event of the last repetition, and the CPU seconds to the first
    event of the middle turn, as the median over all repetitions."""
    expected = [f"word{number} " for number in range(events)]
    cpu: list[float] = []
    first: list[float] = []
    middle: list[float] = []
    if warm:  # the imports and caches of a first turn are measured elsewhere
        async with client(warm) as turn:
            await turn(lambda: None)
    for _ in range(fresh or 1):
        async with client(url) as turn:
            for _ in range(repeat):
                before = time.process_time()
                outcomes, first, worked = await many(turn, streams)
                cpu.append((time.process_time() - before) / (events * streams) * 1e6)
                middle.append(statistics.median(worked))
                for outcome in outcomes:
                    whole = outcome == expected if isinstance(outcome, list) else outcome > events * 10
                    assert whole, outcome
                assert len(outcomes) == len(first) == streams
    return {
        "cpu_us": statistics.median(cpu),
        "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "first_s": sorted(first),
        "first_cpu_s": statistics.median(middle),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("dialect")
    parser.add_argument("url")
    parser.add_argument("events", type=int)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--fresh", type=int, default=0, help="do it all with so many clients, one by one")
    parser.add_argument("--warm", default="", help="the base URL of a turn that is not measured")
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    profiler: Any = nullcontext()
    if given.profile:
        import cProfile

        profiler = cProfile.Profile()
    with profiler:
        figures = anyio.run(
            partial(
                measure,
                CLIENTS[given.client][given.dialect],
                given.url,
                events=given.events,
                streams=given.streams,
                repeat=given.repeat,
                fresh=given.fresh,
                warm=given.warm,
            ),
            backend=given.backend,
        )
    if given.profile:
        profiler.print_stats("tottime")
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
