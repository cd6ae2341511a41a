"""A type to the schema that is sent, and the answer to a value."""

import dataclasses
import datetime
import decimal
import enum
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attr
import attrs
import msgspec
import pytest
from hypothesis import given, strategies as st
from msgspec import UNSET, Meta, UnsetType

from lutum import BadValue, OutputInvalid
from lutum._schema.shape import shape_of
from lutum.abc import SchemaDialect
from lutum.dialect.schema import narrow
from lutum_claude._wire import SCHEMAS as CLAUDE
from lutum_openai._schemas import SCHEMAS as OPENAI

T = TypeVar("T")


def schema(type: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shape_of(type).schema)
    return found


# What each provider says it takes, written down here a second time.

FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
KEYWORDS = {
    "object": {"properties", "required", "additionalProperties", "$defs"},
    "array": {"items"},
    "string": {"enum", "format"},
    "integer": {"enum"},
    "number": {"enum"},
    "boolean": {"enum"},
    "null": set[str](),
}


def check_strict(root: dict[str, Any], constraints: dict[str, set[str]], formats: set[str]) -> None:
    """Assert that a schema keeps to the rules of strict modes."""
    defs = root.get("$defs", {})
    used = set[str]()

    def check(node: dict[str, Any]) -> None:
        if "$ref" in node:
            assert node.keys() == {"$ref"}
            assert node["$ref"].removeprefix("#/$defs/") in defs
            used.add(node["$ref"].removeprefix("#/$defs/"))
        elif "anyOf" in node:
            assert node.keys() <= {"anyOf", "description"}
            assert node["anyOf"]
            for arm in node["anyOf"]:
                check(arm)
        else:
            kind = node["type"]
            assert node.keys() <= KEYWORDS[kind] | constraints.get(kind, set()) | {"type", "description"}
            assert node.get("format", "date") in formats
            if kind == "object":
                assert node["additionalProperties"] is False
                assert node["required"] == list(node["properties"])
                for child in node["properties"].values():
                    check(child)
            if kind == "array":
                check(node["items"])

    assert root["type"] == "object"
    check(root)
    for node in defs.values():
        check(node)
    assert used == set(defs)


def check_openai(text: str) -> None:
    root = json.loads(text)
    limits = {"string": {"pattern"}, "integer": NUMBERS, "number": NUMBERS, "array": {"minItems", "maxItems"}}
    check_strict(root, limits, FORMATS)
    assert not re.search(r"\(\?<?[=!]", "".join(re.findall(r'"pattern":"([^"]*)"', text)))


