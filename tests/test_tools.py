"""Tools from functions and types: schema and descriptions out, typed inputs in, bad ones refused by name."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

import lutum
from lutum import BadValue, Injected, StructuredDelta, Toolset
from lutum._tools.docstrings import parse
from lutum._tools.tool import BadArguments


class Db: ...


class Point(msgspec.Struct, frozen=True):
    """A point."""

    x: int
    y: int = 0


def schema(tool: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(Toolset(tool).definition(tool).schema)
    return made


def issue(tool: Any, arguments: str) -> tuple[str, str]:
    """The issue that these arguments are."""
    [made] = Toolset(tool)
    with pytest.raises(BadArguments) as caught:
        made.decode(arguments)
    return caught.value.reason, caught.value.detail


@lutum.tool
async def weather(city: str, days: int = 1, tags: list[str] = ["a"], at: Point | None = None) -> str:  # noqa: B006  # what is tested
    """Tell the weather.

    In any city: of the earth.

    Args:
      city: The city's name,
        in English.
      days (int, optional): How many: days.

    Returns:
      Words.
    """
    return f"{city} {days} {tags} {at}"


def test_a_function_is_its_tool() -> None:
    """Name, description and a strict schema come from the function, which can still be called."""
    assert weather.name == "weather"
    assert weather.definition.description == "Tell the weather.\n\nIn any city: of the earth."
    assert schema(weather) == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name, in English."},
            "days": {
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "How many: days.\nDefault: 1.",
            },
            "tags": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                "description": 'Default: ["a"].',
            },
            "at": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]},
        },
        "required": ["city", "days", "tags", "at"],
        "additionalProperties": False,
        "$defs": {
            "Point": {
                "type": "object",
                "properties": {
                    "x": {"type": "integer"},
                    "y": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "Default: 0."},
                },
                "required": ["x", "y"],
                "additionalProperties": False,
                "description": "A point.",
            }
        },
    }


def test_a_null_is_the_default_and_a_mutable_one_is_not_shared() -> None:
    """A parameter with a default is nullable on the wire, and its default is a fresh one in each input."""
    first = weather.decode('{"city":"Rome","days":null,"tags":null,"at":{"x":1}}')
    assert first == weather.Input(city="Rome", days=1, tags=["a"], at=Point(1))
    first.tags.append("b")
    assert weather.decode('{"city":"Rome"}').tags == ["a"]


async def test_called_it_is_the_function() -> None:
    """Decorating changes nothing for who calls the function."""
    assert await weather("Rome", days=2) == "Rome 2 ['a'] None"


def test_match_takes_an_input_apart() -> None:
    """Each function has its own input class."""
    match weather.decode('{"city":"Rome"}'):
        case weather.Input(city=city):
            assert city == "Rome"
        case _:
            pytest.fail("is no weather.Input")


def test_every_docstring_style_reads_the_same() -> None:
    """Google, numpy and Sphinx; other sections are no part of the description."""
    google = (
        "Say it.\n\n  More.\n\n  Args:\n    a: One,\n      two.\n    b (int): Three: four.\n\n"
        "  Raises:\n    X: y"
    )
    numpy = (
        "Say it.\n\n  More.\n\n  Parameters\n  ----------\n  a : str\n      One,\n      two.\n"
        "  b : int, optional\n      Three: four.\n\n  Returns\n  -------\n  c : int\n      No."
    )
    sphinx = (
        "Say it.\n\n  More.\n\n  :param a: One,\n    two.\n  :param int b: Three: four.\n"
        "  :type a: str\n  :returns: x"
    )
    for text in (google, numpy, sphinx):
        assert parse(text) == ("Say it.\n\nMore.", {"a": "One, two.", "b": "Three: four."})
    shared = "S.\n\n  Parameters\n  ----------\n  a, b : int\n      Both."
    assert parse(shared) == ("S.", {"a": "Both.", "b": "Both."})
    assert parse(None) == ("", {})


@given(st.text())
def test_any_docstring_is_read(text: str) -> None:
    """No text is an error."""
    description, parameters = parse(text)
    assert isinstance(description, str)
    assert all(parameters.values())


def test_an_annotation_speaks_before_the_docstring() -> None:
    """`msgspec.Meta` says what a parameter is for, and what it may be."""

    @lutum.tool
    def f(n: Annotated[int, msgspec.Meta(ge=1, description="Meant.")]) -> int:
        """F.

        Args:
          n: Not meant.
        """
        return n

    assert schema(f)["properties"]["n"] == {"type": "integer", "minimum": 1, "description": "Meant."}
    assert issue(f, '{"n":0}') == ("invalid_arguments", "Expected `int` >= 1 - at $.n")


@pytest.mark.parametrize("kind", ["struct", "dataclass", "typeddict", "attrs", "pydantic"])
def test_any_type_of_object_is_an_input(kind: str) -> None:
    """The class stays what it is; its name in snake_case is the tool's, its docstring the description."""

    class Struct(msgspec.Struct):
        """Find it."""

        where: str

    @dataclass
    class Data:
        """Find it."""

        where: str

    class Dict(TypedDict):
        """Find it."""

        where: str

    @attrs.define
    class Attrs:
        """Find it."""

        where: str

    class Model(pydantic.BaseModel):
        """Find it."""

        where: str

    cls: Any = {"struct": Struct, "dataclass": Data, "typeddict": Dict, "attrs": Attrs, "pydantic": Model}[
        kind
    ]
    assert lutum.tool_input(cls) is cls
    tools = Toolset(cls)
    assert tools.names == (cls.__name__.lower(),)
    assert tools.definitions[0].description == "Find it."
    assert schema(cls)["properties"] == {"where": {"type": "string"}}
    assert "description" not in schema(cls)
    assert tools.get(tools.names[0]).decode('{"where":"here"}') == cls(where="here")


