"""What examples do when something happens: a stop key, a kill, a limit, a deadline, a browser that leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import httpx
import pytest
from example_files import FOLDER, dbos_needs_sqlite, loaded

import lutum
from lutum.testing import virtual_time
from lutum.testing.wire import Cut, Reply, Say, Stall, WireRequest, WireServer
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert f"0 were done before, {sent} are done now, for {spent.cost_usd} USD\n" in out
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
        server = WireServer(example.REPLIES, signing=False, chat_reasoning="reasoning_content")
        async with httpx.AsyncClient(transport=server.transport()) as client:
            adapter = OpenAIChatAdapter(
                "qwen3", base_url=f"{server.url}/v1", api_key="none", http_client=client
            )
            await example.main(lutum.Lutum(adapter))
            await adapter.aclose()
    out = capsys.readouterr().out
    assert out.count("a turn is replayed exactly") == 3, out
    assert "Twice that is 13,300 km." in out


@asynccontextmanager
async def served(replies: WireServer) -> AsyncIterator[tuple[httpx.AsyncClient, Any, lutum.Lutum]]:
    """The web example without a socket: a browser, its chats, and the `Lutum` behind it."""
    with loaded("web_stream") as example:
        from _provider import boundary, offline

        async with offline(replies) as adapter:
            llm, chats = boundary(adapter), dict[str, Any]()
            app = example.application(llm, chats)
            async with app.router.lifespan_context(app):
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://chat") as browser:
                    yield browser, chats, llm


def heard(events: str) -> str:
    """The text of server-sent events."""
    return "".join(line.removeprefix("data: ") for line in events.split("\n") if line.startswith("data: "))


async def test_a_page_that_is_loaded_again() -> None:
    """It goes on reading at any index, while the turn runs and after it."""
    async with served(WireServer([Reply("One ", "two ", "three.")])) as (browser, chats, _):
        whole = (await browser.post("/chat/1", content="Count.")).text
        assert heard(whole) == "One two three."
        ids = [int(line[4:]) for line in whole.split("\n") if line.startswith("id: ")]
        assert ids == sorted(set(ids))
        again = await browser.get("/chat/1", headers={"Last-Event-ID": str(ids[0])})
        first, rest = whole.split("\n\n", 1)
        assert heard(first)
        assert again.text == rest
        assert (await browser.get("/chat/1", headers={"Last-Event-ID": "99"})).text == ""
        assert (await browser.get("/chat/2")).status_code == 404
        assert (await browser.get("/chat/1", headers={"Last-Event-ID": "-1"})).status_code == 404
        assert [item.text for item in chats["1"].session.transcript] == ["Count.", "One two three."]


async def test_a_browser_that_leaves() -> None:
    """The turn goes on in the application, and a page that is loaded again reads it from its beginning."""
    provider = WireServer([Reply(Say("One ", Stall()))])
    async with served(provider) as (browser, chats, llm):
        with anyio.move_on_after(0.2):  # the transport ends only with the answer: the page is closed
            await browser.post("/chat/1", content="Count.")
        assert chats["1"].running is not None
        assert llm.budget.reserved.total_tokens > 0
        assert (await browser.post("/chat/1", content="More.")).status_code == 409
        assert "One " in [text async for text in read_some(chats["1"])]
        assert (await browser.delete("/chat/1")).status_code == 204
        with anyio.fail_after(5):
            assert heard((await browser.get("/chat/1")).text) == "One "
        assert chats["1"].running is None
        assert llm.budget.reserved.total_tokens == 0
        assert [item.text for item in chats["1"].session.transcript] == ["Count.", "One "]
    assert provider.outcomes() == ["disconnected"]


async def read_some(chat: Any) -> AsyncIterator[str]:
    """What a page that is loaded again reads at once."""
    async with aclosing(chat.read(0)) as events:
        async for event in events:
            yield heard(event)
            break


async def test_a_turn_that_fails_in_the_application() -> None:
    """The page ends, the words are kept, and the application goes on."""
    provider = WireServer([Reply(Say("One ", Cut()))], default=Reply("Two."))
    async with served(provider) as (browser, chats, _):
        await browser.post("/chat/1", content="Count.")
        assert [item.role for item in chats["1"].session.transcript] == ["user", "assistant"]
        assert heard((await browser.post("/chat/1", content="Again.")).text) == "Two."
        assert len(chats["1"].session.turns()) == 1


@pytest.mark.slow
@pytest.mark.process
@dbos_needs_sqlite
def test_a_workflow_that_is_killed(tmp_path: Path) -> None:
    """DBOS goes on where the program was killed; what ran in that moment runs again, and nothing else."""
    pytest.importorskip("dbos")
    command = [sys.executable, str(FOLDER / "durable_dbos.py"), "job 1", str(tmp_path / "jobs.sqlite")]
    said = list[str]()
    for kill in (True, False):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line.strip())
                if kill and line == "worked on 3\n":
                    process.kill()
                    break
    worked = [line for line in said if line.startswith("worked on ")]
    assert sorted(set(worked)) == [f"worked on {n}" for n in range(8)]
    assert len(worked) - len(set(worked)) <= 1
    assert said[-1] == "All done."
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, timeout=60)
    assert again.stdout == "All done.\n"


async def test_a_client_that_leaves_stops_the_turn(capsys: pytest.CaptureFixture[str]) -> None:
    """The connection to the provider is closed and the reservation ends; a whole answer ends by itself."""
    provider = WireServer([Reply(Say("One ", Stall())), Reply("One ", "two.")])
    with loaded("web_stop") as example:
        from _provider import boundary, offline

        async with offline(provider) as adapter:
            llm = boundary(adapter)
            app = example.application(llm)
            for leaves in (True, False):
                sent, left = list[Any](), anyio.Event()
                asked = iter([{"type": "http.request", "body": b"Count."}])

                async def receive(asked: Any = asked, left: anyio.Event = left) -> Any:
                    if message := next(asked, None):
                        return message
                    await left.wait()
                    return {"type": "http.disconnect"}

                async def send(
                    message: Any, sent: list[Any] = sent, left: anyio.Event = left, leaves: bool = leaves
                ) -> None:
                    sent.append(message)
                    if leaves and message.get("body"):
                        left.set()

                scope = {"type": "http", "method": "POST", "path": "/ask", "headers": [], "query_string": b""}
                with anyio.fail_after(60):
                    await app(scope, receive, send)
                body = b"".join(message.get("body", b"") for message in sent)
                assert body == (b"One " if leaves else b"One two.")
                assert sent[-1].get("more_body", False) is leaves
                assert llm.budget.reserved.total_tokens == 0
                assert llm.budget.spent.output_tokens > 0
    assert provider.outcomes()[0] == "disconnected"
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("(estimated)") or first.endswith("(lower_bound)")
    assert second.endswith("(exact)")
