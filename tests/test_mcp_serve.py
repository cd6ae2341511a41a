"""A toolset as an MCP server; prompts, resources and sampling of other servers."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import anyio
import mcp.types as mt
import pytest
from fakes import VIRTUAL
from mcp import Client
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

import lutum
import lutum.mcp
from lutum import Budget, Lutum, ToolCallReady, ToolError, Toolset, trace
from lutum.testing import ScriptedAdapter

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
PDF = b"%PDF-1.7\n"

pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")  # sampling, since 2026-07-28


@pytest.mark.process
def test_the_two_files_of_the_page(tmp_path: Path) -> None:
    """The client of docs/tools.md starts the server beside it, and prints what the page shows."""
    page = (Path(__file__).parents[1] / "docs" / "tools.md").read_text("utf-8")
    _, _, part = page.partition("are two files. `tools_server.py`:")
    server, client, *_ = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    (tmp_path / "tools_server.py").write_text(server, "utf-8")
    (tmp_path / "tools_client.py").write_text(client, "utf-8")
    command = [sys.executable, "tools_client.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    shown = re.search(r"The client prints:\n\n```\n(.*?)```", part, re.DOTALL)
    assert shown is not None
    assert done.stdout == shown[1], done.stderr


@lutum.tool
async def weather(city: str, days: Annotated[int, Field(ge=1)] = 1) -> str:
    """The weather."""
    return f"cold in {city} for {days}"


@lutum.tool
async def orders(customer: str, db: Annotated[str, lutum.Injected]) -> list[int]:
    """Orders."""
    if customer == "nobody":
        raise ToolError("there is no such customer")
    if customer == "bug":
        raise KeyError("secret")
    return [len(customer), len(db)]


@lutum.tool
async def draw() -> Any:
    return [
        "a picture",
        lutum.Image.from_bytes(PNG),
        lutum.Document.from_bytes(PDF),
        lutum.Document.from_bytes(b"words", media_type="text/plain"),
        lutum.Image.from_url("https://example.com/a.png"),
    ]


@lutum.tool
async def nap(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "slept"


TOOLS = Toolset(weather, orders, draw, nap, lutum.off(lutum.raw_tool("hidden", {"type": "object"}))).bind(
    db="db"
)


async def test_a_served_toolset_lists_its_tools_and_runs_them() -> None:
    """What has a default may be left out, or be null; what is off is not there."""
    async with lutum.mcp.connect(Client(lutum.mcp.serve(TOOLS, name="mine"))) as server:
        info = server.client.server_info
        assert info is not None
        assert info.name == "mine"
        tools = await server.toolset()
        assert tools.names == ("weather", "orders", "draw", "nap")
        schema = json.loads(tools.definition("weather").schema)
        assert schema["required"] == ["city"]
        assert schema["properties"]["days"] == {"type": "integer", "minimum": 1, "default": 1}
        assert tools.definition("weather").description == "The weather."
        assert list(json.loads(tools.definition("orders").schema)["properties"]) == ["customer"]
        for given in ({}, {"days": None}, {"days": 1.0}):
            assert await server.call("weather", {"city": "Oslo", **given}) == [
                lutum.Text("cold in Oslo for 1")
            ]
        assert await server.call("orders", {"customer": "ann"}) == [lutum.Text("[3,2]")]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("weather", {"city": 3}, "do not fit its schema: Expected `str`, got `int` - at $.city"),
        ("weather", {"city": "x", "days": 0}, "Expected `int` >= 1 - at $.days"),
        ("orders", {"customer": "nobody"}, "there is no such customer"),
        ("orders", {"customer": "bug"}, "failed: KeyError"),
        ("hidden", {}, "tool 'hidden' is not available"),
        ("lost", {}, "there is no tool 'lost'"),
    ],
)
async def test_what_goes_wrong_is_an_error_result(name: str, arguments: dict[str, Any], said: str) -> None:
    """With the words that a model of this process would get, and no secret of the exception."""
    async with Client(lutum.mcp.serve(TOOLS)) as client:
        result = await client.call_tool(name, arguments)
        assert result.is_error
        [block] = result.content
        assert isinstance(block, mt.TextContent)
        assert said in block.text
        assert "secret" not in block.text


async def test_parts_become_content_and_come_back() -> None:
    """Text, images, PDFs and documents; what has no bytes is a line."""
    async with lutum.mcp.connect(Client(lutum.mcp.serve(TOOLS))) as server:
        parts = await server.call("draw", {})
    assert parts == [
        lutum.Text("a picture"),
        lutum.Image.from_bytes(PNG),
        lutum.Document.from_bytes(PDF),
        lutum.Text("words"),
        lutum.Text("[image: https://example.com/a.png]"),
    ]


async def test_hooks_decide_about_served_calls_and_calls_are_spans() -> None:
    """As in a round: an edited input, an answer, a rejection; and a trace shows each."""

    async def hook(call: lutum.ToolCall[Any]) -> lutum.ToolCall[Any] | lutum.ToolResult | None:
        city = call.input.city
        if city == "Rome":
            return call.with_arguments('{"city":"Paris","days":2}')
        return call.reject("not there") if city == "Nowhere" else None

    served = lutum.mcp.serve(Toolset(weather), hooks=lutum.ToolHooks().on(weather, hook))
    async with trace.capture() as captured, Client(served) as client:
        found = [await client.call_tool("weather", {"city": city}) for city in ("Oslo", "Rome", "Nowhere")]
    texts = [block.text for result in found for block in result.content if isinstance(block, mt.TextContent)]
    assert texts == ["cold in Oslo for 1", "cold in Paris for 2", "rejected: not there"]
    assert [result.is_error for result in found] == [False, False, True]
    names = [span.name for span in captured.walk()]
    assert (names.count("tool"), names.count("hook")) == (2, 3)


@VIRTUAL
async def test_served_calls_have_a_time_and_a_number() -> None:
    """The time counts from a call's own start, not from its wait for a slot; a cancelled one ends."""
    served = lutum.mcp.serve(Toolset(nap), timeout=5, limit=1)
    texts: dict[int, str] = {}
    async with Client(served) as client, anyio.create_task_group() as group:

        async def one(seconds: int) -> None:
            result = await client.call_tool("nap", {"seconds": seconds})
            texts[seconds] = " ".join(b.text for b in result.content if isinstance(b, mt.TextContent))

        for seconds in (4, 3, 60):
            group.start_soon(one, seconds)
    assert texts == {4: "slept", 3: "slept", 60: "timed out after 5 s"}


