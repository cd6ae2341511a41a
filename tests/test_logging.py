"""What lutum logs: failing tools, retries, cut answers and dropped options. A page lists the loggers."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

import lutum
from lutum._turn import prepare
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Reply, Say, Status, WireServer
from lutum_openai import Profile

ROOT = pathlib.Path(__file__).parent.parent


async def ran(tool: Any, **given: Any) -> lutum.ToolResult:
    llm = lutum.Lutum(ScriptedAdapter([[lutum.ToolCallReady("1", tool.name, "{}")]]))
    outcome = await llm.text_turn("x").tools(lutum.Toolset(tool)).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    [result] = await outcome.round.run(**given)
    return result


def logged(
    caplog: pytest.LogCaptureFixture, name: str, level: int = logging.WARNING
) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == name and record.levelno >= level]


@lutum.tool
async def typo() -> str:
    """Fail by a mistake."""
    return "x" + 1  # type: ignore[operator]


@lutum.tool
async def path() -> pathlib.Path:
    """Return something that has no JSON."""
    return pathlib.Path("data")


@lutum.tool
async def group() -> str:
    """Fail in a nursery."""

    async def child() -> None:
        raise KeyError("missing")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    return ""


@lutum.tool(thread=True)
def in_a_thread() -> str:
    """Fail in a thread."""
    raise OSError("no disk")


@pytest.mark.parametrize(
    ("tool", "kind", "frame"),
    [
        (typo, "TypeError", '"x" + 1'),
        (path, "BadValue", "output of 'path'"),
        (group, "KeyError", "raise KeyError"),
        (in_a_thread, "OSError", "raise OSError"),
    ],
)
async def test_a_failing_tool_is_logged(
    tool: Any, kind: str, frame: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning with the traceback, and the model learns as little as before."""
    result = await ran(tool)
    assert result.is_error
    [record] = logged(caplog, "lutum.tools")
    assert record.getMessage().startswith(f"tool {tool.name!r} failed: {kind}")
    assert record.exc_info is not None
    assert frame in caplog.text
    assert "asyncio only" not in caplog.text


async def test_a_timeout_and_an_error_on_purpose(caplog: pytest.LogCaptureFixture) -> None:
    """A timeout is one line, and what a tool says to the model is no warning."""

    @lutum.tool
    async def slow() -> str:
        await anyio.sleep(60)
        return ""

    @lutum.tool
    async def refuses() -> str:
        raise lutum.ToolError("not today")

    caplog.set_level(logging.INFO)
    await ran(slow, timeout=1)
    await ran(refuses)
    first, second = logged(caplog, "lutum.tools", logging.INFO)
    assert (first.levelname, first.exc_info) == ("WARNING", None)
    assert "timed out after 1 s" in first.getMessage()
    assert (second.levelname, second.getMessage()) == ("INFO", "tool 'refuses': not today")


@lutum.tool
async def sleeps() -> str:
    """Sleep as asyncio does."""
    await asyncio.sleep(0.1)
    return ""


@lutum.tool
async def queue() -> str:
    """Wait for a queue of asyncio."""
    waiting = asyncio.Queue[str]()
    async with asyncio.timeout(0.1):
        return await waiting.get()


@lutum.tool
async def bare_queue() -> str:
    """Wait for a queue that no loop knows."""
    return await asyncio.Queue[str]().get()


@lutum.tool
async def future() -> str:
    """Wait for what only asyncio can wait for."""
    loop = asyncio.new_event_loop()
    try:
        return await loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize("tool", [sleeps, queue, bare_queue, future])
def test_an_asyncio_library_under_trio(tool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The line says what is wrong and how to start the program; so does the exception."""
    result = lutum.run(ran, tool, backend="trio")
    [record] = logged(caplog, "lutum.tools")
    for words in (record.getMessage(), *getattr(result.exception, "__notes__", ())):
        assert "asyncio only" in words
        assert 'backend="asyncio"' in words
    assert getattr(result.exception, "__notes__", ())


async def test_a_retry_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    server = WireServer([Status(529, "overloaded_error", "Overloaded"), Reply("hello")])
    claude = lutum.ClaudeAdapter("m", api_key="k", base_url=server.url, http_client=server.connect)
    llm = lutum.Lutum(claude, retry=lutum.RetryPolicy(chance=lambda: 0.5))
    assert (await llm.text_turn("x").collect()).text == "hello"
    [record] = logged(caplog, "lutum")
    assert re.fullmatch(
        r"claude m: attempt 2 follows in 0\.5 s, because the one before failed: 529 overloaded: .*",
        record.getMessage(),
    )


async def test_a_cut_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Only where nobody set the bound."""
    replies = [Reply(Say("half"), stop_reason="max_tokens")] * 2
    server = WireServer(replies)
    claude = lutum.ClaudeAdapter("m", api_key="k", base_url=server.url, http_client=server.connect)
    llm = lutum.Lutum(claude)
    await llm.text_turn("x").max_output_tokens(5).collect()
    assert logged(caplog, "lutum") == []
    await llm.text_turn("x").collect()
    [record] = logged(caplog, "lutum")
    assert "set .max_output_tokens(n)" in record.getMessage()


async def test_a_dropped_option_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Options of another adapter, once."""
    prepare._logged.clear()
    server = WireServer(default=Reply("hello"))
    url = server.url + "/v1"
    chat = lutum.OpenAIChatAdapter("m", api_key="k", base_url=url, http_client=server.connect)
    turn = lutum.Lutum(chat).text_turn("x").ext(lutum.ClaudeOptions(), lutum.OpenAIOptions())
    for _ in range(2):
        await turn.collect()
    [record] = logged(caplog, "lutum")
    assert record.getMessage() == f"{chat.name} m: ClaudeOptions is left out: it is for another adapter"


async def test_a_choice_that_the_host_does_not_take(caplog: pytest.LogCaptureFixture) -> None:
    prepare._logged.clear()
    server = WireServer(default=Reply("hello"))
    chat = lutum.OpenAIChatAdapter(
        "m",
        api_key="k",
        base_url=server.url + "/v1",
        http_client=server.connect,
        profile=Profile(tool_choice="auto"),
    )
    turn = lutum.Lutum(chat).text_turn("x").tools(lutum.Toolset(typo, path))
    await turn.collect()
    assert logged(caplog, "lutum") == []
    await turn.available(only=["typo"]).collect()
    [record] = logged(caplog, "lutum")
    assert "tool_choice is left out" in record.getMessage()


def loggers() -> Iterable[str]:
    for folder in ("lutum", "adapters"):
        for file in (ROOT / folder).rglob("*.py"):
            yield from re.findall(r'getLogger\("([\w.]+)"\)', file.read_text())


def test_the_page_lists_the_loggers() -> None:
    page = (ROOT / "docs/logging.md").read_text()
    listed = set(re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE))
    assert listed == set(loggers())
