"""Functions and types that are odd: each is a tool that works, or is refused where it is made."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import httpx
import msgspec
import pytest
import test_schema
import tool_elsewhere
from tool_elsewhere import logged

import lutum
from lutum import BadValue, Injected, Toolset, UsageError
from lutum.dialect.schema import narrow
from lutum_claude import ClaudeAdapter

T = TypeVar("T")


class Here(msgspec.Struct):
    n: int


class Box(msgspec.Struct, Generic[T]):
    held: T


@lutum.tool_input
class Tree(msgspec.Struct):
    """A tree."""

    n: int
    below: list[Tree] = []


def schema(tool: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(Toolset(tool).definition(tool).schema)
    return made


def refused(fn: Any, **options: Any) -> str:
    with pytest.raises(BadValue) as caught:
        lutum.tool(**options)(fn)
    return str(caught.value)


def test_annotations_may_be_strings_of_another_module() -> None:
    """They are resolved where they stand, through wrappers too; what is returned is not looked at."""
    made = schema(lutum.tool(tool_elsewhere.visit))
    assert made["properties"]["place"] == {"$ref": "#/$defs/Place"}

    @logged
    def go(here: Here) -> None: ...

    assert schema(lutum.tool(go))["properties"]["here"] == {"$ref": "#/$defs/Here"}
    assert refused(tool_elsewhere.pay) == (
        "tool 'pay': an annotation cannot be resolved: name 'Decimal' is not defined; "
        "its names must be defined at run time, too"
    )


async def test_what_a_wrapper_is_counts_and_not_what_it_wraps() -> None:
    """An async wrapper runs in no thread; a sync one that gives an awaitable is awaited."""

    def plain(n: int) -> int:
        return n

    @functools.wraps(plain)
    async def wrapped(*args: Any, **given: Any) -> int:
        return plain(*args, **given)

    class Called:
        async def __call__(self, n: int) -> int:
            return n

    for fn in (wrapped, Called(), functools.partial(wrapped)):
        assert "an async function does not run in a thread" in refused(fn, thread=True)
    for thread in (False, True):
        tool = lutum.tool(name="f", thread=thread)(logged(wrapped))
        assert await tool.run(tool.decode('{"n":3}'), {}) == 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of 3.12")
def test_a_type_parameter_of_a_function_is_its_bound() -> None:
    """Of the function's own, in annotations that are strings too."""
    names = dict[str, Any]()
    exec("from __future__ import annotations\ndef take[T: int](n: T) -> T: ...", names)
    assert schema(lutum.tool(names["take"]))["properties"]["n"] == {"type": "integer"}


def test_a_partial_is_called_by_its_function() -> None:
    """Name and description are the function's, not those of `functools.partial`."""
    [definition] = Toolset(lutum.tool(functools.partial(tool_elsewhere.visit, days=2))).definitions
    assert (definition.name, definition.description) == ("visit", "Visit a place.")


async def test_parameters_may_be_called_what_fields_are_not() -> None:
    """`self`, `cls`, `name`, `type`, keyword-only ones behind a default, letters of other scripts."""

    def odd(a: str = "x", *, name: int, type: int, cls: int, Input: int, größe: int, _b: int) -> object:
        return a, name, type, cls, Input, größe, _b

    tool = lutum.tool(odd)
    arguments = {"name": 1, "type": 2, "cls": 3, "Input": 4, "größe": 5, "_b": 6}
    assert await tool.run(tool.decode(json.dumps(arguments)), {}) == ("x", 1, 2, 3, 4, 5, 6)

    def dunder(__init__: int) -> None: ...

    assert "begins with __, which is Python's; give it another name" in refused(dunder)


def test_what_gives_no_one_result_or_has_no_signature_is_refused() -> None:
    """Generators, bare class methods, what is not a function at all."""

    def each(n: int) -> Iterator[int]:
        yield n

    async def each_later(n: int) -> AsyncIterator[int]:
        yield n

    class Holder:
        @classmethod
        def made(cls, n: int) -> int:
            return n

    assert refused(each) == "tool 'each': is a generator; a tool returns one result"
    assert refused(each_later) == "tool 'each_later': is a generator; a tool returns one result"
    assert refused(vars(Holder)["made"]).endswith("decorate it bound: lutum.tool(Cls.method)")
    assert schema(lutum.tool(Holder.made))["required"] == ["n"]
    assert refused(3) == "tool: 3 is not a function"
    assert "give another name=" in refused(lambda: 1)
    assert refused(each_later, name="").startswith("tool '': is a generator")


def test_injected_hides_a_whole_parameter_or_is_refused() -> None:
    """Where it would hide nothing, the model would see the parameter."""

    def bare(db: Injected) -> None: ...

    def inside(db: Annotated[Here, Injected] | None = None) -> None: ...

    def deep(dbs: list[Annotated[Here, Injected]]) -> None: ...

    for fn in (bare, inside, deep):
        assert "write Annotated[<its whole type>, lutum.Injected]" in refused(fn)


async def test_a_mutable_default_is_fresh_in_each_call() -> None:
    """Of any type: a Struct or a dataclass as a list."""

    @dataclass
    class Data:
        n: int = 0

    def count(here: Here = Here(0), data: Data = Data()) -> int:  # noqa: B008  # what is tested
        here.n += 1
        data.n += 1
        return here.n + data.n

    tool = lutum.tool(count)
    assert [await tool.run(tool.decode("{}"), {}) for _ in range(2)] == [2, 2]


