"""What users test with: servers in fixtures, unknown paths, scripts, ids, extras that are missing."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import msgspec
import pytest

import lutum
from lutum import BadValue, Lutum
from lutum.testing import CUT, Script, ScriptedAdapter
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter


class River(msgspec.Struct):
    name: str


# --- a server in a fixture ------------------------------------------------------------------------


async def ask(server: WireServer) -> str:
    async with ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url) as claude:
        return (await Lutum(claude).text_turn("hi").collect()).text


async def fixture() -> AsyncIterator[WireServer]:
    async with WireServer(default=Reply("hello")) as server:
        yield server


def test_a_fixture_may_end_in_another_task() -> None:
    """As pytest-asyncio runs it: set-up, test and tear-down are three tasks of one loop."""

    async def test(server: WireServer) -> str:
        return await ask(server)

    with asyncio.Runner() as runner:
        made = fixture()
        server = runner.run(anext_of(made))
        port = int(server.url.rpartition(":")[2])
        assert runner.run(test(server)) == "hello"
        with pytest.raises(StopAsyncIteration):
            runner.run(anext_of(made))
    assert server.outcomes() == ["completed"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def anext_of(made: AsyncIterator[WireServer]) -> WireServer:
    return await anext(made)


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    """A fixture of anyio's plugin."""
    async with WireServer(default=Reply("hello")) as made:
        yield made


async def test_a_fixture_of_anyios_plugin(server: WireServer) -> None:
    """On both backends."""
    assert await ask(server) == "hello"


async def test_a_block_may_be_left_in_another_task_on_each_backend() -> None:
    """Entered in one task and left in a second one, while a client is connected."""
    server = WireServer(default=Reply("hello"))
    async with anyio.create_task_group() as group:
        group.start_soon(server.__aenter__)
    assert await ask(server) == "hello"
    async with anyio.create_task_group() as group:
        group.start_soon(server.__aexit__, None, None, None)
    assert server.url == "http://wire.test"
    async with server:  # and entered again
        assert await ask(server) == "hello"


def test_a_budget_block_in_a_fixture_drains() -> None:
    """It cancels nothing, so it may end in another task; the other kinds say which form does."""

    async def block(on_spent: Any) -> AsyncIterator[Lutum]:
        llm = Lutum(ScriptedAdapter([["hello"]]))
        async with llm.within(tokens=5_000, on_spent=on_spent) as scoped:
            yield scoped

    async def next_of(made: AsyncIterator[Lutum]) -> Lutum:
        return await anext(made)

    async def ask_it(scoped: Lutum) -> str:
        return (await scoped.text_turn("hi").collect()).text

    for on_spent in ("drain", "raise", "stop"):
        with asyncio.Runner() as runner:
            made = block(on_spent)
            scoped = runner.run(next_of(made))
            assert runner.run(ask_it(scoped)) == "hello"
            if on_spent == "drain":
                with pytest.raises(StopAsyncIteration):
                    runner.run(next_of(made))
            else:
                with pytest.raises(lutum.UsageError, match="on_spent='drain'"):
                    runner.run(next_of(made))
            with pytest.raises(lutum.UsageError):
                runner.run(ask_it(scoped))  # the block has ended


# --- paths ----------------------------------------------------------------------------------------

KNOWN = [
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/anthropic/v1/messages",
    "/api/v1/messages",
    "/v1/messages/batches",
    "/v1/chat/completions",
    "/chat/completions",
    "/api/v1/chat/completions",
    "/openai/v1/chat/completions",
    "/v1beta/openai/chat/completions",
    "/api/paas/v4/chat/completions",
    "/client/v4/accounts/me/ai/v1/chat/completions",
    "/openai/deployments/gpt/chat/completions",
    "/v1/responses",
    "/openai/responses",
    "/v1/responses/input_tokens",
    "/v1/completions",
    "/v1beta/models/gemini-3-pro:generateContent",
    "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro:streamGenerateContent",
]