def check_anthropic(text: str) -> None:
    root = json.loads(text)
    check_strict(root, {"array": {"minItems"}}, FORMATS | {"uri"})
    assert all(int(n) <= 1 for n in re.findall(r'"minItems":(\d+)', text))

    def follow(node: Any, open_: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            if isinstance(ref := node.get("$ref"), str):
                assert ref not in open_
                follow(root["$defs"][ref.removeprefix("#/$defs/")], (*open_, ref))
            for key, child in node.items():
                if key != "$defs":
                    follow(child, open_)
        elif isinstance(node, list):
            for child in node:
                follow(child, open_)

    follow(root, ())


# Random types: each strategy draws a type and a strategy for (value, what the model writes for it).

Pair = tuple[Any, Any]
Typed = tuple[Any, st.SearchStrategy[Pair]]
names = st.from_regex(r"[a-z]{1,3}_[a-z]{1,3}", fullmatch=True).filter(str.isidentifier)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def leaf(type: Any, values: st.SearchStrategy[Any], write: Callable[[Any], Any] = lambda v: v) -> Typed:
    return type, values.map(lambda value: (value, write(value)))


def encoded(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


class Hue(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


leaves: st.SearchStrategy[Typed] = st.sampled_from(
    [
        leaf(int, st.integers()),
        leaf(str, words),
        leaf(bool, st.booleans()),
        leaf(float, st.floats(allow_nan=False, allow_infinity=False)),
        leaf(Hue, st.sampled_from(Hue), encoded),
        leaf(Level, st.sampled_from(Level), encoded),
        leaf(Literal["a", 3], st.sampled_from(["a", 3])),
        leaf(int | str, st.integers() | words),
        leaf(datetime.date, st.dates(), encoded),
        leaf(datetime.datetime, st.datetimes(timezones=st.just(datetime.UTC)), encoded),
        # Not st.uuids(): two draws of it share a generator by name, of which hypothesis then warns.
        leaf(uuid.UUID, st.builds(uuid.UUID, int=st.integers(0, 2**128 - 1)), encoded),
        leaf(decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False), encoded),
        leaf(bytes, st.binary(max_size=5), encoded),
        leaf(Annotated[int, Meta(ge=-2, lt=50, description="how many")], st.integers(-2, 49)),
        leaf(Annotated[str, Meta(min_length=1, max_length=9, pattern="^x")], st.just("xyz")),
        leaf(
            Annotated[list[int], Meta(min_length=1, max_length=3)],
            st.lists(st.integers(), min_size=1, max_size=3),
        ),
        leaf(frozenset[int], st.frozensets(st.integers()), sorted),
    ]
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    """A class of one of the kinds, with fields that may have defaults."""
    fields = draw(st.lists(st.tuples(names, inner, st.booleans()), max_size=4, unique_by=lambda one: one[0]))
    fields.sort(key=lambda one: one[2])  # those with defaults come last
    plan: list[tuple[str, Any, st.SearchStrategy[Pair], Any]] = []
    for name, (type, pairs), optional in fields:
        default = draw(pairs)[0] if optional else UNSET
        written = (
            pairs if default is UNSET else st.just((default, None)) | pairs.filter(lambda p: p[1] is not None)
        )
        plan.append((name, type, written, default))
    kind = draw(st.sampled_from(["struct", "dataclass", "typeddict", "attrs"]))
    if kind == "struct":
        made: Any = msgspec.defstruct(
            "Struct",
            [
                (n, t) if d is UNSET else (n, t, msgspec.field(default_factory=lambda d=d: d))
                for n, t, _, d in plan
            ],
            rename=draw(st.sampled_from([None, "camel"])),
        )
    elif kind == "dataclass":
        made = dataclasses.make_dataclass(
            "Data",
            [
                (n, t) if d is UNSET else (n, t, dataclasses.field(default_factory=lambda d=d: d))
                for n, t, _, d in plan
            ],
        )
    elif kind == "attrs":
        made = attrs.make_class(
            "Attrs",
            {
                n: attrs.field(type=t, default=attrs.NOTHING if d is UNSET else attrs.Factory(lambda d=d: d))
                for n, t, _, d in plan
            },
        )
    else:
        made = TypedDict("Typed", {n: t if d is UNSET else NotRequired[t] for n, t, _, d in plan})
    keys = {n: n for n, *_ in plan}
    if kind == "struct":
        keys = dict(zip(made.__struct_fields__, made.__struct_encode_fields__, strict=True))

    def build(pairs: dict[str, Pair]) -> Pair:
        wire = {keys[name]: written for name, (_, written) in pairs.items()}
        values = {name: value for name, (value, _) in pairs.items()}
        if kind == "typeddict":
            gone = {n for n, _, _, d in plan if d is not UNSET and pairs[n][1] is None}
            values = {name: value for name, value in values.items() if name not in gone}
        return made(**values), wire

    return made, st.fixed_dictionaries({n: written for n, _, written, _ in plan}).map(build)


@st.composite
def tagged(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    """A union of Structs told apart by a tag, which is text or a number."""
    numbered = draw(st.booleans())
    arms, pairs = [], []
    for i in range(draw(st.integers(2, 3))):
        type, values = draw(inner)
        tag = i if numbered else f"kind{i}"
        arm = msgspec.defstruct("Arm", [("item", type), ("size", int, 7)], tag=tag, tag_field="kind")
        arms.append(arm)
        sizes = st.just((7, None)) | st.integers().map(lambda n: (n, n))
        pairs.append(
            st.tuples(values, sizes).map(
                lambda both, arm=arm, tag=tag: (
                    arm(both[0][0], both[1][0]),
                    {"kind": tag, "item": both[0][1], "size": both[1][1]},
                )
            )
        )
    union = arms[0]
    for arm in arms[1:]:
        union = union | arm
    return union, st.one_of(pairs)


def lists(inner: Typed) -> Typed:
    type, pairs = inner
    return list[type], st.lists(pairs, max_size=3).map(
        lambda found: ([v for v, _ in found], [w for _, w in found])
    )


def optional(inner: Typed) -> Typed:
    type, pairs = inner
    return type | None, st.none().map(lambda _: (None, None)) | pairs


types: st.SearchStrategy[Typed] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lists), inner.map(optional), objects(inner), objects(inner), tagged(inner)
    ),
    max_leaves=6,
)


@given(types, st.data())
def test_round_trip(typed: Typed, data: st.DataObject) -> None:
    """Any type has a schema that strict modes take; what it allows decodes to the equal value."""
    type, pairs = typed
    shape = shape_of(type)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", shape.name)
    value, written = data.draw(pairs)
    wire = {"value": written} if shape.wrapped else written
    for dialect, check in ((OPENAI, check_openai), (CLAUDE, check_anthropic)):
        narrowed, dropped = narrow(shape.schema, dialect)
        check(narrowed)
        assert narrow(narrowed, dialect) == (narrowed, ())
        assert all(line.startswith("$") for line in dropped + shape.dropped)
    assert same(shape.decode(json.dumps(wire)), value)
    assert same(shape.decode(json.dumps(wire, ensure_ascii=False).encode()), value)
    reader = shape.partial()
    reader.feed(json.dumps(wire))
    assert reader.value() == wire


@pytest.mark.slow
@given(types, st.data())
def test_the_schema_allows_what_the_type_does(typed: Typed, data: st.DataObject) -> None:
    """Each form of the schema is one that `jsonschema` accepts, and so is each value under it."""
    jsonschema = pytest.importorskip("jsonschema")
    type, pairs = typed
    shape = shape_of(type)
    _, written = data.draw(pairs)
    wire = {"value": written} if shape.wrapped else written
    for text in (shape.schema, narrow(shape.schema, OPENAI)[0], narrow(shape.schema, CLAUDE)[0]):
        jsonschema.Draft202012Validator.check_schema(json.loads(text))
        jsonschema.validate(wire, json.loads(text))


def same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


@given(types, st.text(max_size=30), st.data())
def test_damaged_text_is_a_value_or_output_invalid(typed: Typed, noise: str, data: st.DataObject) -> None:
    """Text cut or written over decodes or raises `OutputInvalid`; nothing else comes out."""
    type, pairs = typed
    shape = shape_of(type)
    _, written = data.draw(pairs)
    text = json.dumps({"value": written} if shape.wrapped else written)
    at = data.draw(st.integers(0, len(text)))
    for damaged in (noise, text[:at], text[:at] + noise + text[at:], text + noise, noise + text):
        error: OutputInvalid | None = None
        try:
            shape.decode(damaged)
        except OutputInvalid as exc:
            error = exc
        assert error is None or (error.raw == damaged and error.path.startswith("$"))


class Actor(msgspec.Struct):
    name: Annotated[str, Meta(min_length=2)]
    born: datetime.date | None = None


class Award(msgspec.Struct, tag="award"):
    year: Annotated[int, Meta(ge=1900)] = 2000


class Nomination(msgspec.Struct, tag="nomination"):
    year: int


class Movie(msgspec.Struct, rename="camel"):
    """A film."""

    the_title: str
    cast: list[Actor]
    hue: Hue = Hue.RED
    honours: list[Award | Nomination] = []
    more: "Movie | None" = None


@dataclasses.dataclass
class Even:
    n: int

    def __post_init__(self) -> None:
        if self.n % 2:
            raise ValueError("it is odd")


MOVIE = '{"theTitle":"x","cast":[],"hue":null,"honours":null,"more":null}'


def movie(**changes: str) -> str:
    """The movie's JSON, with the JSON of some members replaced or added."""
    parts = {key: msgspec.Raw(value.encode()) for key, value in changes.items()}
    return msgspec.json.encode({**json.loads(MOVIE), **parts}).decode()


@pytest.mark.parametrize(
    ("type", "text", "path"),
    [
        (Movie, movie(theTitle="3"), "$.theTitle"),
        (Movie, movie(hue='"green"'), "$.hue"),
        (Movie, movie(cast='[{"name":"Al","born":null},{"name":"x","born":null}]'), "$.cast[1].name"),
        (Movie, movie(cast='[{"name":"Al","born":"today"}]'), "$.cast[0].born"),
        (Movie, movie(cast='[{"born":null}]'), "$.cast[0]"),
        (
            Movie,
            movie(honours='[{"type":"award","year":null},{"type":"award","year":1}]'),
            "$.honours[1].year",
        ),
        (Movie, movie(honours='[{"type":"nomination","year":null}]'), "$.honours[0].year"),
        (Movie, movie(honours='[{"type":"prize","year":1}]'), "$.honours[0].type"),
        (Movie, movie(more=movie(more=movie(theTitle="[]"))), "$.more.more.theTitle"),
        (Movie, "[]", "$"),
        (Movie, "{}", "$"),
        (Movie, movie(honours='[{"type":"award","year":' + "1" * 5_000 + "}]"), "$.honours[0].year"),
        (list[Even], '{"value":[{"n":2},{"n":3}]}', "$[1]"),
        (list[int], '{"value":[1,"2"]}', "$[1]"),
        (list[int], '{"value":[1],"other":2}', "$"),
        (list[int], "[1]", "$"),
        (int, '{"value":1.5}', "$"),
        (int | None, '{"value":"x"}', "$"),
        (Annotated[list[int], Meta(max_length=1)], '{"value":[1,2]}', "$"),
        (float, '{"value":1e400}', "$"),
    ],
)
def test_wrong_values_have_their_path(type: Any, text: str, path: str) -> None:
    """`OutputInvalid` says where the value is wrong, in the caller's type and not in its wrapper."""
    with pytest.raises(OutputInvalid) as caught:
        shape_of(type).decode(text)
    assert caught.value.path == path
    assert caught.value.raw == text
    assert str(caught.value).endswith(f" - at {path}")


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("", "$", "not one JSON value"),
        (" \n", "$", "not one JSON value"),
        (f"Here you are: {MOVIE}", "$", "not one JSON value"),
        (f"{MOVIE} I hope it helps", "$", "not one JSON value"),
        (f"```json\n{MOVIE}\n```", "$", "not one JSON value"),
        (f"{MOVIE}{MOVIE}", "$", "not one JSON value"),
        (f"{MOVIE}}}", "$", "not one JSON value"),
        (MOVIE[:-1], "$", "not one JSON value"),
        (f"\ufeff{MOVIE}", "$", "not one JSON value"),
        (movie().replace('"x"', "'x'"), "$", "not one JSON value"),
        (movie().replace('"x"', '"a\nb"'), "$", "not one JSON value"),
        (movie().replace('"x"', "NaN"), "$", "NaN is not a number"),
        (movie().replace('"x"', "-Infinity"), "$", "-Infinity is not a number"),
        (MOVIE.replace("{", '{"theTitle":"y",', 1), "$.theTitle", "twice"),
        (MOVIE.replace("{", '{"the\\u0054itle":"y",', 1), "$.theTitle", "twice"),
        (movie(cast='[{"name":"Al","name":"Bo","born":null}]'), "$.cast[0].name", "twice"),
        (movie(unknown='[[{"a":[{"b":1,"b":1}]}]]'), "$.unknown[0][0].a[0].b", "twice"),
        ("[" * 10_000, "$", "nested too deeply"),
        (movie(cast="[" * 10_000 + "]" * 10_000), "$", "nested too deeply"),
        ('{"more":' * 10_000 + "null" + "}" * 10_000, "$", "nested too deeply"),
        (movie(theTitle='"\\ud800"'), "$.theTitle", "surrogate"),
        (movie(cast='[{"name":"\\udc00 and more text"}]'), "$.cast[0].name", "surrogate"),
        (movie(theTitle='"\\ud800\\u0041"'), "$.theTitle", "surrogate"),
        (movie().replace('"x"', '"\ud800"'), "$", "surrogate"),
        (movie(theTitle="1" * 5_000), "$.theTitle", "out of range"),
    ],
)
def test_oddities_are_output_invalid(text: str, path: str, says: str) -> None:
    """Prose, fences, a second value, doubled keys, NaN, deep nesting, surrogates: a typed error."""
    plain = {"theTitle": str, "cast": list[Actor]}
    for type in (Movie, msgspec.defstruct("Plain", list(plain.items()))):
        with pytest.raises(OutputInvalid) as caught:
            shape_of(type).decode(text)
        if type is Movie:
            assert caught.value.path == path
            assert says in str(caught.value)
        assert caught.value.raw == text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"value":[1],"value":[2]}', "$"),
        ('{"value":["a","\\ud800"]}', "$[1]"),
        ('{"value":[{"a":1,"a":1}]}', "$[0].a"),
    ],
)
def test_oddities_inside_the_wrapper(text: str, path: str) -> None:
    """Their paths leave the wrapper out, as all paths do."""
    with pytest.raises(OutputInvalid) as caught:
        shape_of(list[str]).decode(text)
    assert caught.value.path == path


