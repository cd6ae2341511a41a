"""Tools as people bring them: bound twice, partial, with open schemas, with odd results, in threads."""

from __future__ import annotations

import enum
import functools
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import anyio
import pytest
from fakes import VIRTUAL

import lutum
from lutum import BadValue, Lutum, Toolset
from lutum.testing import ScriptedAdapter
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


async def results_of(tools: Toolset[Any], *calls: tuple[str, str], **options: Any) -> list[lutum.ToolResult]:
    ready = [lutum.ToolCallReady(str(i), *call) for i, call in enumerate(calls)]
    outcome = await Lutum(ScriptedAdapter([ready])).text_turn("u").tools(tools).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    return list(await outcome.round.run(**options))


async def result_of(value: object, **options: Any) -> lutum.ToolResult:
    @lutum.tool(**options)
    async def give() -> Any:
        return value

    [result] = await results_of(Toolset(give), ("give", "{}"))
    return result


# --- dependencies ---------------------------------------------------------------------------------


def named(name: str) -> Any:
    @lutum.tool(name=name)
    async def ask(db: Annotated[str, lutum.Injected], log: Annotated[str, lutum.Injected] = "-") -> str:
        return f"{name} of {db} to {log}"

    return ask


async def asked(tools: Toolset[Any]) -> list[str]:
    return [one.text for one in await results_of(tools, *[(name, "{}") for name in tools.names])]


async def test_two_bound_toolsets_in_one_keep_their_own_dependencies() -> None:
    """One tenant's tools never run on another's database, however they are put together."""
    shop = Toolset(named("a")).bind(db="shop", log="s")
    books = Toolset(named("b")).bind(db="books", log="b")
    want = {"a": "a of shop to s", "b": "b of books to b", "c": "c of own to o"}
    for both in (Toolset(shop, books), Toolset(books, shop), Toolset(Toolset(shop), lutum.off(books))):
        assert (await asked(both))[: len(both.default_names)] == [want[name] for name in both.default_names]
        with pytest.raises(
            BadValue, match=r"bind\.db: is bound already, for .*, in toolsets within this one"
        ):
            both.bind(db="other")
        more = Toolset(both, named("c")).bind(db="own").bind(log="o")
        assert sorted(await asked(Toolset(more))) == sorted(want[name] for name in more.default_names)
        assert more.bound("a") == {"db": "shop", "log": "s"}


async def test_a_later_bind_of_the_same_set_replaces_an_earlier_one() -> None:
    """Also when only some of the parameters are bound again."""
    tools = Toolset(named("a"), named("b")).bind(db="1", log="x").bind(db="2")
    assert await asked(tools) == ["a of 2 to x", "b of 2 to x"]


async def test_the_identical_tool_in_two_toolsets_counts_once() -> None:
    """Offered if one of them offers it; two bindings of one tool are a conflict."""
    a, b = named("a"), named("b")
    both = Toolset(lutum.off(Toolset(a)), Toolset(a, b))
    assert both.names == both.default_names == ("a", "b")
    assert await asked(Toolset(Toolset(a).bind(db="1", log="x"), a)) == ["a of 1 to x"]
    with pytest.raises(BadValue, match="'a' is in the set twice, and its 'db' is bound to two values"):
        Toolset(Toolset(a).bind(db="1"), Toolset(a).bind(db="2"))
    with pytest.raises(BadValue, match="two tools are called 'a'"):
        Toolset(a, named("a"))


# --- partial --------------------------------------------------------------------------------------


def _send(to: str, text: str, *, sender: str = "me", retries: int = 0) -> str:
    """Send a message."""
    return f"{sender} to {to}: {text} ({retries})"


class _Mail:
    def send(self, to: str, sender: str) -> str:
        return f"{sender} to {to}"

    as_bot = functools.partialmethod(send, sender="bot")