def test_names_are_given_or_made() -> None:
    """snake_case of the class; `name=` and `description=` say otherwise."""

    @lutum.tool_input
    class HTTPGetURL(msgspec.Struct):
        url: str

    @lutum.tool_input(name="other", description="Other.")
    class Third(msgspec.Struct):
        url: str

    @lutum.tool(name="fourth", description="Fourth.")
    def f() -> None: ...

    tools = Toolset(HTTPGetURL, Third, f)
    assert tools.names == ("http_get_url", "other", "fourth")
    assert [tool.description for tool in tools.definitions] == ["", "Other.", "Fourth."]


def test_a_subclass_of_an_input_is_none_itself() -> None:
    """Only the decorated class is a tool."""

    @lutum.tool_input
    class Base(msgspec.Struct):
        a: int

    class Derived(Base):
        b: int

    with pytest.raises(BadValue, match="tools: Derived is not a tool"):
        Toolset(Derived)


def test_arguments_that_do_not_fit_are_issues() -> None:
    """Not one JSON object is `malformed_arguments`; another value is `invalid_arguments`, with its path."""
    assert issue(weather, '{"city":1}') == ("invalid_arguments", "Expected `str`, got `int` - at $.city")
    assert issue(weather, '{"city":"a","at":{"x":"b"}}')[1] == "Expected `int`, got `str` - at $.at.x"
    assert issue(weather, '{"city":"a","x":1}')[0] == "invalid_arguments"
    assert issue(weather, '{"city":"a","city":"b"}')[0] == "invalid_arguments"
    for text in ("", "[]", "1", '{"city":"a"', '{"city":"a"} x', "NaN"):
        assert issue(weather, text)[0] == "malformed_arguments"


