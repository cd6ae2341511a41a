"""What examples do when something happens: a stop key, a kill, a limit, a deadline, a browser that leaves."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from example_files import FOLDER, loaded

import lutum
from lutum.testing import virtual_time
from lutum.testing.wire import NeverEnding, Reply, Say, Stall, WireRequest, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIChatAdapter

RIVER = Reply('{"name":"River","km":7}')


async def test_the_stop_key_of_chat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends the answer and keeps its words, which go along with the next question."""
    typed = iter(["Which is longest?", "Are you sure?", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(typed))
    server = WireServer([Reply(Say("The Nile, ", "or ", Stall())), Reply("I am.")])

    def press(*words: str, **how: Any) -> None:
        show(*words, **how)
        if words == ("or ",):
            signal.raise_signal(signal.SIGINT)

    show = print
    with loaded("chat") as chat:
        from _provider import boundary, offline

        chat.print = press
        async with offline(server) as adapter:
            with anyio.fail_after(5):
                await chat.main(boundary(adapter))
    said = [message["content"][0]["text"] for message in server.requests[1].json["messages"]]
    assert said == ["Which is longest?", "The Nile, or ", "Are you sure?"]
    assert server.outcomes() == ["disconnected", "completed"]
    assert "I am." in capsys.readouterr().out


async def test_an_example_runs_from_the_command_line(anyio_backend_name: str) -> None:
    """Offline, on the backend that is asked for."""
    command = [sys.executable, str(FOLDER / "ask.py"), "--backend", anyio_backend_name]
    done = await anyio.run_process(command)
    assert done.stdout.decode().startswith("The Nile, the Danube and the Mekong.")


async def killed(server: WireServer, folder: Path, when: anyio.Event) -> None:
    """Run extract_many as a program of its own, and kill -9 it."""
    environment = {**os.environ, "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "none is needed"}
    command = [sys.executable, str(FOLDER / "extract_many.py"), "--provider", "claude"]
    process = await anyio.open_process(command, cwd=folder, env=environment, stdout=DEVNULL)
    async with process:
        with anyio.fail_after(60):
            await when.wait()
        process.kill()


async def test_extract_many_is_killed_and_goes_on(tmp_path: Path) -> None:
    """After kill -9 what was stored is whole, and the next run asks for nothing else than the rest."""
    stuck = anyio.Event()

    def answer(request: WireRequest) -> Reply:
        if request.number < 30:
            return RIVER
        if request.number == 79:  # as many as may run at once
            stuck.set()
        return Reply(Stall())

    async with WireServer(answer) as server:
        await killed(server, tmp_path, stuck)
    with closing(sqlite3.connect(tmp_path / "rivers.db")) as db:
        stored = [id for (id,) in db.execute("select id from rivers")]
    assert len(stored) == 30

    server = WireServer(default=RIVER)
    with loaded("extract_many") as example, pytest.MonkeyPatch.context() as patch:
        from _provider import boundary, offline

        patch.chdir(tmp_path)
        del example.DOCUMENTS[200:]
        async with offline(server) as adapter:
            await example.main(boundary(adapter))
    asked = [request.json["messages"][0]["content"][0]["text"] for request in server.requests]
    assert len(asked) == 200 - sum(id < 200 for id in stored)
    assert not {f"River {id} is {id * 7 % 901} km long." for id in stored} & set(asked)
    with closing(sqlite3.connect(tmp_path / "rivers.db")) as db:
        assert db.execute("select count(*) from rivers where id < 200").fetchone() == (200,)


async def test_extract_many_at_its_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the money ends, what runs is finished and stored, and the rest is a line in the table."""
    monkeypatch.chdir(tmp_path)
    server = WireServer(default=RIVER)
    with loaded("extract_many") as example:
        from _provider import boundary, offline

        example.LIMIT = "0.02"
        del example.DOCUMENTS[300:]
        async with offline(server) as adapter:
            llm = boundary(adapter)
            await example.main(llm)
    spent = llm.budget.spent
    assert spent.cost_usd is not None
    assert spent.cost_usd <= Decimal("0.02")
    sent = len(server.requests)
    assert 0 < sent < 300
    assert set(server.outcomes()) == {"completed"}
    out = capsys.readouterr().out
    assert f"0 were done, {sent} are, for {spent.cost_usd} USD\n" in out
    assert f"BudgetExceeded       {300 - sent:>4}" in out


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_timeouts(backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each deadline says which it was, and what had come by then; in virtual time."""
    with loaded("timeouts") as example:
        from _provider import boundary, offline

        server = WireServer(example.REPLIES)

        async def main() -> None:
            async with offline(server) as adapter:
                await example.main(boundary(adapter))

        anyio.run(main, backend=backend, backend_options=virtual_time(backend))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["first_event", "idle", "total", "moved on"]
    assert lines[1] == "idle: 'The longest river is ', lower_bound"
    assert lines[2].startswith("total: 'and on and on ")
    assert server.outcomes() == ["disconnected"] * 4


async def test_replay_over_another_protocol(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example that qualifies a local server says the same of one that speaks Chat Completions."""
    monkeypatch.chdir(tmp_path)
    with loaded("transcript_replay") as example:
        server = WireServer(example.ANSWERS, signing=False, chat_reasoning="reasoning_content")
        async with httpx.AsyncClient(transport=server.transport()) as client:
            adapter = OpenAIChatAdapter(
                "qwen3", base_url=f"{server.url}/v1", api_key="none", http_client=client
            )
            await example.main(lutum.Lutum(adapter))
            await adapter.aclose()
    out = capsys.readouterr().out
    assert out.count("a turn goes back exactly") == 3, out
    assert "Twice that is 13,300 km." in out


@asynccontextmanager
async def served(llm: lutum.Lutum, sessions: dict[str, lutum.Session]) -> AsyncIterator[str]:
    """The web example behind a real server; gives its URL."""
    with loaded("web_stream") as example:
        server = uvicorn.Server(uvicorn.Config(example.application(llm, sessions), log_level="error"))
        with socket.create_server(("127.0.0.1", 0)) as listener:  # who connects early is kept in its backlog
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve, [listener])
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
                server.should_exit = True


ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # which is all that uvicorn knows


@ON_ASYNCIO
async def test_a_browser_that_leaves(anyio_backend: str) -> None:
    """Over real sockets: the provider's is closed at once, the budget settled, and the words are kept."""
    provider = WireServer([Reply(NeverEnding("and on ", delay=0.01))], default=Reply("It ran dry."))
    sessions = dict[str, lutum.Session]()
    async with provider, ClaudeAdapter("claude-sonnet-4-5", api_key="key", base_url=provider.url) as adapter:
        llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
        async with served(llm, sessions) as url, httpx.AsyncClient(base_url=url) as browser:
            async with browser.stream("POST", "/chat/1", content="A story.") as response:
                async for piece in response.aiter_text():
                    assert piece.startswith("and on ")
                    break
                assert llm.budget.reserved.total_tokens > 0
            left = anyio.current_time()
            with anyio.fail_after(5):
                await provider.requests[0].wait_disconnect()
                assert anyio.current_time() - left < 1
            await anyio.wait_all_tasks_blocked()
            assert llm.budget.reserved.total_tokens == 0
            assert llm.budget.spent.total_tokens > 0
            [_, kept] = sessions["1"].transcript
            assert isinstance(kept, lutum.Message)
            assert (kept.role, kept.text[:7]) == ("assistant", "and on ")
            # The conversation goes on with what was said.
            whole = await browser.post("/chat/1", content="And then?")
            assert whole.text == "It ran dry."
            assert len(provider.requests[1].json["messages"]) == 3
            assert len(sessions["1"].turns()) == 1


async def test_a_browser_that_leaves_while_the_provider_is_silent() -> None:
    """It is noticed though nothing is sent; on both backends, the application called as servers do."""
    provider = WireServer([Reply(Say("One ", Stall()))])
    sessions, sent, gone = dict[str, lutum.Session](), list[bytes](), anyio.Event()
    messages = [{"type": "http.request", "body": b"Count.", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if body := message.get("body"):
            sent.append(body)
            gone.set()

    with loaded("web_stream") as example:
        from _provider import boundary, offline

        scope = {"type": "http", "method": "POST", "path": "/chat/1", "headers": [], "query_string": b""}
        async with offline(provider) as adapter:
            llm = boundary(adapter)
            with anyio.fail_after(5):
                await example.application(llm, sessions)(scope, receive, send)
            assert llm.budget.reserved.total_tokens == 0
    assert sent == [b"One "]
    assert provider.outcomes() == ["disconnected"]
    assert [item.text for item in sessions["1"].transcript] == ["Count.", "One "]