UNKNOWN = [
    "/",
    "/v1",
    "/messages",
    "/v1/v1/messages",
    "/v1/messages/v1/messages",
    "/v1/messages/messages",
    "/v1/messages/",
    "//v1/messages",
    "/v1/message",
    "/v1/v1/messages/batches",
    "/v1/v1/chat/completions",
    "/v1/chat/completions/chat/completions",
    "/v1/chat/completions/v1/chat/completions",
    "/v1/chat",
    "/responses",
    "/v1/v1/responses",
    "/completions",
    "/v1/completions/completions",
    "/v1/v1beta/models/gemini-3-pro:generateContent",
    "/v1beta/models/gemini-3-pro",
    "/v1/embeddings",
]


@pytest.mark.parametrize("path", KNOWN)
async def test_a_path_of_a_provider_or_behind_a_proxy_is_known(path: str) -> None:
    """It is another answer than 404, if only that the body is wrong."""
    server = WireServer(default=Reply("hello"))
    async with httpx.AsyncClient(transport=server.transport(), base_url=server.url) as client:
        answer = await client.post(path, json={})
    assert "does not serve" not in answer.text


@pytest.mark.parametrize("path", UNKNOWN)
async def test_a_path_that_no_provider_has_is_refused(path: str) -> None:
    """A base URL with one /v1 too many is found by the test, and not by the first user."""
    server = WireServer(default=Reply("hello"))
    async with httpx.AsyncClient(transport=server.transport()) as client:
        answer = await client.post(f"http://wire.test{path}", json={})
    assert answer.status_code == 404
    assert "the wire server does not serve" in answer.text


# --- ids ------------------------------------------------------------------------------------------

IDS = """
import anyio, httpx
import lutum
from lutum.testing.wire import Call, Reply, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_gemini import GeminiAdapter

tools = lutum.Toolset(lutum.raw_tool("f", {"type": "object"}))

async def main():
    for made in (ClaudeAdapter, OpenAIAdapter, OpenAIChatAdapter, GeminiAdapter):
        server = WireServer([Reply(Call("f", {}))])
        base = server.url + ("/v1" if made in (OpenAIAdapter, OpenAIChatAdapter) else "")
        adapter = made("m", api_key="k", base_url=base, http_client=server.connect)
        outcome = await lutum.Lutum(adapter).text_turn("x").tools(tools).collect()
        print(outcome.round.result.response.id, outcome.round.calls[0].id, outcome.round.calls[0].key)

lutum.run(main)
"""


@pytest.mark.process
def test_ids_differ_between_processes() -> None:
    """Two processes that store what they got in one place never store one id twice."""
    command = [sys.executable, "-c", IDS]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, other = (process.communicate(timeout=120)[0].split() for process in processes)
    assert len(one) == len(other) == 12
    assert not set(one) & set(other)


# --- scripts --------------------------------------------------------------------------------------


async def test_plain_text_answers_a_structured_turn() -> None:
    """In pieces too; beside a text turn that reads the same text as text."""
    llm = Lutum(ScriptedAdapter([['{"na', 'me":"Nile"}'], ['{"value":[1,2]}'], ['{"name":"Nile"}']]))
    assert (await llm.structured_turn(River, "?").collect()).value == River("Nile")
    assert (await llm.structured_turn(list[int], "?").collect()).value == [1, 2]
    assert (await llm.text_turn("?").collect()).text == '{"name":"Nile"}'


async def test_a_script_may_be_any_iterable() -> None:
    """Read once, when the adapter is made."""
    adapter = ScriptedAdapter(iter([(piece for piece in ["a", "b"]), ("c",), []]))
    texts = [(await Lutum(adapter).text_turn("?").collect()).text for _ in range(3)]
    assert texts == ["ab", "c", ""]


DONE = lutum.Completed("stop", lutum.Usage(1, 1), lutum.CommittedTurn("", "", "", b""))