def test_injected_parameters_are_not_in_the_schema_and_have_to_be_bound() -> None:
    """`bind` fills them in a copy; what is not bound is an error when the turn is built."""

    @lutum.tool
    async def orders(
        customer: str, db: Annotated[Db, Injected], *, log: Annotated[list[str], Injected]
    ) -> str:
        return customer

    tools = Toolset(Toolset(orders), weather)
    assert list(schema(orders)["properties"]) == ["customer"]
    llm = lutum.Lutum(lutum.testing.ScriptedAdapter([]))
    with pytest.raises(BadValue, match=r"tools.orders.db: is not bound; give tools.bind\(db=...\)"):
        llm.text_turn("u").tools(tools)
    with pytest.raises(BadValue, match=r"tools.orders.log: is not bound"):
        llm.text_turn("u").tools(tools.bind(db=Db()))
    with pytest.raises(BadValue, match=r"bind.dbb: no tool of this set has such an Injected parameter"):
        tools.bind(dbb=Db())
    db, log = Db(), list[str]()
    bound = tools.bind(db=db).bind(log=log)
    llm.text_turn("u").tools(bound)
    llm.text_turn("u").tools(Toolset(bound))
    assert bound.bound(orders) == {"db": db, "log": log}
    assert bound.bound("weather") == tools.bound("orders") == {}


def test_toolsets_nest_and_members_may_be_off() -> None:
    """Names are flat and in order; what is off, or in a group that is, is not offered by default."""
    a, b, c, d = (lutum.raw_tool(name, {"type": "object"}) for name in "abcd")
    inner = Toolset(a, lutum.off(b))
    tools = Toolset(inner, lutum.off(Toolset(c)), d)
    assert tools.names == ("a", "b", "c", "d")
    assert tools.default_names == ("a", "d")
    assert tools.select("x", [inner, "d", "a"]) == ("a", "b", "d")
    assert len(tools) == 4
    assert repr(tools) == "<Toolset a, b (off), c (off), d>"
    assert [tool.name for tool in tools] == ["a", "b", "c", "d"]


async def test_a_call_of_a_tool_that_is_off_is_an_issue() -> None:
    """Unless the turn made it available; what no tool is called is unknown, and not unavailable."""
    tools = Toolset(weather, lutum.off(lutum.raw_tool("find", {"type": "object"})))
    calls = [lutum.ToolCallReady("1", "find", "{}"), lutum.ToolCallReady("2", "lose", "{}")]
    llm = lutum.Lutum(lutum.testing.ScriptedAdapter([calls, calls]))
    turn = llm.text_turn("u").tools(tools)
    outcome = await turn.collect()
    assert isinstance(outcome, lutum.NeedsTools)
    assert [issue.reason for issue in outcome.round.issues] == ["not_available", "unknown_tool"]
    outcome = await turn.available(plus=["find"]).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    assert [issue.reason for issue in outcome.round.issues] == ["unknown_tool"]
    assert [call.name for call in outcome.round.calls] == ["find"]


async def test_a_selector_goes_through_a_model_into_the_next_turn() -> None:
    """The names are a type that a structured turn can answer with, and `available` takes the answer."""
    tools = Toolset(weather, lutum.raw_tool("find", {"type": "object"}))
    answers = [[StructuredDelta('{"value":["find"]}')], [StructuredDelta('{"value":"weather"}')]]
    llm = lutum.Lutum(lutum.testing.ScriptedAdapter(answers))
    chosen = (await llm.structured_turn(tools.selection, "which?").collect()).value
    assert chosen == ["find"]
    assert llm.text_turn("u").tools(tools).available(only=chosen).preview().body
    one = (await llm.structured_turn(tools.selector, "which?").collect()).value
    assert one == "weather"
    assert llm.text_turn("u").tools(tools).require(one).preview().body


class _Method:
    async def find(self, what: str) -> str:
        return what

    def __call__(self, what: str) -> str:
        return what


def test_methods_callables_and_partials_are_functions() -> None:
    """Anything with a signature can be a tool."""
    assert schema(lutum.tool(_Method().find))["required"] == ["what"]
    assert schema(lutum.tool(name="call")(_Method()))["required"] == ["what"]

    def add(a: int, b: int) -> int:
        return a + b

    assert schema(lutum.tool(name="add1")(functools.partial(add, b=1)))["required"] == ["a"]