def test_bytes_that_are_no_utf8() -> None:
    """Bytes decode like text, and what is no UTF-8 is shown as well as it can be."""
    assert shape_of(Movie).decode(MOVIE.encode()) == Movie("x", [])
    with pytest.raises(OutputInvalid, match="not UTF-8") as caught:
        shape_of(Movie).decode(b'{"theTitle":"\xff"}')
    assert caught.value.raw == '{"theTitle":"\ufffd"}'


class Box(msgspec.Struct, Generic[T]):
    item: T


class Optionals(msgspec.Struct):
    nullable: int | None
    both: int | None = 5
    gone: int | UnsetType = UNSET
    inner: list[Box[Award]] = []


def test_null_is_the_default_exactly_where_there_is_one() -> None:
    """A field with a default takes it from null, at any depth; null stays where it is a value."""
    nulls = '{"nullable":null,"both":null,"gone":null,"inner":null}'
    assert shape_of(Optionals).decode(nulls) == Optionals(None, 5, UNSET, [])
    inner = '{"nullable":1,"both":2,"gone":3,"inner":[{"item":{"type":"award","year":null}}]}'
    assert shape_of(Optionals).decode(inner) == Optionals(1, 2, 3, [Box(Award(2000))])
    both = {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "Default: 5."}
    assert schema(Optionals)["properties"]["both"] == both
    assert schema(Optionals)["required"] == ["nullable", "both", "gone", "inner"]


