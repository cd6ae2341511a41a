"""Tools of an MCP server, over stdio and over HTTP, with the official client on both backends."""

from __future__ import annotations

import logging
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server as LowLevelServer

import lutum
import lutum.mcp
from lutum import (
    BadValue,
    Lutum,
    NeedsTools,
    Session,
    ToolCallReady,
    ToolError,
    ToolRound,
    Toolset,
    UsageError,
)
from lutum.mcp._name import command_name
from lutum.testing import Script, ScriptedAdapter, virtual_time

SERVER = str(Path(__file__).with_name("mcp_server.py"))
STDIO = [sys.executable, SERVER]

# httpx2 leaves generators to the garbage collector when the client ends an event stream, and trio says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*STDIO, str(port)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "running on" in line:
            break
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.fixture(params=["stdio", "http"])
def server(request: pytest.FixtureRequest) -> lutum.mcp.Server:
    """A server, not yet connected."""
    return lutum.mcp.connect(STDIO if request.param == "stdio" else request.getfixturevalue("url"))


async def round_of(tools: Toolset[Any], *calls: tuple[str, str]) -> tuple[Session, ToolRound[Any]]:
    ready = tuple(ToolCallReady(str(i), *call) for i, call in enumerate(calls))
    session = Session(Lutum(ScriptedAdapter([Script(ready, finish_reason="tool_calls")])))
    session.push_user("u")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, NeedsTools)
    return session, outcome.round


@pytest.mark.slow
async def test_a_round_runs_on_the_server(server: lutum.mcp.Server) -> None:
    """Names fit providers, schemas are the server's; text and images come back as parts, errors as errors."""
    async with server:
        tools = await server.toolset(prefix="t.")
        assert tools.names[:4] == ("t_add", "t_say_it", "t_fail", "t_picture")
        assert tools.definition("t_add").description == "Add two numbers."
        calls = (
            ("t_add", '{"a":1,"b":2}'),
            ("t_picture", "{}"),
            ("t_fail", '{"why":"x"}'),
            ("t_add", '{"a":"x"}'),
        )
        session, round = await round_of(tools, *calls)
        results = await round.run()
        session.commit_round(round, results)
    added, picture, failed, refused = results
    assert (added.text, added.is_error) == ("3", False)
    [image] = picture.content
    assert isinstance(image, lutum.Image)
    assert (image.media_type, image.data) == ("image/png", b"\x89PNG\r\n\x1a\n")
    assert (failed.is_error, failed.text) == (True, "Error executing tool fail")
    assert isinstance(failed.exception, ToolError)
    assert refused.is_error
    assert "valid integer" in refused.text


@pytest.mark.slow
async def test_only_takes_some_in_the_order_given(server: lutum.mcp.Server) -> None:
    """By the server's names; one it has not is named."""
    async with server:
        assert (await server.toolset(only=["say.it", "add"])).names == ("say_it", "add")
        with pytest.raises(BadValue, match=r"only: the server has no tool 'subtract'; it has add, say\.it"):
            await server.toolset(only=["subtract"])


@pytest.mark.slow
async def test_progress_is_forwarded(server: lutum.mcp.Server) -> None:
    """To the callback, in order."""
    seen = list[tuple[str, float, float | None, str | None]]()

    async def progress(*report: Any) -> None:
        seen.append(report)

    server._progress = progress
    async with server:
        _, round = await round_of(await server.toolset(), ("count", '{"upto":2}'))
        [result] = await round.run()
    assert result.text == "counted"
    assert seen == [("count", 1, 2, "at 1"), ("count", 2, 2, "at 2")]


@pytest.mark.slow
async def test_a_cancellation_reaches_the_server(server: lutum.mcp.Server, tmp_path: Path) -> None:
    """The tool there is cancelled, and the connection goes on."""
    marker = tmp_path / "cancelled"
    async with server:
        tools = await server.toolset()
        _, round = await round_of(tools, ("hang", f'{{"marker":"{marker}"}}'))
        async with anyio.create_task_group() as group:
            group.start_soon(round.calls[0].run)
            with anyio.fail_after(10):
                while not await anyio.Path(f"{marker}.began").exists():
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert round.calls[0].answer is None
        with anyio.fail_after(10):
            while not await anyio.Path(marker).exists():
                await anyio.lowlevel.checkpoint()
        assert await server.call("add", {"a": 1, "b": 1}) == [lutum.Text("2")]


@pytest.mark.slow
async def test_a_server_that_dies_in_a_call_loses_that_call_only() -> None:
    """Its result says so, the sibling's stands, the block ends, and nothing is a group."""

    @lutum.tool
    async def here() -> str:
        return "here"

    async with lutum.mcp.connect(STDIO) as server:
        tools = Toolset(await server.toolset(), here)
        _, round = await round_of(tools, ("die", "{}"), ("here", "{}"))
        dead, alive = await round.run()
        with pytest.raises(ToolError, match="did not answer"):
            await server.toolset()
    assert (dead.is_error, alive.text) == (True, "here")
    assert "the MCP server did not answer" in dead.text


