"""What stands in `Annotated`: on the wire and enforced, or refused by name. Unions of models. All errors."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    cast,
)

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
import typing_extensions
from hypothesis import given, settings, strategies as st
from pydantic import AliasChoices, AliasPath, BaseModel, Field

import lutum
from lutum._schema import partial, shape
from lutum.testing import ScriptedAdapter

T = TypeVar("T")
shape_of: Any = shape.shape_of  # its parameter is a `type`, and a union is none to a type checker
as_partial: Any = partial.as_partial
LAST = datetime.date(2020, 1, 1)


def properties(type: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shape_of(type).schema)["properties"]
    return found


def parameter(hint: Any) -> Any:
    async def f(x: Any) -> None: ...

    f.__annotations__ = {"x": hint}
    return lutum.tool(f)


def in_dataclass(hint: Any) -> Any:
    return dataclasses.make_dataclass("Made", [("x", hint)])


def in_typed_dict(hint: Any) -> Any:
    return TypedDict("Made", {"x": hint})  # type: ignore[operator]  # made at run time


def in_struct(hint: Any) -> Any:
    return msgspec.defstruct("Made", [("x", hint)])


def in_attrs(hint: Any) -> Any:
    return attrs.make_class("Made", {"x": attrs.field(type=hint)})


PLACES: dict[str, Callable[[Any], Any]] = {
    "dataclass": in_dataclass,
    "typeddict": in_typed_dict,
    "struct": in_struct,
    "attrs": in_attrs,
}

# A type, what its schema says, a value that it takes, and one that it does not.
KINDS: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "Field": (
        Annotated[int, Field(ge=1, le=9, description="d", title="T")],
        {"type": "integer", "minimum": 1, "maximum": 9, "description": "d"},
        "9",
        "10",
    ),
    "Field on an optional": (
        Annotated[int | None, Field(gt=0, description="d")],
        {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}], "description": "d"},
        "null",
        "0",
    ),
    "Meta on an optional": (
        Annotated[int | None, msgspec.Meta(ge=1)],
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        "null",
        "0",
    ),
    "an optional of Field": (
        Optional[Annotated[str, Field(pattern="^a", max_length=3)]],  # noqa: UP045  # Annotated takes no |
        {"anyOf": [{"type": "string", "pattern": "^a", "maxLength": 3}, {"type": "null"}]},
        '"abc"',
        '"b"',
    ),
    "annotated_types": (
        Annotated[float, at.Ge(0), at.Lt(1)],
        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "0.5",
        "1.0",
    ),
    "Interval": (
        Annotated[int, at.Interval(gt=1, le=4)],
        {"type": "integer", "exclusiveMinimum": 1, "maximum": 4},
        "4",
        "1",
    ),
    "Len": (
        Annotated[list[int], at.Len(1, 2)],
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        "[1]",
        "[1,2,3]",
    ),
    "MultipleOf": (Annotated[int, at.MultipleOf(5)], {"type": "integer", "multipleOf": 5}, "10", "11"),
    "PositiveInt": (pydantic.PositiveInt, {"type": "integer", "exclusiveMinimum": 0}, "1", "0"),
    "conint": (pydantic.conint(ge=2), {"type": "integer", "minimum": 2}, "2", "1"),
    "constr": (pydantic.constr(pattern=r"^\d+$"), {"type": "string", "pattern": r"^\d+$"}, '"1"', '"x"'),
    "two bounds": (
        Annotated[pydantic.PositiveInt, Field(gt=5), msgspec.Meta(lt=9)],
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 9},
        "6",
        "5",
    ),
    "text": (Annotated[str, "the words"], {"type": "string", "description": "the words"}, '"a"', "1"),
    "Doc": (
        Annotated[str, typing_extensions.Doc("the words")],
        {"type": "string", "description": "the words"},
        '"a"',
        "1",
    ),
    "Meta and text": (
        Annotated[str, msgspec.Meta(min_length=2), "the words"],
        {"type": "string", "minLength": 2, "description": "the words"},
        '"ab"',
        '"a"',
    ),
    "in a list": (
        list[Annotated[int, Field(ge=1)]],
        {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "[1]",
        "[1,0]",
    ),
    "examples": (
        Annotated[int, Field(examples=[1, 2], le=5)],
        {"type": "integer", "maximum": 5, "description": "Examples: 1, 2."},
        "5",
        "6",
    ),
    "of a NewType": (
        Annotated[NewType("Id", int), Field(ge=1)],
        {"type": "integer", "minimum": 1},
        "1",
        "0",
    ),
}

# What no schema says: enforced all the same, and reported.
UNSAID: dict[str, tuple[Any, str, str, str]] = {
    "a date": (
        Annotated[datetime.date, Field(ge=LAST)],
        "at least 2020-01-01",
        '"2020-01-02"',
        '"2019-01-01"',
    ),
    "an optional date": (
        Annotated[datetime.date | None, at.Lt(LAST)],
        "below 2020-01-01",
        "null",
        '"2020-01-01"',
    ),
    "a Decimal": (Annotated[Decimal, at.Gt(Decimal("0.5"))], "above 0.5", '"0.6"', '"0.5"'),
    "digits": (Annotated[Decimal, Field(max_digits=3)], "digits at most 3", '"1.23"', '"1.234"'),
    "places": (Annotated[Decimal, Field(decimal_places=1)], "decimal places at most 1", '"1.2"', '"1.23"'),
    "a predicate": (Annotated[str, at.Predicate(str.islower)], "such that str.islower holds", '"a"', '"A"'),
    "half an integer": (Annotated[int, at.Ge(1.5)], "at least 1.5", "2", "1"),
}


def decode(type: Any, text: str) -> Any:
    made = shape_of(type).decode(f'{{"x":{text}}}')
    return cast("Any", made)["x"] if isinstance(made, dict) else made.x


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", KINDS)
def test_metadata_is_on_the_wire_and_enforced(case: str, place: str) -> None:
    """Wherever the type stands; the value is of the class itself."""
    hint, schema, good, bad = KINDS[case]
    type = PLACES[place](hint)
    assert properties(type)["x"] == schema
    made = shape_of(type).decode(f'{{"x":{good}}}')
    assert isinstance(made, dict) if place == "typeddict" else made.__class__ is type
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(type).decode(f'{{"x":{bad}}}')
    assert caught.value.path.startswith("$.x")


@pytest.mark.parametrize("case", KINDS)
def test_metadata_of_a_parameter_is_on_the_wire_and_enforced(case: str) -> None:
    """Of a function tool as of a class."""
    hint, schema, good, bad = KINDS[case]
    made = parameter(hint)
    assert json.loads(made.definition.schema)["properties"]["x"] == schema
    assert made.decode(f'{{"x":{good}}}') is not None
    with pytest.raises(Exception, match=r"\$\.x"):
        made.decode(f'{{"x":{bad}}}')


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", UNSAID)
def test_what_no_schema_says_is_enforced_and_reported(case: str, place: str) -> None:
    """In `preview().dropped_constraints` of a value and of a tool, and in the description for the model."""
    hint, told, good, bad = UNSAID[case]
    type = PLACES[place](hint)
    llm = lutum.Lutum(ScriptedAdapter([]))
    assert llm.structured_turn(type, "?").preview().dropped_constraints == (f"$.x: {told}",)
    assert told in properties(type)["x"]["description"]
    decode(type, good)
    with pytest.raises(lutum.OutputInvalid, match=re.escape(f"Expected a value {told} - at $.x")):
        decode(type, bad)
    tools = lutum.Toolset(parameter(hint))
    assert llm.text_turn("?").tools(tools).preview().dropped_constraints == (f"tools.f.x: {told}",)


REFUSED: dict[str, tuple[Any, str]] = {
    "a validator": (Annotated[int, pydantic.AfterValidator(abs)], "AfterValidator"),
    "a function": (Annotated[int, abs], "built-in function abs"),
    "a class of somebody's": (Annotated[int, Decimal("1")], "Decimal('1')"),
    "stripping": (Annotated[str, pydantic.StringConstraints(strip_whitespace=True)], "strip_whitespace=True"),
    "Injected in a class": (list[Annotated[int, lutum.Injected]], "Injected"),
    "alias choices": (Annotated[int, Field(validation_alias=AliasChoices("a", "b"))], "AliasChoices"),
    "a discriminator of nothing": (Annotated[int, Field(discriminator="kind")], "discriminator"),
    "a function for the schema": (Annotated[int, Field(json_schema_extra=lambda s: None)], "function"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_understood_is_refused_by_name(case: str, place: str) -> None:
    """Where the turn is built, with the path."""
    hint, name = REFUSED[case]
    with pytest.raises(lutum.BadValue, match=re.escape(name)) as caught:
        shape_of(PLACES[place](hint))
    assert caught.value.field.startswith("$.x")


class Bounded(NamedTuple):
    x: Annotated[int, Field(ge=0)]


def test_a_named_tuple_with_metadata_is_refused() -> None:
    """msgspec would read it and enforce nothing."""
    for hint in (Bounded, list[Bounded], tuple[Bounded, int]):
        with pytest.raises(lutum.BadValue, match="Bounded is a named tuple, so the constraints"):
            parameter(hint)


def test_what_is_not_understood_of_a_parameter_is_refused_by_name() -> None:
    """Where the function is decorated."""
    with pytest.raises(lutum.BadValue, match=r"tool 'f': \$\.x: AfterValidator"):
        parameter(Annotated[int, pydantic.AfterValidator(abs)])


@given(st.integers(-5, 15), st.integers(0, 5), st.integers(5, 10))
@settings(max_examples=40, deadline=None)
def test_bounds_decide_as_pydantic_decides(value: int, low: int, high: int) -> None:
    """The law: a value is taken if and only if pydantic takes it, whoever states the bounds."""
    of_pydantic = pydantic.TypeAdapter(Annotated[int, Field(ge=low, le=high)])
    for hint in (
        Annotated[int, Field(ge=low, le=high)],
        Annotated[int, at.Interval(ge=low, le=high)],
        Annotated[int, at.Ge(low), msgspec.Meta(le=high)],
        Annotated[int, at.Gt(low - 1), at.Lt(high + 1)],
    ):
        taken = True
        try:
            shape_of(in_dataclass(hint)).decode(f'{{"x":{value}}}')
        except lutum.OutputInvalid:
            taken = False
        try:
            of_pydantic.validate_json(str(value))
            assert taken
        except pydantic.ValidationError:
            assert not taken


# --- defaults, aliases, classes -------------------------------------------------------------------


class Color(enum.Enum):
    """The color of paint."""

    RED = "red"


@dataclasses.dataclass
class Node(Generic[T]):
    """A node."""

    value: Annotated[int, Field(ge=0)]
    at: datetime.date = LAST
    kids: list[Node[T]] = dataclasses.field(default_factory=list["Node[T]"])
    extra: T | None = None
    color: Color = Color.RED
    top: Annotated[int, Field(alias="maxResults")] = Field(3, le=5)  # type: ignore[assignment]  # as people write


def test_defaults_and_words_of_enums_reach_the_model() -> None:
    """A strict schema has no `default`, so the description says it."""
    found = properties(Node[int])
    assert found["at"]["description"] == 'Default: "2020-01-01".'
    assert found["kids"]["description"] == "Default: []."
    assert found["maxResults"]["description"] == "Default: 3."
    schema = json.loads(shape_of(Node[int]).schema)
    assert schema["$defs"]["Color"] == {
        "type": "string",
        "enum": ["red"],
        "description": "The color of paint.",
    }
    assert schema["description"] == "A node."


def test_a_class_that_holds_itself_is_made_again() -> None:
    """Values are instances of the class, at any depth, with its defaults."""
    text = '{"value":1,"maxResults":5,"kids":[{"value":2,"kids":[{"value":3,"at":"2024-01-01"}]}],"extra":7}'
    made = shape_of(Node[int]).decode(text)
    inner: Node[int] = Node(3, datetime.date(2024, 1, 1), top=3)
    assert made == Node(1, LAST, [Node(2, LAST, [inner], top=3)], 7, Color.RED, 5)
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(Node[int]).decode('{"value":-1,"maxResults":9,"kids":[{"value":2,"kids":[{"value":-3}]}]}')
    assert [path for path, _ in caught.value.problems] == [
        "$.value",
        "$.kids[0].kids[0].value",
        "$.maxResults",
    ]


class Checked(msgspec.Struct, tag="checked", rename="camel", forbid_unknown_fields=True):
    """A Struct with everything."""

    in_it: Annotated[int, at.Ge(1)]
    tags: set[Annotated[str, Field(min_length=2)]] = set()

    def __post_init__(self) -> None:
        if self.in_it == 7:
            raise ValueError("7 is taken")


class Plain(msgspec.Struct, tag="plain"):
    x: int


class Words(TypedDict):
    must: Annotated[str, "the word"]
    may: NotRequired[Annotated[int, Field(lt=3)]]


class Pair(NamedTuple):
    left: int
    right: str


def test_structs_keep_their_tag_names_and_checks() -> None:
    """Also in a union, where the tag decides."""
    shape = shape_of(list[Checked | Plain])
    text = '{"value":[{"type":"plain","x":1},{"type":"checked","inIt":2,"tags":["ab"]}]}'
    assert shape.decode(text) == [Plain(1), Checked(2, {"ab"})]
    with pytest.raises(lutum.OutputInvalid, match="7 is taken - at"):
        shape_of(Checked).decode('{"type":"checked","inIt":7}')
    with pytest.raises(lutum.OutputInvalid, match="unknown field"):
        shape_of(Checked).decode('{"type":"checked","inIt":1,"more":1}')


def test_what_a_typed_dict_need_not_have_stays_out() -> None:
    """And is checked where it is there."""
    assert shape_of(Words).decode('{"must":"a","may":null}') == {"must": "a"}
    assert shape_of(Words).decode('{"must":"a","may":2}') == {"must": "a", "may": 2}
    with pytest.raises(lutum.OutputInvalid, match=r"at \$\.may"):
        shape_of(Words).decode('{"must":"a","may":3}')


TAGS: Any = Field(default_factory=list)


async def test_field_as_a_default_works() -> None:
    """For the model, which leaves it out, and for who calls the function."""

    @lutum.tool
    async def search(q: str, top: int = Field(3, ge=1), tags: list[str] = TAGS) -> str:
        return f"{q} {top} {tags}"

    fields = json.loads(search.definition.schema)["properties"]
    assert fields["top"]["description"] == "Default: 3."
    assert await search("a") == "a 3 []"
    assert await search("a", 4) == "a 4 []"
    assert search.decode('{"q":"a"}').top == 3
    assert search.decode('{"q":"a","top":2,"tags":["t"]}').tags == ["t"]
    with pytest.raises(Exception, match=r">= 1"):
        search.decode('{"q":"a","top":0}')


# --- unions of models -----------------------------------------------------------------------------


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool


class Stone(msgspec.Struct):
    weight: float


class Nothing(BaseModel):
    note: str = ""


@dataclasses.dataclass
class Owner:
    pet: Cat | Dog
    others: list[Cat | Dog | None] = dataclasses.field(default_factory=list[Cat | Dog | None])
    by_name: Mapping[str, Cat | Dog] | None = None


def _first_letter(given: Any) -> str:
    return str(cast("Any", given)["kind"] if isinstance(given, dict) else given.kind)[0]


DOG = '{"kind":"dog","barks":true}'
UNIONS: dict[str, tuple[Any, str, Any]] = {
    "two": (Cat | Dog, DOG, Dog(kind="dog", barks=True)),
    "optional": (Cat | Dog | None, "null", None),
    "optional, given": (Cat | Dog | None, DOG, Dog(kind="dog", barks=True)),
    "a list": (list[Cat | Dog], f"[{DOG}]", [Dog(kind="dog", barks=True)]),
    "discriminated": (Annotated[Cat | Dog, Field(discriminator="kind")], DOG, Dog(kind="dog", barks=True)),
    "discriminated, in a list": (
        list[Annotated[Cat | Dog, Field(discriminator="kind")]],
        f"[{DOG}]",
        [Dog(kind="dog", barks=True)],
    ),
    "by a function": (
        Annotated[
            Annotated[Cat, pydantic.Tag("c")] | Annotated[Dog, pydantic.Tag("d")],
            pydantic.Discriminator(_first_letter),
        ],
        DOG,
        Dog(kind="dog", barks=True),
    ),
    "with a Struct": (Cat | Stone, '{"weight":2}', Stone(2.0)),
    "with a Struct, the model": (Stone | Cat, '{"kind":"cat","lives":9}', Cat(kind="cat", lives=9)),
    "with text": (Cat | str, '"tom"', "tom"),
    "with a list": (Cat | list[Dog], f"[{DOG}]", [Dog(kind="dog", barks=True)]),
    "with a model of defaults": (Nothing | Stone, '{"weight":1.5}', Stone(1.5)),
}


@pytest.mark.parametrize("case", UNIONS)
async def test_a_union_with_models_is_an_output_a_field_and_a_parameter(case: str) -> None:
    """Each union in each of the three places."""
    hint, text, value = UNIONS[case]
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta(f'{{"value":{text}}}')]]))
    assert (await llm.structured_turn(hint, "?").collect()).value == value
    for place in PLACES.values():
        assert decode(place(hint), text) == value
    if "Stone" not in str(hint):  # which pydantic does not know
        assert decode(pydantic.create_model("Holder", x=(hint, ...)), text) == value
    assert parameter(hint).decode(f'{{"x":{text}}}').x == value


def test_a_class_may_hold_several_unions() -> None:
    """In containers, beside each other, with null where null is a value."""
    text = f'{{"pet":{DOG},"others":[null,{DOG}],"by_name":null}}'
    dog = Dog(kind="dog", barks=True)
    made = parameter(Owner).decode(f'{{"x":{text}}}').x
    assert made == Owner(dog, [None, dog])
    made = parameter(Owner).decode(f'{{"x":{{"pet":{DOG},"by_name":{{"rex":{DOG}}}}}}}').x
    assert made.by_name == {"rex": dog}


def test_a_union_that_fits_no_member_says_why() -> None:
    """With the path, and pydantic's own error as the cause."""
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(Annotated[Cat | Dog, Field(discriminator="kind")]).decode('{"value":{"kind":"cow"}}')
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert "'cow'" in str(caught.value)
    with pytest.raises(lutum.OutputInvalid, match="fits none of"):
        shape_of(Cat | Stone).decode('{"value":{"weight":"heavy"}}')