def test_defaults_of_members_told_apart_by_a_number() -> None:
    """Tags may be integers; the right member's defaults are used."""
    one = msgspec.defstruct("One", [("n", int, 4)], tag=1, tag_field="v")
    two = msgspec.defstruct("Two", [("n", int | None)], tag=2, tag_field="v")
    values = shape_of(list[one | two]).decode('{"value":[{"v":1,"n":null},{"v":2,"n":null}]}')
    assert values == [one(4), two(None)]


def test_a_described_reference() -> None:
    """Strict modes take no words beside a `$ref`, so it stands in an anyOf of one."""
    made = msgspec.defstruct("A", [("who", Annotated[Actor, Meta(description="the lead")])])
    assert schema(made)["properties"]["who"] == {
        "anyOf": [{"$ref": "#/$defs/Actor"}],
        "description": "the lead",
    }
    root = Annotated[Actor, Meta(description="the lead")]
    assert (schema(root)["description"], schema(root)["type"]) == ("the lead", "object")


def test_numbers_keep_their_digits() -> None:
    """Leaving nulls out does not rewrite the numbers beside them."""

    class Price(msgspec.Struct):
        amount: decimal.Decimal
        count: int
        note: str = ""

    text = '{"amount":1.10,"count":123456789012345678901234567890,"note":null}'
    value = shape_of(Price).decode(text)
    assert str(value.amount) == "1.10"
    assert value.count == 123456789012345678901234567890