@pytest.mark.slow
async def test_a_changed_list_changes_no_toolset() -> None:
    """A toolset is what was listed when it was made."""
    async with lutum.mcp.connect(STDIO) as server:
        tools = await server.toolset()
        await server.call("grow", {})
        assert "later" not in tools.names
        assert "later" in (await server.toolset()).names


@pytest.mark.slow
async def test_an_exception_of_the_block_comes_out_as_it_is(server: lutum.mcp.Server) -> None:
    """The client's task groups do not show, and its timeout is still a timeout."""
    with pytest.raises(KeyError, match="mine"):
        async with server:
            raise KeyError("mine")


async def test_a_client_of_yours_brings_its_headers(url: str) -> None:
    """Whatever is not a command or a plain URL is the official client's to say; outside of the block the
    round says so before anything runs."""
    async with httpx2.AsyncClient(headers={"authorization": "Bearer mine"}) as http:
        async with lutum.mcp.connect(Client(streamable_http_client(url, http_client=http))) as server:
            tools = await server.toolset(only=["key"])
            _, round = await round_of(tools, ("key", "{}"), ("key", "{}"))
            assert (await round.calls[0].run()).text == "Bearer mine"
    with pytest.raises(UsageError, match="'key' is called outside of the block"):
        await round.run()


@pytest.mark.slow
async def test_a_cancelled_block_ends(url: str) -> None:
    """Whatever transport it has."""
    for where in (STDIO, url):
        with anyio.move_on_after(5) as scope:
            async with lutum.mcp.connect(where):
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught


async def test_what_is_no_server_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    """No command, no host, another program: one error, not a group, with the reason."""
    caplog.set_level(logging.CRITICAL)
    nowhere: list[tuple[list[str] | str, str]] = [
        (["no-such-command-at-all"], "FileNotFoundError"),
        ([sys.executable, "-c", "pass"], "Connection closed"),
        ("http://127.0.0.1:1/mcp", "ConnectError"),
    ]
    for where, why in nowhere:
        with pytest.raises(lutum.mcp.ConnectionFailed, match=why) as caught:
            async with lutum.mcp.connect(where):
                pytest.fail("connected")
        named = where if isinstance(where, str) else shlex.join(where)
        assert str(caught.value).startswith(f"mcp: server {named!r}: ")
        _, cause, remedy = lutum.explain(caught.value).splitlines()
        assert cause == "Cause: the MCP server, or the command or URL that names it."
        assert "check that the command starts" in remedy


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["npx", "-y", "files", "--api-key", "s3cret"], "npx -y files --api-key ***"),
        (["x", "--token=s3cret", "-v", "a b"], "x --token=*** -v 'a b'"),
        (["x", "--header", "Authorization: s3cret"], "x --header ***"),
        (["mcp-remote", "https://u:s3cret@h/mcp?key=s3cret"], "mcp-remote 'https://***@h/mcp?key=***'"),
        (["py", "-c", "x" * 200], "py -c " + "x" * 91 + "..."),
    ],
)
def test_the_command_of_an_error_has_no_secret(words: list[str], shown: str) -> None:
    """Its names stay; the values of secret options do not."""
    assert command_name(words) == shown


async def test_two_servers_with_one_name_of_a_tool() -> None:
    """The error names the remedy; with a prefix both fit."""

    @lutum.tool
    async def find(text: str) -> str:
        """Find it."""
        return text

    async with (
        lutum.mcp.connect(Client(lutum.mcp.serve(Toolset(find)))) as one,
        lutum.mcp.connect(Client(lutum.mcp.serve(Toolset(find)))) as two,
    ):
        with pytest.raises(BadValue, match=r"tools are called 'find'; `server\.toolset\(prefix=\.\.\.\)`"):
            Toolset(await one.toolset(), await two.toolset())
        with pytest.raises(BadValue, match="prefix="):
            Toolset(find, await one.toolset())
        assert Toolset(find, await one.toolset(prefix="one_")).names == ("find", "one_find")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_in_process_is_named(backend: str) -> None:
    """By its server, in the error of a request without an answer."""

    async def silent(*_: Any) -> Any:
        await anyio.sleep_forever()

    async def main() -> None:
        made = LowLevelServer("quiet", on_list_tools=silent)
        async with lutum.mcp.connect(Client(made)) as server:
            with pytest.raises(ToolError, match="the MCP server 'quiet' did not answer within 30 s"):
                await server.toolset()

    anyio.run(main, backend=backend, backend_options=virtual_time(backend))


async def test_bad_arguments_are_named() -> None:
    """Before anything is started."""
    with pytest.raises(BadValue, match="server: the command is empty"):
        lutum.mcp.connect([])
    with pytest.raises(BadValue, match=r"server: 'uvx time' is not an http\(s\) URL; a command is a list"):
        lutum.mcp.connect("uvx time")
    with pytest.raises(BadValue, match="env: applies only to a command"):
        lutum.mcp.connect("http://localhost", env={"A": "b"})
    server = lutum.mcp.connect(STDIO)
    with pytest.raises(UsageError, match="outside of the block"):
        await server.toolset()
    with pytest.raises(UsageError, match="outside of the block"):
        await server.call("add", {})