def test_partial_values_of_unions_and_aliases() -> None:
    """A member is chosen once its tag is there; each name that a model takes is read."""

    class Aliased(BaseModel):
        one: int = Field(alias="theOne")
        two: str = Field(validation_alias=AliasChoices("second", AliasPath("more", 0)))
        pet: Cat | Dog | None = None

    view = as_partial(Aliased, {"theOne": 1, "more": ["x"], "pet": {"kind": "dog"}})
    assert (view.one, view.two, view.pet.kind) == (1, "x", "dog")
    assert as_partial(Aliased, {"second": "s", "more": ["x"]}).two == "s"
    assert as_partial(Cat | Dog, {"lives": 1}) is msgspec.UNSET
    assert as_partial(Owner, {"pet": {"kind": "cat", "lives": 3}}).pet.lives == 3


# --- all errors -----------------------------------------------------------------------------------


class Part(BaseModel):
    size: int
    name: str


@dataclasses.dataclass
class Whole:
    a: int
    b: Annotated[str, Field(max_length=2)]
    parts: list[Part]
    days: list[datetime.date]


def test_every_error_is_named_at_once() -> None:
    """Those of msgspec and of pydantic, each with its path; pydantic's error is the cause."""
    text = (
        '{"a":"x","b":"long","parts":[{"size":"s"},{"size":1,"name":"n"},{"size":1,"name":2}],"days":["no"]}'
    )
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(Whole).decode(text)
    paths = [path for path, _ in caught.value.problems]
    assert paths == ["$.a", "$.b", "$.parts[0].size", "$.parts[0]", "$.parts[2].name", "$.days[0]"]
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert caught.value.path == "$.a"
    assert all(path in str(caught.value) for path in paths)
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(Whole).decode('{"days":[]}')
    assert [reason for _, reason in caught.value.problems] == [
        f"Object missing required field `{name}`" for name in ("a", "b", "parts")
    ]