PARTIALS: dict[str, tuple[Any, list[str], str, str]] = {
    "a keyword": (
        functools.partial(_send, sender="bot"),
        ["to", "text", "retries"],
        '{"to":"a","text":"b","retries":null}',
        "bot to a: b (0)",
    ),
    "a keyword in the middle": (
        functools.partial(_send, text="hello"),
        ["to", "sender", "retries"],
        '{"to":"a","sender":"c"}',
        "c to a: hello (0)",
    ),
    "one of one": (
        functools.partial(functools.partial(_send, retries=3), sender="bot"),
        ["to", "text"],
        '{"to":"a","text":"b"}',
        "bot to a: b (3)",
    ),
    "by place": (
        functools.partial(_send, "all", sender="bot"),
        ["text", "retries"],
        '{"text":"b"}',
        "bot to all: b (0)",
    ),
    "a method": (_Mail().as_bot, ["to"], '{"to":"a"}', "bot to a"),
}


@pytest.mark.parametrize("case", PARTIALS)
async def test_what_partial_has_bound_is_not_offered(case: str) -> None:
    """A model that named it would change it."""
    fn, offered, arguments, said = PARTIALS[case]
    tool: Any = lutum.tool(name="send")(fn)
    assert list(json.loads(tool.definition.schema)["properties"]) == offered
    [result] = await results_of(Toolset(tool), ("send", arguments))
    assert result.text == said
    with pytest.raises(Exception, match=r"unknown field `x`"):
        tool.decode(arguments.replace("{", '{"x":1,'))


# --- schemas that are not strict ------------------------------------------------------------------


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass
class Box:
    sizes: tuple[int, str]
    more: dict[str, Any]


class Size(enum.Enum):
    """How large."""

    S = "s"


OPEN: dict[str, tuple[Any, dict[str, Any], str, object, str]] = {
    "dict": (
        dict[str, str],
        {"type": "object", "additionalProperties": {"type": "string"}},
        '{"a":"b"}',
        {"a": "b"},
        '{"a":1}',
    ),
    "dict of objects": (
        dict[str, Size],
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/Size"}},
        '{"a":"s"}',
        {"a": Size.S},
        '{"a":"m"}',
    ),
    "Any": (Any, {}, '{"a":[1]}', {"a": [1]}, ""),
    "object": (list[object], {"type": "array", "items": {}}, "[1]", [1], "1"),
    "tuple": (
        tuple[float, float],
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "[1,2.5]",
        (1.0, 2.5),
        "[1]",
    ),
    "a mixed tuple": (
        tuple[int, str],
        {
            "type": "array",
            "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "minItems": 2,
            "maxItems": 2,
            "description": "In this order: integer, string.",
        },
        '[1,"a"]',
        (1, "a"),
        '["a",1]',
    ),
    "a named tuple": (
        Point,
        {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 1,
            "maxItems": 2,
            "description": "In this order: x, y.",
        },
        "[1]",
        Point(1.0),
        "[]",
    ),
    "within a class": (
        Box,
        {"$ref": "#/$defs/Box"},
        '{"sizes":[1,"a"],"more":{"b":null}}',
        Box((1, "a"), {"b": None}),
        '{"sizes":[1,"a"]}',
    ),
    "a bare dict": (dict, {"type": "object", "additionalProperties": {}}, "{}", {}, "[]"),
}


def taking(hint: Any, **options: Any) -> Any:
    async def take(x: Any, n: int = 1) -> Any:
        return [type(x).__name__, n]

    take.__annotations__ = {"x": hint, "n": int}
    return lutum.tool(**options)(take)


@pytest.mark.parametrize("case", OPEN)
def test_an_open_type_makes_a_tool_that_is_not_strict(case: str) -> None:
    """The schema says what it can, the decoder checks the rest, and `strict=True` refuses."""
    hint, schema, good, value, bad = OPEN[case]
    tool = taking(hint)
    told = json.loads(tool.definition.schema)
    assert told["properties"] == {"x": schema, "n": {"type": "integer", "default": 1}}
    assert (told["required"], told["additionalProperties"]) == (["x"], False)
    assert not tool.definition.strict
    made = tool.decode(f'{{"x":{good}}}')
    assert (made.x, made.n) == (value, 1)
    assert tool.decode(f'{{"x":{good},"n":null}}').n == 1
    if bad:
        with pytest.raises(Exception, match=r"\$\.x"):
            tool.decode(f'{{"x":{bad}}}')
    with pytest.raises(BadValue, match=r"tool 'take': \$\.x.*strict schema"):
        taking(hint, strict=True)


