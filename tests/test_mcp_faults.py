"""MCP servers that die, stall, list without end, or give what no provider takes."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp.types as mt
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server as Official

import lutum
import lutum.mcp
from lutum import BadValue, NeedsTools, Session, ToolCallReady, ToolError, Toolset, UsageError
from lutum.mcp._tool import LONGEST, fitted
from lutum.testing import Script, ScriptedAdapter

SERVER = str(Path(__file__).with_name("mcp_server.py"))

# httpx2 leaves generators to the garbage collector when the client ends an event stream, and trio says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MEGABYTE = base64.b64encode(bytes(1_000_000)).decode()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def blob(uri: str, data: str, media_type: str | None) -> mt.EmbeddedResource:
    return mt.EmbeddedResource(
        type="resource", resource=mt.BlobResourceContents(uri=uri, mime_type=media_type, blob=data)
    )


def text(words: str, audience: list[Any] | None = None) -> mt.TextContent:
    annotations = None if audience is None else mt.Annotations(audience=audience)
    return mt.TextContent(type="text", text=words, annotations=annotations)


def offers(contents: dict[str, list[Any]], **options: Any) -> lutum.mcp.Server:
    """A server in this process with a tool for each result."""

    async def listed(ctx: Any, params: Any) -> mt.ListToolsResult:
        return mt.ListToolsResult(tools=[mt.Tool(name=name, input_schema=EMPTY) for name in contents])

    async def call(ctx: Any, params: Any) -> mt.CallToolResult:
        return mt.CallToolResult(content=contents[params.name])

    return lutum.mcp.connect(Client(Official("s", on_list_tools=listed, on_call_tool=call)), **options)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (blob("file:///a.png", b64(PNG), "image/png"), lutum.Image("image/png", PNG)),
        (blob("file:///a", b64(PNG), None), lutum.Image("image/png", PNG)),
        (blob("file:///a.pdf", b64(b"%PDF-1.7 x"), "application/pdf"), "document"),
        (blob("file:///a", b64(b"%PDF-1.7 x"), None), "document"),
        (
            blob("file:///a.zip", MEGABYTE, "application/zip"),
            "a.zip, application/zip, 1,000,000 bytes",
        ),
        (blob("file:///a", MEGABYTE, None), "file:///a, of unknown type, 1,000,000 bytes"),
        (blob("file:///a.svg", b64(b"<svg/>"), "image/svg+xml"), "cannot be shown"),
        (blob("file:///a.png", "not base64", "image/png"), "cannot be shown"),
        (mt.AudioContent(type="audio", data=MEGABYTE, mime_type="audio/wav"), "audio/wav, 1,000,000 bytes"),
        (mt.ImageContent(type="image", data=MEGABYTE, mime_type="image/tiff"), "image/tiff, 1,000,000 bytes"),
        (
            mt.ResourceLink(type="resource_link", name="log", uri="file:///log", size=5, mime_type="text/x"),
            "a link to 'log': file:///log, text/x, 5 bytes",
        ),
    ],
)
async def test_bytes_are_parts_or_one_line(content: Any, expected: Any) -> None:
    """Never base64 text; and what is made is taken by every provider."""
    async with offers({"t": [content]}) as server:
        [part] = await server.call("t", {})
    if isinstance(expected, lutum.Image):
        assert part == expected
    elif expected == "document":
        assert isinstance(part, lutum.Document)
    else:
        assert isinstance(part, lutum.Text)
        assert expected in part.text
        assert len(part.text) < 500


async def test_what_is_for_the_user_is_not_sent_to_the_model() -> None:
    """Only what has the model in its audience, or no audience."""
    shown = [text("a"), text("no", ["user"]), text("b", ["assistant"]), text("c", ["user", "assistant"])]
    async with offers({"some": shown, "none": [text("no", ["user"])]}) as server:
        assert [part.text for part in await server.call("some", {}) if isinstance(part, lutum.Text)] == [
            "a",
            "b",
            "c",
        ]
        [part] = await server.call("none", {})
        assert part == lutum.Text("[the output of this tool is for the user only]")


async def test_results_have_a_limit() -> None:
    """What is beyond is cut, and the model reads how much there was."""
    async with offers({"t": [text("x" * 70), text("y" * 70)]}, result_limit=100) as server:
        parts = await server.call("t", {})
        assert parts == [
            lutum.Text("x" * 70),
            lutum.Text("y" * 30),
            lutum.Text("[cut: the tool returned 140 characters, and the first 100 are above]"),
        ]


LONG = "l" * 100


@pytest.mark.parametrize(
    ("remote", "prefix", "expected"),
    [
        (["a", "b"], "", {"a": "a", "b": "b"}),
        (["a.b", "c/d"], "t.", {"a.b": "t_a_b", "c/d": "t_c_d"}),
        (["a.b", "a_b"], "", {"a.b": None, "a_b": "a_b"}),
        (["a.b", "a/b"], "", {"a.b": None, "a/b": None}),
        ([LONG, LONG + "2"], "", {LONG: None, LONG + "2": None}),
        (["", "\N{SNOWMAN}"], "", {"": None, "\N{SNOWMAN}": "_"}),
    ],
)
def test_names_fit(remote: list[str], prefix: str, expected: dict[str, str | None]) -> None:
    """None: changed, to a name that is its own in whatever order the tools are listed."""
    found = fitted(remote, prefix, {})
    assert found == {name: fit or found[name] for name, fit in expected.items()}
    assert len(set(found.values())) == len(found)
    assert all(0 < len(fit) <= LONGEST for fit in found.values())
    assert fitted(reversed(remote), prefix, {}) == found


async def test_a_tool_that_cannot_be_offered_costs_no_other() -> None:
    """It is left out with the reason; a tool that runs as a task only likewise. One can be renamed."""

    async def listed(ctx: Any, params: Any) -> mt.ListToolsResult:
        tools = [
            {"name": "good", "inputSchema": EMPTY},
            {"name": "bad", "inputSchema": EMPTY},
            {"name": "slow", "inputSchema": EMPTY, "execution": {"taskSupport": "required"}},
            {"name": "either", "inputSchema": EMPTY, "execution": {"taskSupport": "optional"}},
        ]
        return mt.ListToolsResult(tools=[mt.Tool.model_validate(tool) for tool in tools])

    client = Client(Official("s", on_list_tools=listed), mode="legacy")
    async with lutum.mcp.connect(client) as server:
        tools = await server.toolset(names={"good": "best", "bad": "not a name"})
        assert tools.names == ("best", "either")
        assert [one.name for one in server.left_out] == ["slow", "bad"]
        assert "task only" in server.left_out[0].reason
        [best, _] = list(tools)
        assert isinstance(best, lutum.mcp.RemoteTool)
        assert best.remote_name == "good"
        with pytest.raises(BadValue, match="names: the server has no tool 'none'"):
            await server.toolset(names={"none": "x"})


@pytest.mark.parametrize("cursors", ["the same", "always another", "a circle"])
async def test_a_list_without_end_ends(cursors: str) -> None:
    """At a cursor that comes again, or after a hundred pages; what was listed is offered."""
    asked = 0

    async def listed(ctx: Any, params: Any) -> mt.ListToolsResult:
        nonlocal asked
        asked += 1
        cursor = {"the same": "same", "always another": str(asked), "a circle": str(asked % 3)}[cursors]
        return mt.ListToolsResult(tools=[mt.Tool(name=f"t{asked}", input_schema=EMPTY)], next_cursor=cursor)

    async with lutum.mcp.connect(Client(Official("s", on_list_tools=listed))) as server:
        tools = await server.toolset()
    assert asked == len(tools.names) == {"the same": 2, "always another": 100, "a circle": 4}[cursors]


@pytest.mark.slow
async def test_an_exception_of_the_progress_function_is_raised() -> None:
    """It ends the call and comes out as it is; the connection goes on."""

    async def progress(*report: Any) -> None:
        raise KeyError("mine")

    async with lutum.mcp.connect([sys.executable, SERVER], progress=progress) as server:
        with pytest.raises(KeyError, match="mine"):
            await server.call("count", {"upto": 2})
        assert await server.call("add", {"a": 1, "b": 1}) == [lutum.Text("2")]


@contextmanager
def over_http(port: int = 0) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server in a process of its own, with its port."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "running on" in line:
            break
    try:
        yield port, process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@lutum.tool
async def here() -> str:
    """A local tool."""
    return "here"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in the call", "before the call", "while others run"])
async def test_a_server_over_http_that_dies(how: str) -> None:
    """Its calls are results; local tools, another server and the block go on; reconnecting is one call."""
    with over_http() as (port, process):
        url = f"http://127.0.0.1:{port}/mcp"
        async with offers({"other": [text("alive")]}) as alive, lutum.mcp.connect(url) as server:
            tools = Toolset(await server.toolset(), await alive.toolset(), here)
            if how == "before the call":
                process.kill()
                process.wait()
            calls = [("die", "{}"), ("other", "{}"), ("here", "{}")]
            if how == "while others run":
                calls.append(("hang", '{"marker":"/nonexistent/directory/marker"}'))
            ready = tuple(ToolCallReady(str(i), *call) for i, call in enumerate(calls))
            session = Session(lutum.Lutum(ScriptedAdapter([Script(ready, finish_reason="tool_calls")])))
            session.push_user("u")
            outcome = await session.text_turn().tools(tools).collect()
            assert isinstance(outcome, NeedsTools)
            with anyio.fail_after(20):
                results = await outcome.round.run()
            session.commit_round(outcome.round, results)
            assert [result.is_error for result in results[:3]] == [True, False, False]
            assert isinstance(results[0].exception, ToolError)
            assert [result.text for result in results[1:3]] == ["alive", "here"]
            with pytest.raises(ToolError):
                await server.call("add", {"a": 1, "b": 1})
            with pytest.raises(lutum.mcp.ConnectionFailed):
                await server.reconnect()
            with over_http(port):
                await server.reconnect()
                assert await server.call("add", {"a": 1, "b": 1}) == [lutum.Text("2")]


@pytest.mark.slow
async def test_a_server_over_stdio_is_started_again() -> None:
    """Also one that died. Toolsets that were made before use it; the block can be entered again."""
    server = lutum.mcp.connect([sys.executable, SERVER])
    async with server:
        tools = await server.toolset(only=["add"])
        with pytest.raises(ToolError, match="did not answer"):
            await server.call("die", {})
        await server.reconnect()
        [add] = list(tools)
        assert await add.run({"a": 2, "b": 2}, {}) == [lutum.Text("4")]
        with pytest.raises(UsageError, match="already entered"):
            async with server:
                pass
    async with server:
        assert await server.call("add", {"a": 1, "b": 1}) == [lutum.Text("2")]
    with pytest.raises(UsageError, match=r"reconnect\(\) is called outside"):
        await server.reconnect()


@pytest.mark.slow
async def test_a_client_with_a_transport_needs_a_function_to_reconnect() -> None:
    """Its transport can be used once."""
    with over_http() as (port, _):
        url = f"http://127.0.0.1:{port}/mcp"
        async with lutum.mcp.connect(Client(streamable_http_client(url))) as server:
            with pytest.raises(UsageError, match="a function that makes the client"):
                await server.reconnect()
        async with lutum.mcp.connect(lambda: Client(streamable_http_client(url))) as server:
            await server.reconnect()
            assert await server.call("add", {"a": 1, "b": 1}) == [lutum.Text("2")]


SAYS = "import sys, os; print('no key in', os.getcwd(), file=sys.stderr, flush=True); "


@pytest.mark.slow
async def test_a_silent_command_and_its_last_words(tmp_path: Path) -> None:
    """Connecting has a limit; the error has what the command wrote, and so has `stderr`."""
    written = io.StringIO()
    for ends, why in (("sys.exit(3)", "Connection closed"), ("import time; time.sleep(60)", "within 1 s")):
        server = lutum.mcp.connect(
            [sys.executable, "-c", SAYS + ends],
            cwd=tmp_path,
            stderr=written,
            timeout=1 if "60" in ends else 30,
        )
        with pytest.raises(lutum.mcp.ConnectionFailed, match=why) as info, anyio.fail_after(20):
            async with server:
                raise AssertionError
        assert f"its last words: no key in {tmp_path}" in str(info.value)
    assert written.getvalue().count("no key in") == 2


def test_options_are_checked() -> None:
    """Before anything is started; the error names the option."""
    command, url = [sys.executable, SERVER], "http://localhost/mcp"
    wrong: list[tuple[str, Any, dict[str, Any]]] = [
        ("timeout", command, {"timeout": 0}),
        ("result_limit", command, {"result_limit": 0}),
        ("mode", command, {"mode": "1999"}),
        ("mode", url, {"mode": "1999"}),
        ("mode", Client(url), {"mode": "legacy"}),
        ("cwd", url, {"cwd": "/tmp"}),
        ("stderr", url, {"stderr": io.StringIO()}),
    ]
    for field, server, options in wrong:
        with pytest.raises(BadValue, match=rf"^{field}: "):
            lutum.mcp.connect(server, **options)
