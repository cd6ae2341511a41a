"""A small corpus made by `WireServer`, for those who do not have the recorded exchanges.

Conversations of several kinds (thinking, parallel tools, a value, a cut answer) and two errors are held with
each vendor's adapter. A streamed record has the same answer, unstreamed, as its `final`; that answer is a
record of its own too. Questions come in several scripts, so that bytes and characters differ.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import anyio
import httpx

import lutum
from lutum.abc import Adapter
from lutum.testing.wire import Call, Reply, Script, Status, Think, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

HOSTS: Final = {
    "claude_messages": "api.anthropic.com",
    "openai_chat": "api.openai.com",
    "openai_responses": "api.openai.com",
}
QUESTIONS: Final = ("Name three rivers.", "Nenne drei Flüsse.", "川を三つ挙げてください。", "Rivers? 🙂")
ANSWERS: Final = (
    "Rhine, Po, Loire.",
    "Rhein, Donau, Weser: drei Flüsse.",
    "利根川、信濃川、石狩川。",
    "🏞️ Nile!",
)


INPUT: Final = {  # the same, streamed or not; the server would count the member `stream` too
    "claude_messages": {"input_tokens": 60},
    "openai_chat": {"prompt_tokens": 60},
    "openai_responses": {"input_tokens": 60},
}

Converse = Callable[[lutum.Session], Awaitable[None]]


@dataclass(frozen=True)
class River:
    name: str
    km: int


@lutum.tool
async def weather(city: str) -> str:
    """The weather in a city."""
    return f"3 degrees in {city}"


async def _text(session: lutum.Session) -> None:
    for _ in range(2):
        session.push_user("Go on.")
        session.commit_text(await session.text_turn().collect())


async def _tools(session: lutum.Session) -> None:
    while True:
        match await session.text_turn().tools(lutum.Toolset(weather)).collect():
            case lutum.NeedsTools(round):
                session.commit_round(round, await round.run())
            case lutum.Finished(result):
                session.commit_text(result)
                return


async def _value(session: lutum.Session) -> None:
    session.commit_structured(await session.structured_turn(River).collect())


async def _once(session: lutum.Session) -> None:
    await session.text_turn().max_output_tokens(50).collect()


def _conversations(kind: str, answer: str) -> Iterator[tuple[str, Converse, list[Script]]]:
    cut = {"claude_messages": "max_tokens", "openai_chat": "length"}.get(kind, "max_output_tokens")
    calls = [Call("weather", {"city": city}) for city in ("Oslo", "München")]
    reply = partial(Reply, usage=INPUT[kind])
    yield "text", _text, [reply(answer), reply(Think("Which more? "), answer * 40)]
    yield "thinking", _text, [reply(Think("Rivers, ", "then."), answer), reply(answer)]
    yield "tool_use", _tools, [reply("I look. ", *calls), reply(*calls[:1]), reply(answer)]
    yield "structured_output", _value, [reply(json.dumps({"name": answer, "km": 1233}))]
    yield "stop_max_tokens", _once, [reply(answer, stop_reason=cut)]
    yield "error_http", _once, [Status(400, message="The wire server wants no rivers.")]
    yield "error_http", _once, [Status(404, message="No such model.")]


def _adapter(kind: str, client: httpx.AsyncClient, url: str) -> Adapter:
    match kind:
        case "claude_messages":
            return ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=url, http_client=client)
        case "openai_chat":
            return OpenAIChatAdapter("gpt-5.5", api_key="k", base_url=f"{url}/v1", http_client=client)
        case _:
            return OpenAIAdapter("gpt-5.5", api_key="k", base_url=f"{url}/v1", http_client=client)


@cache
def records(kind: str) -> list[dict[str, Any]]:
    """Records of one kind, in the form of the recorded ones."""
    with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop
        return thread.submit(anyio.run, _all_of, kind).result()


async def _all_of(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        for feature, converse, scripts in _conversations(kind, answer):
            found += await _converse(kind, f"{feature}/{number}", feature, question, converse, scripts)
    return found


async def _converse(
    kind: str,
    name: str,
    feature: str,
    question: str,
    converse: Converse,
    scripts: list[Script],
) -> list[dict[str, Any]]:
    server, twin = WireServer(scripts), WireServer(scripts)
    taken: list[httpx.Response] = []

    async def keep(response: httpx.Response) -> None:
        await response.aread()
        taken.append(response)

    client = httpx.AsyncClient(transport=server.transport(), event_hooks={"response": [keep]})
    session = lutum.Session(lutum.Lutum(_adapter(kind, client, server.url)))
    session.push_system("You know rivers.")
    session.push_user(question)
    with suppress(lutum.ProviderError):
        await converse(session)
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(transport=twin.transport()) as other:
        for number, response in enumerate(taken):
            request = response.request
            asked = json.loads(request.content)
            whole = {
                member: value for member, value in asked.items() if member not in ("stream", "stream_options")
            }
            body = (await other.post(request.url, headers=request.headers, json=whole)).json()
            record = {
                "id": f"synthetic/{name}#{number}",
                "source": "synthetic",
                "source_path": f"synthetic/{name}",
                "host": HOSTS[kind],
                "path": request.url.path,
                "method": "POST",
                "status": response.status_code,
                "faithful": True,
                "protocol": kind,
            }
            headers = dict(response.headers)
            features = [feature, "faithful_bytes"]
            if response.status_code == 200:
                streamed = {"request": asked, "response_headers": headers, "sse": response.text, "json": None}
                found.append(record | streamed | {"final": body, "features": [*features, "stream"]})
            unstreamed = {"request": whole, "response_headers": headers, "sse": None, "json": body}
            unstreamed["features"] = [*features, "json"]
            found.append(record | unstreamed | {"id": f"synthetic/{name}-whole#{number}"})
    return found