REFUSED: dict[str, tuple[Any, str]] = {
    "dict": (dict[str, int], "$"),
    "any": (Any, "$"),
    "bare list": (list, "$[]"),
    "tuple": (tuple[int, str], "$"),
    "raw": (msgspec.Raw, "$"),
    "custom": (complex, "$"),
    "dict in a list": (list[dict[str, int]], "$[]"),
    "dict further in": (
        msgspec.defstruct("A", [("b", list[msgspec.defstruct("B", [("c", dict[str, int])])])]),
        "$.b[].c",
    ),
    "optional tuple": (msgspec.defstruct("A", [("b", tuple[int, int] | None)]), "$.b"),
    "custom field": (msgspec.defstruct("A", [("b", complex)]), "$.b"),
    "named tuple": (NamedTuple("N", [("a", int)]), "$"),
    "array_like": (msgspec.defstruct("A", [("b", int)], array_like=True), "$"),
    "untagged": (msgspec.defstruct("A", [("b", int)]) | msgspec.defstruct("B", [("b", int)]), "$"),
    "unresolved": (list["Missing"], "$"),  # noqa: F821
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_strict_schema_can_say_is_refused(case: str) -> None:
    """The error comes when the turn is built and names the path."""
    type, path = REFUSED[case]
    with pytest.raises(BadValue) as caught:
        shape_of(type)
    assert caught.value.field == path


def test_the_schema_of_a_movie() -> None:
    """The whole form: closed, all required, references, tags typed, words kept, titles not."""
    text = shape_of(Movie).schema
    assert json.loads(text) == {
        "type": "object",
        "description": "A film.",
        "properties": {
            "theTitle": {"type": "string"},
            "cast": {"type": "array", "items": {"$ref": "#/$defs/Actor"}},
            "hue": {"anyOf": [{"$ref": "#/$defs/Hue"}, {"type": "null"}], "description": 'Default: "red".'},
            "honours": {
                "anyOf": [
                    {
                        "type": "array",
                        "items": {"anyOf": [{"$ref": "#/$defs/Award"}, {"$ref": "#/$defs/Nomination"}]},
                    },
                    {"type": "null"},
                ],
                "description": "Default: [].",
            },
            "more": {"anyOf": [{"$ref": "#/$defs/Movie"}, {"type": "null"}]},
        },
        "required": ["theTitle", "cast", "hue", "honours", "more"],
        "additionalProperties": False,
        "$defs": {
            **json.loads(text)["$defs"],
            "Movie": {k: v for k, v in json.loads(text).items() if k != "$defs"},
        },
    }
    defs = json.loads(text)["$defs"]
    assert set(defs) == {"Actor", "Hue", "Award", "Nomination", "Movie"}
    assert defs["Hue"] == {
        "type": "string",
        "enum": ["red", "blue"],
        "description": "What a thing looks like.",
    } or (defs["Hue"] == {"type": "string", "enum": ["red", "blue"]})
    assert defs["Award"]["properties"]["type"] == {"type": "string", "enum": ["award"]}
    assert shape_of(Movie).dropped == ()


def test_a_root_that_is_not_recursive_is_inlined() -> None:
    """Without a use the root's definition is left out."""
    assert "$defs" not in schema(Actor)
    assert schema(msgspec.defstruct("Empty", [])) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("type", "name"),
    [
        (Movie, "Movie"),
        (list[Movie], "list_Movie"),
        (Box[int], "Box_int"),
        (int | None, "int_None"),
        (msgspec.defstruct("N" * 80, []), "N" * 64),
        (msgspec.defstruct("Größe", []), "Gr_e"),
    ],
)
def test_names_are_what_providers_take(type: Any, name: str) -> None:
    """The name is the type's, in the letters that are allowed, at most 64 of them."""
    found = shape_of(type).name
    assert found == name or re.sub(r"_+", "_", found) == name