def test_one_server_runs_in_several_loops() -> None:
    """One after the other, on either backend."""
    served = lutum.mcp.serve(Toolset(weather), limit=1)

    async def ask() -> list[lutum.Part]:
        async with lutum.mcp.connect(Client(served)) as server:
            return await server.call("weather", {"city": "Oslo"})

    for backend in ("trio", "asyncio", "trio"):
        assert lutum.run(ask, backend=backend) == [lutum.Text("cold in Oslo for 1")]


def test_what_cannot_be_served_is_refused_at_once() -> None:
    """Not at the first call."""
    with pytest.raises(lutum.UsageError, match="tool 'raw' has no function"):
        lutum.mcp.serve(Toolset(lutum.raw_tool("raw", {"type": "object"})))
    with pytest.raises(lutum.BadValue, match=r"tools\.orders\.db: is not bound"):
        lutum.mcp.serve(Toolset(orders))
    with pytest.raises(lutum.BadValue, match=r"limit: 0 is below 1"):
        lutum.mcp.serve(Toolset(weather), limit=0)
    with pytest.raises(lutum.BadValue, match=r"timeout: 0 is not above 0 s"):
        lutum.mcp.serve(Toolset(weather), timeout=0)


SCRIPT = textwrap.dedent("""
    import sys, lutum, lutum.mcp

    @lutum.tool
    async def double(n: int) -> int:
        "Double it."
        return 2 * n

    async def main() -> None:
        served = lutum.mcp.serve(lutum.Toolset(double), timeout=10)
        await (served.run_stdio() if len(sys.argv) == 1 else served.run_http(port=int(sys.argv[1])))

    lutum.run(main, backend="trio" if len(sys.argv) == 1 else "asyncio")
""")