def test_what_cannot_be_a_tool_is_refused_where_it_is_made() -> None:
    """The message names tool, parameter and path."""

    def untyped(x): ...

    def several(*xs: int) -> None: ...

    def free(options: dict[str, int]) -> None: ...

    def opaque(db: Db) -> None: ...

    def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # what is tested

    async def threaded(x: int) -> None: ...

    def refused(fn: Any, **options: Any) -> str:
        with pytest.raises(BadValue) as caught:
            lutum.tool(**options)(fn)
        return str(caught.value)

    assert refused(untyped) == "tool 'untyped': parameter 'x': has no annotation; give its type"
    assert refused(_Method.find).startswith(
        "tool 'find': parameter 'self': has no annotation; decorate the bound"
    )
    assert refused(several).startswith("tool 'several': parameter 'xs': is variadic positional")
    told = "tool 'free': $.options: a dict with free keys has no strict schema"
    assert refused(free, strict=True).startswith(told)
    assert refused(opaque).startswith("tool 'opaque': $.db: Db is not supported")
    assert refused(unknown).startswith("tool 'unknown': an annotation cannot be resolved")
    assert refused(threaded, thread=True).startswith("tool 'threaded': thread: an async")
    assert refused(several, abandon=True).startswith("tool 'several': abandon: only a thread")
    assert (
        refused(free, name="a b", strict=True)
        == "tool 'a b': $.options: a dict with free keys has no strict schema; use a list of objects"
    )
    with pytest.raises(BadValue, match="tool 'int': its input must be an object, and int is not"):
        lutum.tool_input(int)
    with pytest.raises(BadValue, match=r"tool.name: 'a b' is not 1 to 128 of the characters A-Z"):
        lutum.raw_tool("a b", {"type": "object"})
    with pytest.raises(BadValue, match="tools: two tools are called 'weather'"):
        Toolset(weather, Toolset(lutum.raw_tool("weather", {"type": "object"})))
    with pytest.raises(BadValue) as plain:
        Toolset(weather, lutum.raw_tool("weather", {"type": "object"}))
    assert "prefix" not in str(plain.value)  # neither is of an MCP server
    with pytest.raises(BadValue, match=r"tools: Point is not a tool; decorate it with @lutum\.tool"):
        Toolset(Point)


def test_constraints_are_checked_before_anything_is_reserved() -> None:
    """Who is no member, or not available, is named; nothing is sent to find out."""
    a, b = (lutum.raw_tool(name, {"type": "object"}) for name in "ab")
    llm = lutum.Lutum(lutum.testing.ScriptedAdapter([]))
    plain, turn = llm.text_turn("u"), llm.text_turn("u").tools(Toolset(a, lutum.off(b)))
    with pytest.raises(BadValue, match="available: this turn has no tools"):
        plain.available(all=True)
    with pytest.raises(BadValue, match="require: this turn has no tools"):
        plain.require()
    with pytest.raises(BadValue, match="describe: this turn has no tools"):
        plain.describe("a", "x")
    with pytest.raises(BadValue, match="available: takes one of only=, plus= and all=True"):
        turn.available()
    with pytest.raises(BadValue, match="available: takes one of only=, plus= and all=True"):
        turn.available(only=["a"], all=True)
    with pytest.raises(BadValue, match="available: 'weather' is not a tool of this turn"):
        turn.available(plus=[weather])
    with pytest.raises(BadValue, match="require: takes one tool, not 2"):
        turn.require(Toolset(a, b))
    with pytest.raises(BadValue, match="require: tool 'b' is not available in this turn"):
        turn.require(b).preview()
    with pytest.raises(BadValue, match="require: no tool is available in this turn"):
        turn.available(only=[]).require().preview()
    turn.available(plus=[b]).require(b).preview()