MALFORMED: dict[str, tuple[Any, str]] = {
    "one text": ("hello", "scripts: is a str; give a list of scripts"),
    "one script": (Script(("a",)), "scripts: is a Script; give a list of scripts"),
    "a number": (7, "scripts: is an int; give a list of scripts"),
    "texts for scripts": (
        ["hello"],
        r"scripts\[0\]: is a str; a script is a list of steps, such as \['Hello.'\]",
    ),
    "a dict for a script": ([{}], r"scripts\[0\]: is a dict; a script is a list of steps"),
    "None for a script": ([["a"], None], r"scripts\[1\]: is None; a script is a list of steps"),
    "a text in a Script": ([Script("hello")], r"scripts\[0\]: is a str"),  # type: ignore[arg-type]  # what is tested
    "a number for a step": ([["a", 5]], r"scripts\[0\]\[1\]: is an int; a step is a text, an event"),
    "bytes for a step": ([[b"a"]], r"scripts\[0\]\[0\]: is a bytes"),
    "a class for an exception": ([[TimeoutError]], r"scripts\[0\]\[0\]: is the class TimeoutError"),
    "steps behind CUT": ([["a", CUT, "b"]], r"scripts\[0\]\[1\]: ends the answer, and 1 steps come after it"),
    "steps behind an exception": ([[ValueError(), "b", "c"]], r"\[0\]: ends the answer, and 2 steps"),
    "steps behind the end": ([[DONE, "b"]], r"\[0\]: ends the answer, and 1 steps"),
    "a decoded value": ([[lutum.StructuredReady("{}", {})]], "is made by lutum from the answer"),
    "a finish reason": ([Script(("a",), finish_reason=5)], r"scripts\[0\]\.finish_reason: is an int"),  # type: ignore[arg-type]  # what is tested
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_script_is_refused_at_construction(case: str) -> None:
    """Not at the request that would play it."""
    scripts, message = MALFORMED[case]
    with pytest.raises(BadValue, match=message):
        ScriptedAdapter(scripts)


async def test_a_malformed_script_of_a_function_is_refused_when_it_is_made() -> None:
    """The turn fails with the field."""
    llm = Lutum(ScriptedAdapter(lambda request: "hello"))
    with pytest.raises(BadValue, match="script: is a str; a script is a list of steps"):
        await llm.text_turn("?").collect()


# --- extras ---------------------------------------------------------------------------------------

EXTRAS: dict[str, tuple[str, str, str]] = {
    "hypothesis": ("import lutum.testing.strategies", "hypothesis", "lutum[testing]"),
    "hypothesis, from the package": ("from lutum.testing import strategies", "hypothesis", "lutum[testing]"),
    "mcp": ("import lutum.mcp", "mcp", "lutum[mcp]"),
    "genai_prices": ("import lutum; lutum.Pricing.from_genai_prices()", "genai_prices", "lutum[prices]"),
    "redis": (
        "import lutum, lutum.redis, anyio\n"
        "async def main():\n"
        "    async with lutum.redis.RedisLedger('redis://x', 'n', lutum.Limit('l', tokens=1)): ...\n"
        "lutum.run(main)",
        "coredis",
        "lutum[redis]",
    ),
    "opentelemetry": (
        "import lutum.trace as t\nt.Trace.load\nfrom lutum.trace import capture\nimport lutum\n"
        "async def main():\n"
        "    async with capture() as made: ...\n"
        "    made.to_otel()\n"
        "lutum.run(main)",
        "opentelemetry",
        "lutum[otel]",
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("case", EXTRAS)
def test_a_missing_extra_names_itself(case: str) -> None:
    """The error has the command that installs it."""
    code, package, extra = EXTRAS[case]
    hidden = (
        "import importlib.util, sys\n"
        f"sys.modules[{package!r}] = None\n"
        "found = importlib.util.find_spec\n"
        f"hidden = {package!r}\n"
        "importlib.util.find_spec = lambda name, *more: None if name == hidden else found(name, *more)\n"
    )
    done = subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install '{extra}'" in done.stderr


async def test_a_scripted_citation_is_in_the_turn() -> None:
    """It belongs to the text before it, and the text continues after it."""
    cited = [lutum.Citation(title="A", quote="a"), lutum.Citation(title="B", quote="b")]
    steps = ["One.", lutum.CitationAdded(cited[0]), lutum.CitationAdded(cited[1]), " Two."]
    result = await lutum.Lutum(ScriptedAdapter([steps])).text_turn("Which?").collect()
    assert result.turn.citations == tuple(cited)
    assert result.turn.items[0] == lutum.TextItem("One.", tuple(cited))
    assert result.text == "One. Two."