def test_shapes_are_made_once() -> None:
    """The same type has the same shape, and an unhashable annotation has one too."""
    assert shape_of(Movie) is shape_of(Movie)
    odd = Annotated[int, Meta(extra_json_schema={"examples": [1]})]
    assert shape_of(odd).decode('{"value":3}') == 3


def test_constraints_that_a_provider_does_not_take_are_told_and_enforced() -> None:
    """Dropped from its schema, listed, said in the description, and checked on decode."""

    class Form(msgspec.Struct):
        code: Annotated[str, Meta(max_length=3, pattern="^(?=a)", description="a code")]
        when: Annotated[datetime.datetime, Meta(tz=False)]
        tags: set[int]
        mail: Annotated[str, Meta(extra_json_schema={"format": "email"})]
        link: Annotated[str, Meta(extra_json_schema={"format": "uri", "examples": ["x"], "title": "Link"})]

    shape = shape_of(Form)
    assert shape.dropped == ()
    dropped = narrow(shape.schema, OPENAI)[1]
    assert dropped == (
        "$.code: maxLength 3",
        "$.code: pattern ^(?=a)",
        "$.when: format local-date-time",
        "$.tags: uniqueItems true",
        "$.link: format uri",
    )
    fields = json.loads(narrow(shape.schema, CLAUDE)[0])["properties"]
    assert fields["code"] == {
        "type": "string",
        "description": "a code\n\nConstraints: maxLength 3; pattern ^(?=a).",
    }
    assert fields["mail"] == {"type": "string", "format": "email"}
    assert fields["link"] == {"type": "string", "format": "uri", "description": 'Examples: "x".'}
    good = '{"code":"abc","when":"2020-01-02T03:04:05","tags":[1],"mail":"m","link":"l"}'
    assert shape.decode(good).code == "abc"
    with pytest.raises(OutputInvalid, match=r"at \$\.code"):
        shape.decode(good.replace("abc", "abcd"))
    with pytest.raises(OutputInvalid, match=r"at \$\.when"):
        shape.decode(good.replace("04:05", "04:05Z"))
    everything = SchemaDialect(
        name="x",
        keywords=frozenset({"maxLength", "pattern", "uniqueItems"}),
        formats=frozenset({"email", "local-date-time", "uri"}),
        lookaround=True,
    )
    assert narrow(shape.schema, everything) == (shape.schema, ())  # a server that takes all of JSON Schema
    assert schema(Form)["properties"]["code"]["maxLength"] == 3