def test_a_tool_is_sent_as_strict_or_not() -> None:
    """`strict=False` opens a schema that could be strict; each adapter says which it is."""

    def sent(adapter: Any, tool: Any) -> dict[str, Any]:
        body = json.loads(Lutum(adapter).text_turn("u").tools(Toolset(tool)).preview().body)
        entry: dict[str, Any] = body["tools"][0]
        return entry.get("function", entry)

    strict, loose, open_ = taking(int), taking(int, strict=False), taking(dict[str, int])
    assert json.loads(strict.definition.schema)["required"] == ["x", "n"]
    assert json.loads(loose.definition.schema)["required"] == ["x"]
    for adapter in (OpenAIAdapter("gpt-5", api_key="k"), OpenAIChatAdapter("gpt-5", api_key="k")):
        assert sent(adapter, strict)["strict"] is True
        for tool in (loose, open_):
            assert sent(adapter, tool).get("strict", False) is False
            assert sent(adapter, tool)["parameters"] == json.loads(tool.definition.schema)
    claude = ClaudeAdapter("claude-sonnet-4-5", api_key="k")
    assert sent(claude, open_)["input_schema"] == json.loads(open_.definition.schema)


async def test_a_raw_tool_may_have_a_function() -> None:
    """Async or not; without one its calls are answered by hand."""

    async def later(arguments: dict[str, Any]) -> object:
        return arguments["a"] * 2

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = Toolset(
        lutum.raw_tool("now", schema, "Doubles.", lambda arguments: arguments["a"] + 1),
        lutum.raw_tool("later", schema, fn=later),
        lutum.raw_tool("by_hand", schema),
    )
    now, then = await results_of(tools, ("now", '{"a":1}'), ("later", '{"a":21}'))
    assert (now.text, then.text) == ("2", "42")
    with pytest.raises(lutum.UsageError, match="tool 'by_hand' has no function"):
        await results_of(tools, ("by_hand", "{}"))
    with pytest.raises(BadValue, match="tool 'x': fn: 7 is not a function"):
        lutum.raw_tool("x", schema, fn=7)  # type: ignore[arg-type]  # what is tested


# --- results --------------------------------------------------------------------------------------


async def test_a_result_beyond_the_limit_is_cut_and_says_so() -> None:
    """256 KiB of text unless the tool says otherwise, never within a character; images are not text."""
    whole = await result_of("x" * 256 * 1024)
    assert len(whole.text) == 256 * 1024
    cut = await result_of("ä" * 200_000)
    first, said = cut.content
    assert isinstance(first, lutum.Text)
    assert first.text == "ä" * (128 * 1024)
    assert isinstance(said, lutum.Text)
    assert said.text.startswith("[cut: the result has 400,000 bytes, and only the first 262,144 are shown.")
    assert not cut.is_error
    small = await result_of(["abc", lutum.Image.from_bytes(PNG), "defg", "h"], result_limit=5)
    assert [type(part).__name__ for part in small.content] == ["Text", "Image", "Text", "Text"]
    assert [part.text for part in small.content if isinstance(part, lutum.Text)][:2] == ["abc", "de"]
    assert len((await result_of(["x" * 1000] * 1000, result_limit=None)).text) > 10**6
    with pytest.raises(BadValue, match="tool 'give': result_limit: 0 bytes is below 1"):
        await result_of("", result_limit=0)


ODD: list[tuple[object, str]] = [
    (float("nan"), '"NaN"'),
    ([1.0, float("inf"), None], '[1.0,"Infinity",null]'),
    ({"a": {"b": float("-inf")}}, '{"a":{"b":"-Infinity"}}'),
    (OrderedDict[str, object](a=(float("nan"),)), '{"a":["NaN"]}'),
    (Box((1, "null"), {"x": float("nan")}), '{"sizes":[1,"null"],"more":{"x":"NaN"}}'),
    ({"a": "null"}, '{"a":"null"}'),
]


