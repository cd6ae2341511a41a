"""(d) Building the next request after 1 to 10,000 turns of history: from the call to the bytes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from measure import Plot, Report, Table, by_hand, interleaved, python

QUESTION, ANSWER = "How deep is the river at mile %d? " * 4, "It is %d feet deep there, give or take. " * 12
CLIENTS = ("lutum", "anthropic", "pydantic-ai", "openai")


class Sent(Exception):
    """The transport has the request; nothing is sent."""


def catching(library: Any, sizes: list[int]) -> Any:
    """Return a client whose transport counts the bytes of a request and refuses it."""

    async def catch(request: Any) -> Any:
        sizes.append(len(request.content))
        raise Sent

    return library.AsyncClient(transport=library.MockTransport(catch))


async def lutum_sessions(turns: int, sizes: list[int]) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    import httpx

    import lutum
    import lutum_claude

    adapter = lutum.ClaudeAdapter("claude-sonnet-5", api_key="none", http_client=catching(httpx, sizes))
    history = lutum_claude.from_messages(
        json.dumps(messages(turns)), scope=adapter.scope, model="claude-sonnet-5"
    )
    session = lutum.Session(lutum.Lutum(adapter), history)

    async def ask(number: int) -> object:
        branch = session.fork()
        branch.push_user(QUESTION % ((number,) * 4))
        return await branch.text_turn().max_output_tokens(100).collect()

    yield ask


def messages(turns: int) -> list[dict[str, str]]:
    return [
        message
        for number in range(turns)
        for message in (
            {"role": "user", "content": QUESTION % ((number,) * 4)},
            {"role": "assistant", "content": ANSWER % ((number,) * 12)},
        )
    ]


async def anthropic_calls(turns: int, sizes: list[int]) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    import anthropic
    import httpx2

    client = anthropic.AsyncAnthropic(api_key="none", http_client=catching(httpx2, sizes), max_retries=0)
    history: list[Any] = messages(turns)
    for message in history[1::2]:  # its documentation sends `message.content` back
        message["content"] = [anthropic.types.TextBlock(type="text", text=message["content"])]

    async def ask(number: int) -> object:
        asked = [*history, {"role": "user", "content": QUESTION % ((number,) * 4)}]
        return await client.messages.create(
            model="claude-sonnet-5", max_tokens=100, messages=asked, stream=True
        )

    yield ask


async def openai_calls(turns: int, sizes: list[int]) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    import httpx2
    import openai

    client = openai.AsyncOpenAI(api_key="none", http_client=catching(httpx2, sizes), max_retries=0)
    history: list[Any] = messages(turns)

    async def ask(number: int) -> object:
        asked = [*history, {"role": "user", "content": QUESTION % ((number,) * 4)}]
        return await client.chat.completions.create(model="gpt-4.1-mini", messages=asked, stream=True)

    yield ask


async def pydantic_ai_calls(
    turns: int, sizes: list[int]
) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    import anthropic
    import httpx2
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = anthropic.AsyncAnthropic(api_key="none", http_client=catching(httpx2, sizes), max_retries=0)
    model = AnthropicModel("claude-sonnet-5", provider=AnthropicProvider(anthropic_client=client))
    history = [
        ModelRequest.user_text_prompt(message["content"])
        if message["role"] == "user"
        else ModelResponse([TextPart(message["content"])])
        for message in messages(turns)
    ]

    async def ask(number: int) -> object:
        return await model_request(
            model, [*history, ModelRequest.user_text_prompt(QUESTION % ((number,) * 4))]
        )

    yield ask


MAKERS = {
    "lutum": lutum_sessions,
    "anthropic": anthropic_calls,
    "openai": openai_calls,
    "pydantic-ai": pydantic_ai_calls,
}


async def one_process(client: str, turns: int, repeat: int) -> None:
    """Print the CPU milliseconds of a request and, for lutum, how many items were encoded for it."""
    sizes: list[int] = []
    spent: list[float] = []
    encoded = 0
    async for ask in MAKERS[client](turns, sizes):
        for number in range(repeat + 1):  # the first request fills caches
            before = time.process_time()
            try:
                await ask(number)
            except BaseException as exc:  # each library raises its own exception here
                if not sizes:
                    raise
                del exc
            spent.append((time.process_time() - before) * 1000)
        if client == "lutum":
            encoded = await encodings(ask)
    assert len(sizes) == repeat + 1 + (client == "lutum"), "one request each"
    assert min(sizes) > turns * 400, "the whole history went out"
    print(json.dumps({"ms": statistics.median(spent[1:]), "encoded": encoded}))


async def encodings(ask: Callable[[int], Awaitable[object]]) -> int:
    """Return how many items of the transcript are encoded for one more request."""
    from lutum_claude import _items

    count = 0
    encode = _items.ClaudeItemEncoder.piece

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return encode(*args, **kwargs)

    _items.ClaudeItemEncoder.piece = counted
    try:
        await ask(-1)
    except BaseException as exc:
        del exc
    finally:
        _items.ClaudeItemEncoder.piece = encode
    return count


def measure(url: str, quick: bool) -> Report:
    counts = (1_000,) if quick else (1, 100, 1_000, 10_000)
    clients = CLIENTS[:2] if quick else CLIENTS
    rounds, repeat = (1, 3) if quick else (3, 5)
    report = Report(
        "(d) The next request of a long session",
        "CPU milliseconds from the call until the HTTP transport has the bytes. The history consists of the"
        " objects that each library makes from answers.",
    )
    found: dict[str, list[tuple[float, float]]] = {client: [] for client in clients}
    encoded = 0.0
    for turns in counts:
        jobs = {client: partial(in_a_process, client, turns, repeat) for client in clients}
        for client, figures in interleaved(rounds, jobs).items():
            found[client].append((turns, figures["ms"]))
            encoded = max(encoded, figures["encoded"])
    at = {client: dict(points) for client, points in found.items()}
    report.tables.append(
        Table(
            "Milliseconds a request",
            ("", *(f"{turns:,} turns" for turns in counts)),
            tuple((client, *(f"{at[client][turns]:.2f}" for turns in counts)) for client in clients),
        )
    )
    best = min(at[client][1_000] for client in clients if client != "lutum")
    report.check("1,000 turns: lutum / best peer", at["lutum"][1_000] / best)
    report.check("items encoded for one more request", encoded)
    report.plots.append(Plot("history", "The next request of a session", "turns", "ms", found))
    return report


def in_a_process(client: str, turns: int, repeat: int) -> dict[str, Any]:
    code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); import anyio, d_history; "
    printed = python(f"{code}anyio.run(d_history.one_process, {client!r}, {turns}, {repeat})")
    figures: dict[str, Any] = json.loads(printed)
    return figures


if __name__ == "__main__":
    by_hand(measure)