def test_of_a_thousand_errors_some_are_named() -> None:
    """So that the message can be sent to the model."""
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(list[int]).decode(json.dumps({"value": ["x"] * 1000}))
    assert len(caught.value.problems) == 20


INTEGERS: dict[str, tuple[Any, str, Any]] = {
    "2.0": (int, "2.0", 2),
    "-3e0": (int, "-3e0", -3),
    "in a list": (list[int], "[1.0,2]", [1, 2]),
    "optional": (int | None, "4.0", 4),
    "an integer enum": (Literal[1, 2], "2.0", 2),
    "a bound": (Annotated[int, Field(le=2)], "2.0", 2),
    "a float stays": (float, "2.0", 2.0),
    "a float or an integer": (int | float, "2.0", 2.0),
    "in a dict": (dict[str, int], '{"a":5.0}', {"a": 5}),
    "in a tuple": (tuple[int, float], "[1.0,1.0]", (1, 1.0)),
    "as any": (Any, "2.0", 2.0),
}


@pytest.mark.parametrize("case", INTEGERS)
def test_a_whole_float_is_an_integer_where_one_is_expected(case: str) -> None:
    """Models write `2.0` for 2."""
    hint, text, value = INTEGERS[case]
    got = parameter(hint).decode(f'{{"x":{text}}}').x
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"), [("1e30", "above 2^53"), ("2.5", "not a whole number"), ("1e400", "out of range")]
)
def test_a_float_that_is_no_integer_is_refused_with_the_reason(text: str, reason: str) -> None:
    """1e30 is not exact, and one more digit would be another number."""
    with pytest.raises(Exception, match=re.escape(reason)):
        parameter(int).decode(f'{{"x":{text}}}')