@pytest.mark.parametrize(("value", "text"), ODD)
async def test_a_float_that_json_does_not_have_becomes_its_name(value: object, text: str) -> None:
    """Never null, which would be another answer."""
    assert (await result_of(value)).text == text


async def test_a_returned_result_is_the_result() -> None:
    """With its parts and whether it is an error, for the call that was made; its images are looked at."""
    bad = lutum.Image(media_type="image/svg+xml", data=b"<svg/>")
    given = lutum.ToolResult("another", (lutum.Text("no such city"), bad), is_error=True)
    result = await result_of(given)
    assert (result.call_id, result.is_error) == ("0", True)
    assert result.content == (lutum.Text("no such city"), lutum.Text("<svg/>"))
    wrong = await result_of(lutum.ToolResult("", (lutum.Image(media_type="image/jpeg", data=PNG),)))
    assert wrong.content == (lutum.Image(media_type="image/png", data=PNG),)
    assert len((await result_of(lutum.ToolResult("", (lutum.Text("x" * 99),)), result_limit=9)).content) == 2

    @lutum.tool
    async def refuse(call: Annotated[lutum.ToolCall, lutum.Injected]) -> lutum.ToolResult:
        return call.reject("not today")

    [result] = await results_of(Toolset(refuse), ("refuse", "{}"))
    assert (result.text, result.is_error) == ("rejected: not today", True)


# --- threads --------------------------------------------------------------------------------------


async def test_threaded_tools_have_threads_of_their_own() -> None:
    """So many at once, and the threads of the program stay free while they are all taken."""
    running = most = 0
    lock, release = threading.Lock(), threading.Event()

    @lutum.tool(thread=True, threads=2)
    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 2:
                release.set()
        release.wait(10)
        with lock:
            running -= 1

    limiter = anyio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(results_of, Toolset(work), *[("work", "{}")] * 6)
            assert await anyio.to_thread.run_sync(lambda: 7) == 7
    finally:
        limiter.total_tokens = before
    assert most == 2
    with pytest.raises(BadValue, match="tool 'f': threads: 0 is below 1"):
        lutum.tool(thread=True, threads=0, name="f")(lambda: None)


@VIRTUAL
async def test_time_counts_from_the_start_of_a_tool_that_waits_for_its_slot() -> None:
    """In virtual time, with a tool whose slot is an event; a threaded tool's slot is one of its threads."""
    slot = anyio.Event()

    class Held:
        async def __aenter__(self) -> None:
            await slot.wait()

        async def __aexit__(self, *exc: object) -> None: ...

    class Slow(lutum.Tool[dict[str, Any]]):
        def decode(self, arguments: str) -> dict[str, Any]:
            return {}

        def slot(self) -> Any:
            return Held()

        async def run(self, input: Any, bound: Any) -> object:
            await anyio.sleep(5)
            return "done"

    made = Slow(lutum.ToolDef("slow", '{"type":"object","properties":{}}'))
    outcome = await (
        Lutum(ScriptedAdapter([[lutum.ToolCallReady(str(i), "slow", "{}") for i in range(3)]]))
        .text_turn("u")
        .tools(Toolset(made))
        .collect()
    )
    assert isinstance(outcome, lutum.NeedsTools)
    first, second, third = outcome.round.calls
    async with anyio.create_task_group() as group:
        group.start_soon(functools.partial(first.run, timeout=6))
        group.start_soon(functools.partial(second.run, timeout=4))
        group.start_soon(third.run)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(functools.partial(third.run, timeout=3))  # a second one that waits for it
        await anyio.sleep(100)
        slot.set()
    texts = [call.answer.text for call in outcome.round.calls if call.answer is not None]
    assert texts == ["done", "timed out after 4 s", "timed out after 3 s"]