def test_a_type_may_refer_to_itself() -> None:
    """Its name is not there yet while it is decorated; nothing of that is left in the module."""
    test_schema.check_openai(Toolset(Tree).definitions[0].schema)
    assert Toolset(Tree).get("tree").decode('{"n":1,"below":[{"n":2}]}') == Tree(1, [Tree(2)])

    @lutum.tool_input
    class Local(msgspec.Struct):
        below: list[Local] = []

    assert "Local" not in globals()
    assert Toolset(Local).names == ("local",)


def test_a_generic_type_needs_a_name() -> None:
    """As a parameter it has one; as an input a subclass gives it one, and the error says so."""

    def take(box: Box[int]) -> None: ...

    assert schema(lutum.tool(take))["$defs"]["Box_int"]["properties"]["held"] == {"type": "integer"}
    with pytest.raises(BadValue, match=r"is not a class; name it: class Mine\(Box\[int\]\)"):
        lutum.tool_input(Box[int])

    @lutum.tool_input
    class Mine(Box[int]): ...

    assert schema(Mine)["properties"] == {"held": {"type": "integer"}}


def test_tools_are_values_and_calls_copy() -> None:
    """A deep copy of a call has its own input and is the same call; inputs pickle, tools say why not."""
    place = tool_elsewhere.pickled.decode('{"place":{"name":"Oslo"}}')
    assert pickle.loads(pickle.dumps(place)) == place
    with pytest.raises(TypeError, match="tool 'pickled' cannot be pickled; send a call's name"):
        pickle.dumps(tool_elsewhere.pickled)
    call = lutum.ToolCall("1", "pickled", "{}", place, tool_elsewhere.pickled)
    copied = copy.deepcopy(call)
    assert copied == call
    assert copied.input is not call.input
    answer = copied.complete("once")
    assert call.answer is answer
    tools = Toolset(tool_elsewhere.pickled)
    assert copy.deepcopy(tools).names == copy.copy(tools).names == ("pickled",)


def test_a_schema_known_at_run_time_is_checked_when_it_is_made() -> None:
    """What has no JSON, no text, or no name that is one."""
    for bad in ({"type": "object", "x": object()}, {"type": "object", "title": "\ud800"}, [1], {}):
        with pytest.raises(BadValue, match="tool 'a': schema"):
            lutum.raw_tool("a", bad)
    with pytest.raises(BadValue, match=r"tool\.name: 3 is not 1 to 128"):
        lutum.raw_tool(3, {"type": "object"})


def test_off_twice_is_off() -> None:
    """A member that is off already may be switched off again."""
    assert Toolset(lutum.off(lutum.off(tool_elsewhere.pickled))).default_names == ()


STRICT = [
    lutum.tool(tool_elsewhere.visit),
    tool_elsewhere.pickled,
    lutum.tool(name="none")(lambda: None),
]


@pytest.mark.parametrize("tool", STRICT, ids=[tool.name for tool in STRICT])
def test_schemas_of_tools_keep_to_the_rules_of_strict_modes(tool: Any) -> None:
    """Those of a structured turn's types, by the same checker."""
    definition = Toolset(tool).definition(tool)
    assert definition.strict
    test_schema.check_openai(definition.schema)


@test_schema.given(test_schema.types, test_schema.types)
def test_any_parameters_make_a_strict_schema(one: Any, two: Any) -> None:
    """Whatever a structured turn takes is a parameter, with or without a default."""

    def take(first: Any, second: Any = None) -> None: ...

    take.__annotations__ = {"first": one[0], "second": two[0] | None}
    tool = lutum.tool(take)
    text = Toolset(tool).definition(tool).schema
    test_schema.check_openai(narrow(text, test_schema.OPENAI)[0])


def test_a_parameter_that_claude_refuses_is_named_before_anything_is_sent() -> None:
    """One key out of its letters, and the API would refuse the whole request."""
    adapter = ClaudeAdapter("claude-sonnet-4-5", api_key="k", http_client=httpx.AsyncClient())
    tools = Toolset(lutum.raw_tool("list_apps", {"type": "object", "properties": {"filter[id]": {}}}))
    with pytest.raises(BadValue, match=r"the parameter 'filter\[id\]' of 'list_apps' is not accepted"):
        lutum.Lutum(adapter).text_turn("u").tools(tools).preview()


async def test_what_has_no_function_is_said_before_any_sibling_runs() -> None:
    """A call that nobody answered and nothing can run is your mistake, and no tool runs for nothing."""
    ran = list[int]()

    @lutum.tool
    def count(n: int) -> None:
        ran.append(n)

    ready = [lutum.ToolCallReady("0", "count", '{"n":1}'), lutum.ToolCallReady("1", "tree", '{"n":1}')]
    llm = lutum.Lutum(lutum.testing.ScriptedAdapter([ready]))
    outcome = await llm.text_turn("u").tools(Toolset(count, Tree)).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    with pytest.raises(UsageError, match="tool 'tree' has no function"):
        await outcome.round.run()
    assert ran == []