@pytest.mark.process
async def test_a_toolset_is_served_over_stdio() -> None:
    """To a client in another process, with the loop of a session."""
    async with lutum.mcp.connect([sys.executable, "-c", SCRIPT]) as server:
        llm = Lutum(ScriptedAdapter([[ToolCallReady("1", "double", '{"n":21}')]]))
        outcome = await llm.text_turn("u").tools(await server.toolset()).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        [result] = await outcome.round.run()
        assert result.text == "42"


@pytest.mark.process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as in test_mcp
async def test_a_toolset_is_served_over_http(free_tcp_port: int) -> None:
    """Streamable HTTP, by uvicorn in another process."""
    command = [sys.executable, "-c", SCRIPT, str(free_tcp_port)]
    async with await anyio.open_process(command, stdout=None, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while b"running on" not in said:
            said += await process.stderr.receive()
        async with lutum.mcp.connect(f"http://127.0.0.1:{free_tcp_port}/mcp") as server:
            assert await server.call("double", {"n": 4}) == [lutum.Text("8")]
        process.kill()


# --- prompts, resources, sampling -----------------------------------------------------------------

other = MCPServer("other")


@other.prompt()
def review(code: str) -> list[Any]:
    """Review code."""
    from mcp.server.mcpserver.prompts.base import AssistantMessage, UserMessage

    return [UserMessage(f"Review {code}."), AssistantMessage("What for?"), UserMessage("Bugs.")]


@other.resource("file:///notes.txt", mime_type="text/plain")
def notes() -> str:
    """Notes."""
    return "remember the milk"


@other.resource("file:///a.png", mime_type="image/png")
def picture() -> bytes:
    """A picture."""
    return PNG


def linking(*uris: str) -> Callable[[], Client]:
    """A server whose tool answers with links; it has one resource."""

    async def listed(context: Any, params: Any) -> mt.ListToolsResult:
        return mt.ListToolsResult(tools=[mt.Tool(name="find", input_schema={"type": "object"})])

    async def called(context: Any, params: Any) -> mt.CallToolResult:
        links = [mt.ResourceLink(type="resource_link", uri=uri, name=uri[-5:], size=17) for uri in uris]
        return mt.CallToolResult(content=[mt.TextContent(type="text", text="found"), *links])

    async def read(context: Any, params: mt.ReadResourceRequestParams) -> mt.ReadResourceResult:
        if "notes" not in params.uri:
            raise ValueError("no such resource")
        text = mt.TextResourceContents(uri=params.uri, text="remember the milk")
        blob = mt.BlobResourceContents(
            uri=params.uri, mime_type="image/png", blob=base64.b64encode(PNG).decode()
        )
        return mt.ReadResourceResult(contents=[text, blob])

    made = Server("links", on_list_tools=listed, on_call_tool=called, on_read_resource=read)
    return lambda: Client(made)


async def test_a_prompt_becomes_messages_by_one_call() -> None:
    """They are the input of a turn."""
    async with lutum.mcp.connect(Client(other)) as server:
        assert [prompt.name for prompt in await server.prompts()] == ["review"]
        found = await server.prompt("review", {"code": "x = 1"})
        assert [(item.role, item.text) for item in found if isinstance(item, lutum.Message)] == [
            ("user", "Review x = 1."),
            ("assistant", "What for?"),
            ("user", "Bugs."),
        ]
        assert (await Lutum(ScriptedAdapter([["None."]])).text_turn(found).collect()).text == "None."
        with pytest.raises(ToolError, match="answered with an error"):
            await server.prompt("lost")


async def test_a_resource_becomes_parts_by_one_call() -> None:
    """Text and images, for a message of yours."""
    async with lutum.mcp.connect(Client(other)) as server:
        assert sorted(str(one.uri) for one in await server.resources()) == [
            "file:///a.png",
            "file:///notes.txt",
        ]
        assert await server.resource("file:///notes.txt") == [lutum.Text("remember the milk")]
        assert await server.resource("file:///a.png") == [lutum.Image.from_bytes(PNG)]
        with pytest.raises(ToolError, match="answered with an error"):
            await server.resource("file:///lost")


async def test_links_in_results_are_resolved_where_asked() -> None:
    """In their place; one that cannot be read stays a line, and so do those beyond twenty."""
    line = "[a link to 's.txt': file:///notes.txt, of unknown type, 17 bytes; its content is not shown]"
    async with lutum.mcp.connect(linking("file:///notes.txt")) as server:
        assert await server.call("find", {}) == [lutum.Text("found"), lutum.Text(line)]
        assert (await server.resource("file:///notes.txt"))[0] == lutum.Text("remember the milk")
    async with lutum.mcp.connect(linking("file:///notes.txt", "file:///lost"), resolve_links=True) as server:
        parts = await server.call("find", {})
    assert parts[:3] == [lutum.Text("found"), lutum.Text("remember the milk"), lutum.Image.from_bytes(PNG)]
    assert isinstance(parts[3], lutum.Text)
    assert parts[3].text.startswith("[a link to")
    async with lutum.mcp.connect(linking(*["file:///notes.txt"] * 25), resolve_links=True) as server:
        assert len(await server.call("find", {})) == 1 + 20 * 2 + 5


def asking(**options: Any) -> Callable[[], Client]:
    """A server whose tool asks the client's model, by the protocol before 2026-07-28."""
    made = MCPServer("asking")

    @made.tool()
    async def ask(text: str, ctx: Context) -> str:
        words = mt.TextContent(type="text", text=text)
        session: Any = ctx.session  # whose method is deprecated since 2026-07-28, and still in use
        result = await session.create_message(
            messages=[mt.SamplingMessage(role="user", content=words)],
            max_tokens=50,
            system_prompt="Be brief.",
            temperature=0.5,
            stop_sequences=["END"],
            **options,
        )
        assert isinstance(result.content, mt.TextContent)
        return f"{result.model}: {result.content.text} ({result.stop_reason})"

    return lambda: Client(made, mode="legacy")


async def test_sampling_is_answered_by_a_lutum_under_its_budget() -> None:
    """One turn with the settings of the request; it is charged as any other, and refused as any other."""
    adapter = ScriptedAdapter([["yes"], ["more"]])
    llm = Lutum(adapter, budget=Budget(tokens=150))
    async with lutum.mcp.connect(asking(), sampling=llm) as server:
        assert await server.call("ask", {"text": "Is it?"}) == [lutum.Text("scripted-1: yes (endTurn)")]
        assert llm.budget.spent.total_tokens > 0
        sent = adapter.requests[0]
        assert [item.text for item in sent.transcript if isinstance(item, lutum.Message)] == [
            "Be brief.",
            "Is it?",
        ]
        settings = sent.settings
        assert (settings.max_output_tokens, settings.temperature, settings.stop) == (50, 0.5, ("END",))
        with pytest.raises(ToolError, match="BudgetExceeded"):
            await server.call("ask", {"text": "word " * 500})
    async with lutum.mcp.connect(asking()) as server:
        with pytest.raises(ToolError):
            await server.call("ask", {"text": "?"})


async def test_a_sampling_callback_for_a_client_of_yours() -> None:
    """What is not supported is declined, and never sent to the model."""
    adapter = ScriptedAdapter([["a"]])
    answer = lutum.mcp.sampling(Lutum(adapter))
    tool = mt.Tool(name="t", input_schema={"type": "object"})
    words = mt.TextContent(type="text", text="hi")
    message = mt.SamplingMessage(role="user", content=words)
    declined = await answer(
        None, mt.CreateMessageRequestParams(messages=[message], max_tokens=5, tools=[tool])
    )
    assert isinstance(declined, mt.ErrorData)
    assert "tools" in declined.message
    use = mt.ToolUseContent(type="tool_use", name="t", id="1", input={})
    called = mt.SamplingMessage(role="assistant", content=[use])
    assert isinstance(
        await answer(None, mt.CreateMessageRequestParams(messages=[message, called], max_tokens=5)),
        mt.ErrorData,
    )
    assert not adapter.requests
    said = mt.SamplingMessage(role="assistant", content=mt.TextContent(type="text", text="yes?"))
    image = mt.ImageContent(type="image", data=base64.b64encode(PNG).decode(), mime_type="image/png")
    shown = mt.SamplingMessage(role="user", content=[words, image])
    result = await answer(None, mt.CreateMessageRequestParams(messages=[message, said, shown], max_tokens=5))
    assert isinstance(result, mt.CreateMessageResult)
    assert len(adapter.requests[0].transcript) == 3