def test_narrowing_for_each_provider() -> None:
    """OpenAI keeps numbers, patterns and lengths of arrays; Anthropic keeps minItems 0 and 1 alone."""

    class Form(msgspec.Struct):
        n: Annotated[int, Meta(ge=1, lt=9)]
        s: Annotated[str, Meta(pattern="^a", description="It starts with a.")]
        many: Annotated[list[Annotated[float, Meta(multiple_of=0.5)]], Meta(min_length=2, max_length=4)]
        one: Annotated[list[int], Meta(min_length=1)]

    shape = shape_of(Form)
    assert shape.dropped == ()
    assert narrow(shape.schema, OPENAI) == (shape.schema, ())
    text, dropped = narrow(shape.schema, CLAUDE)
    assert dropped == (
        "$.n: exclusiveMaximum 9",
        "$.n: minimum 1",
        "$.s: pattern ^a",
        "$.many: maxItems 4",
        "$.many: minItems 2",
        "$.many[]: multipleOf 0.5",
    )
    fields = json.loads(text)["properties"]
    assert fields["s"]["description"] == "It starts with a.\n\nConstraints: pattern ^a."
    assert fields["n"] == {"type": "integer", "description": "Constraints: exclusiveMaximum 9; minimum 1."}
    assert fields["one"]["minItems"] == 1


def test_a_recursive_schema_is_refused_for_anthropic() -> None:
    """It takes none; the error names the path and the type."""
    assert narrow(shape_of(Movie).schema, OPENAI)[1] == ("$.cast[].name: minLength 2",)
    with pytest.raises(BadValue, match="Movie refers to itself") as caught:
        narrow(shape_of(Movie).schema, CLAUDE)
    assert caught.value.field == "$.more.more"


def test_fields_may_be_called_like_keywords() -> None:
    """A property named `title`, `default`, `$ref` or `enum` is a property."""
    made = msgspec.defstruct(
        "K",
        [("title", int), ("default", str), ("ref", int), ("type", str), ("enum", int)],
        rename={"ref": "$ref"},
    )
    text = '{"title":1,"default":"d","$ref":2,"type":"t","enum":3}'
    check_openai(shape_of(made).schema)
    assert shape_of(made).decode(text) == made(1, "d", 2, "t", 3)


def test_types_of_one_name_have_their_own_definitions() -> None:
    """Two classes called the same do not meet in `$defs`."""
    one, two = msgspec.defstruct("Same", [("a", int)]), msgspec.defstruct("Same", [("b", str)])
    both = msgspec.defstruct("Both", [("x", list[one]), ("y", list[two])])
    assert set(schema(both)["$defs"]) == {"Same", "Same_2"}


def test_decoding_a_megabyte() -> None:
    """A large value goes through both ways of decoding."""
    movie_ = json.loads(MOVIE)
    movie_["cast"] = [{"name": f"actor {i}", "born": None} for i in range(30_000)]
    assert len(shape_of(Movie).decode(json.dumps(movie_)).cast) == 30_000
    assert len(shape_of(list[int]).decode(json.dumps({"value": list(range(150_000))}))) == 150_000


# Pydantic.


def models() -> Any:
    pydantic = pytest.importorskip("pydantic")

    class Part(pydantic.BaseModel):
        size: int = pydantic.Field(3, ge=1)
        weight: decimal.Decimal | None = None

    class Node(pydantic.BaseModel):
        """A node."""

        full_name: str = pydantic.Field(alias="fullName", min_length=2)
        part: Part
        hue: Hue = Hue.BLUE
        kind: Literal["node"] = "node"
        children: list["Node"] = pydantic.Field(default_factory=list)

        @pydantic.field_validator("full_name")
        @classmethod
        def no_spaces(cls, value: str) -> str:
            if " " in value:
                raise ValueError("it has spaces")
            return value

    Node.model_rebuild(_types_namespace={"Node": Node})
    return pydantic, Part, Node


NODE = '{"fullName":"root","part":{"size":null,"weight":1.25},"hue":null,"kind":null,"children":null}'


def test_pydantic_models() -> None:
    """A model's schema is made strict, its definitions hoisted, and pydantic validates."""
    _, Part, Node = models()
    shape = shape_of(Node)
    check_openai(narrow(shape.schema, OPENAI)[0])
    assert set(json.loads(shape.schema)["$defs"]) == {"Part", "Hue", "Node"}
    value = shape.decode(NODE)
    assert isinstance(value, Node)
    assert (value.full_name, value.part.size, value.hue, value.children) == ("root", 3, Hue.BLUE, [])
    assert value.part == Part(weight=decimal.Decimal("1.25"))
    assert "$.fullName: minLength 2" in narrow(shape.schema, OPENAI)[1]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (NODE.replace('"root"', '"has spaces"'), "$.fullName"),
        (NODE.replace('"root"', "3"), "$.fullName"),
        (NODE.replace('"size":null', '"size":0'), "$.part.size"),
        (
            NODE.replace('"children":null', f'"children":[{NODE.replace("1.25", "[]")}]'),
            "$.children[0].part.weight",
        ),
        (NODE.replace('"fullName":"root",', ""), "$"),
    ],
)
def test_pydantic_errors_have_their_path(text: str, path: str) -> None:
    """What pydantic refuses is `OutputInvalid` at the same kind of path, also inside other types."""
    _, _, Node = models()
    with pytest.raises(OutputInvalid) as caught:
        shape_of(Node).decode(text)
    assert caught.value.path == path
    holder = msgspec.defstruct("Holder", [("nodes", list[Node]), ("last", Node | None, None)])
    with pytest.raises(OutputInvalid) as caught:
        shape_of(holder).decode(f'{{"nodes":[{NODE},{text}],"last":null}}')
    assert caught.value.path == path.replace("$", "$.nodes[1]", 1)


def test_pydantic_inside_other_types() -> None:
    """Models in Structs, lists and options; a string of JSON is not taken for a model."""
    pydantic, _, Node = models()
    holder = msgspec.defstruct("Holder", [("nodes", list[Node]), ("last", Node | None, None)])
    value = shape_of(holder).decode(f'{{"nodes":[{NODE}],"last":null}}')
    assert value.nodes[0].full_name == "root"
    assert value.last is None
    full = '{"fullName":"root","part":{"size":3}}'
    assert shape_of(holder).decode(f'{{"nodes":[{full}],"last":null}}').nodes[0].full_name == "root"
    with pytest.raises(OutputInvalid) as caught:
        shape_of(holder).decode(f'{{"nodes":[{json.dumps(full)}],"last":null}}')
    assert caught.value.path == "$.nodes[0]"
    assert shape_of(list[Node]).decode(f'{{"value":[{NODE}]}}')[0].part.size == 3
    Names = pydantic.RootModel[list[str]]
    assert shape_of(Names).wrapped
    assert shape_of(Names).decode('{"value":["a"]}').root == ["a"]


def test_pydantic_unions() -> None:
    """Told apart by their discriminator, each member gets its own defaults."""
    pydantic, _, _ = models()
    Cat = pydantic.create_model("Cat", kind=(Literal["cat"], ...), lives=(int, 9))
    Dog = pydantic.create_model("Dog", kind=(Literal["dog"], ...), lives=(int | None, ...))
    Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
    Home = pydantic.create_model("Home", pets=(list[Pet], ...))
    shape = shape_of(Home)
    check_openai(narrow(shape.schema, OPENAI)[0])
    check_anthropic(narrow(shape.schema, CLAUDE)[0])
    home = shape.decode('{"pets":[{"kind":"cat","lives":null},{"kind":"dog","lives":null}]}')
    assert [pet.lives for pet in home.pets] == [9, None]
    Short = pydantic.create_model("Short", x=(int, ...), d=(int, 1))
    Long = pydantic.create_model("Long", y=(int, ...), d=(int | None, ...))
    both = shape_of(pydantic.create_model("Both", rows=(list[Short | Long], ...)))
    rows = both.decode('{"rows":[{"x":1,"d":null},{"y":1,"d":null}]}').rows
    assert [row.d for row in rows] == [1, None]


def test_pydantic_types_without_a_strict_form() -> None:
    """Free dicts inside a model are refused by path, and so are dataclasses of pydantic's."""
    pydantic, _, _ = models()
    free = pydantic.create_model("Free", rows=(list[dict[str, int]], ...))
    with pytest.raises(BadValue) as caught:
        shape_of(free)
    assert caught.value.field == "$.rows[]"

    @pydantic.dataclasses.dataclass
    class Data:
        a: int

    with pytest.raises(BadValue, match="pydantic BaseModel"):
        shape_of(Data)


def test_pydantic_is_not_imported() -> None:
    """Shapes of other types import nothing."""
    code = (
        "import sys, msgspec\nfrom lutum._schema.shape import shape_of\n"
        "shape = shape_of(msgspec.defstruct('A', [('a', int, 1)]))\n"
        "before = set(sys.modules)\nshape.decode('{\"a\":null}')\n"
        "assert 'pydantic' not in sys.modules and set(sys.modules) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_attrs_class_without_annotations_has_the_types_of_its_fields() -> None:
    """msgspec reads them from 0.23 on; before that the error names the field."""

    @attr.s
    class Classic:
        n = attr.ib(type=int)
        word = attr.ib(type=Literal["a", "b"], default="a")

    if version("msgspec") < "0.23":
        with pytest.raises(BadValue, match="has no annotation") as raised:
            shape_of(Classic)
        assert raised.value.field == "$.n"
    else:
        assert shape_of(Classic).decode('{"n":1,"word":"b"}') == Classic(1, "b")
