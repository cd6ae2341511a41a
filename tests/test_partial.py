"""lutum._schema.partial: what may be shown of a JSON text before it has arrived."""

import dataclasses
import enum
import json
from typing import Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pytest
from hypothesis import given, strategies as st
from msgspec import UNSET

from lutum._schema.partial import Partial, as_partial
from lutum._schema.partial_json import PartialJson
from lutum._schema.shape import shape_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)
trees = st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """One JSON text with a container at its root, in one of the ways a model may write it."""
    indent = draw(st.sampled_from([None, 1]))
    return json.dumps(draw(trees), ensure_ascii=draw(st.booleans()), indent=indent)


def view(*pieces: str) -> Any:
    reader = PartialJson()
    for piece in pieces:
        reader.feed(piece)
    return reader.value()


def is_start(early: Any, late: Any) -> bool:
    """Whether `late` may grow out of `early`: only what was last in each container has changed."""
    if early is UNSET:
        return True
    if isinstance(early, str) and isinstance(late, str):
        return late.startswith(early)
    if isinstance(early, list) and isinstance(late, list):
        pairs = list(zip(early, late, strict=False))
        closed = all(same(a, b) for a, b in pairs[:-1])
        return len(early) <= len(late) and closed and all(is_start(a, b) for a, b in pairs[-1:])
    if isinstance(early, dict) and isinstance(late, dict):
        keys = list(early)
        closed = all(same(early[key], late[key]) for key in keys[:-1] if key in late)
        return (
            keys == list(late)[: len(keys)] and closed and all(is_start(early[k], late[k]) for k in keys[-1:])
        )
    return same(early, late)


def same(a: Any, b: Any) -> bool:
    return json.dumps(a) == json.dumps(b)


@given(json_texts())
def test_the_whole_text_is_what_json_reads(text: str) -> None:
    """Fed whole, the view is the value of the text, types and order of keys included."""
    assert same(view(text), json.loads(text))


@given(json_texts())
def test_every_prefix_is_a_start_of_the_next_view(text: str) -> None:
    """Asked after each character, a view grows only where its text was still open."""
    reader, early = PartialJson(), UNSET
    kept: list[tuple[Any, str]] = []
    for char in text:
        reader.feed(char)
        late = reader.value()
        assert is_start(early, late)
        assert is_start(late, json.loads(text))
        early = late
        kept.append((late, json.dumps(late if late is not UNSET else None)))
    assert same(early, json.loads(text))
    assert all(json.dumps(old if old is not UNSET else None) == then for old, then in kept)


@given(json_texts(), st.data())
def test_splits_and_asks_change_nothing(text: str, data: st.DataObject) -> None:
    """A prefix gives the same view however it was split, and whenever somebody asked before."""
    end = data.draw(st.integers(0, len(text)))
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=6)))
    reader = PartialJson()
    for start, stop in zip([0, *cuts], [*cuts, end], strict=True):
        reader.feed(text[start:stop])
        if data.draw(st.booleans()):
            reader.value()
    last = reader.value()
    assert last is view(text[:end]) or same(last, view(text[:end]))


@given(st.text(alphabet='{}[]":,\\ud83e0-1.truefalsn ', max_size=40))
def test_text_that_is_no_json_never_fails(text: str) -> None:
    """Whatever arrives there is a view, and what JSON reads as a container is read the same."""
    got = view(text)
    try:
        expected = json.loads(text)
        json.dumps(expected, ensure_ascii=False).encode()
    except (ValueError, UnicodeEncodeError):
        return
    if isinstance(expected, dict | list | str):
        assert same(got, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", UNSET),
        ("  ", UNSET),
        ("{", {}),
        ('{"a', {}),
        ('{"a"', {}),
        ('{"a":', {}),
        ('{"a":"', {"a": ""}),
        ('{"a":"x', {"a": "x"}),
        ('{"a":"x\\', {"a": "x"}),
        ('{"a":"x\\u00e', {"a": "x"}),
        ('{"a":"x\\ud83d', {"a": "x"}),
        ('{"a":"x\\ud83d\\ude0', {"a": "x"}),
        ('{"a":"x\\ud83d\\ude00', {"a": "x😀"}),
        ('{"a":12', {}),
        ('{"a":12 ', {"a": 12}),
        ('{"a":-1.5e2}', {"a": -150.0}),
        ('{"a":tru', {}),
        ('{"a":true', {"a": True}),
        ('{"a":[', {"a": []}),
        ('{"a":[1,2', {"a": [1]}),
        ('{"a":[[', {"a": [[]]}),
        ('{"a":1,"b":{"c":"d', {"a": 1, "b": {"c": "d"}}),
        ("12", UNSET),
        ("12\n", 12),
    ],
)
def test_what_is_shown(text: str, expected: object) -> None:
    """Strings may be cut, numbers and literals are whole, keys wait for a value."""
    assert view(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Sure! {"a":1}', UNSET),
        ('```json\n{"a":1}', UNSET),
        ('{"a":1} and more', {"a": 1}),
        ('{"a":1}{"b":2}', {"a": 1}),
        ('{"a":NaN', {}),
        ('{"a":01,"b":2}', {}),
        ('{"a":1]', {"a": 1}),
        ('{"a":"x\\q"', {"a": "x"}),
        ('{"a":"x\\ud800y"', {"a": "x"}),
        ('{"a":"x\\udc00\\udc00y"', {"a": "x"}),
        ('{"a":"x\ny"', {"a": "x"}),
        ("[1,,2]", [1]),
        ("[" + "1" * 5000 + ",2]", []),
    ],
)
def test_the_view_stops_where_json_does(text: str, expected: object) -> None:
    """Prose, fences and malformed JSON end the view; nothing after them is shown."""
    assert view(text) == expected
    assert view(*text) == expected


@pytest.mark.parametrize("asks", [1, 100, 10_000])
def test_scanning_is_linear_in_the_text(asks: int) -> None:
    """However often somebody asks, each character is looked at once, and an escape a few times."""
    text = json.dumps(
        {"rows": [{"text": "é\n" * 20, "n": 10**30 + i} for i in range(200)], "end": "x" * 20_000}
    )
    reader, step = PartialJson(), -(-len(text) // asks)
    for start in range(0, len(text), step):
        reader.feed(text[start : start + step])
        reader.value()
    assert reader._scanned <= 4 * len(text)
    assert reader.value() == json.loads(text)


def test_nothing_is_scanned_before_somebody_asks() -> None:
    """Feeding costs an append."""
    reader = PartialJson()
    for _ in range(1000):
        reader.feed('["x",')
    assert reader._scanned == 0


def test_ten_thousand_levels() -> None:
    """Nesting is no recursion."""
    reader = PartialJson()
    reader.feed("[" * 10_000)
    depth, inner = 0, reader.value()
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth == 9_999
    reader.feed("]" * 10_000)
    assert isinstance(reader.value(), list)


class Colour(enum.Enum):
    RED = "red"
    REDDISH = "reddish"


class Circle(msgspec.Struct, tag="circle"):
    radius: Annotated[float, msgspec.Meta(gt=0)]
    label: Annotated[str, msgspec.Meta(min_length=3)]


class Square(msgspec.Struct, tag="square"):
    side: float


@dataclasses.dataclass
class Note:
    text: str

    def __post_init__(self) -> None:
        raise AssertionError("a partial runs no validator")


@attrs.define
class Person:
    name: str = attrs.field(validator=attrs.validators.min_len(10))


class Extra(TypedDict, total=False):
    kind: Literal["a", "ab"]


class Drawing(msgspec.Struct, rename="camel"):
    line_colour: Colour
    shapes: list[Circle | Square]
    note: Note
    author: Person
    extra: Extra
    count: int | None = 3
    inner: "Drawing | None" = None


DRAWING = (
    '{"lineColour":"reddish","shapes":[{"type":"circle","radius":-1.5,"label":"x"},{"type":"square","side":2}],'
    '"note":{"text":"abc"},"author":{"name":"Al"},"extra":{"kind":"ab"},"count":null,"inner":{"count":4}}'
)


def test_enums_and_tags_are_shown_whole() -> None:
    """A string that means nothing until it is closed is absent until then, in plain data too."""
    reader, seen = shape_of(Drawing).partial(), set[str]()
    for char in DRAWING:
        reader.feed(char)
        data = reader.value()
        colour, shapes = data.get("lineColour"), data.get("shapes", ())
        seen.update([colour, *(shape.get("type") for shape in shapes), data.get("extra", {}).get("kind")])
    assert seen == {None, "reddish", "circle", "square", "ab"}


def test_partial_types_of_every_kind() -> None:
    """Each object type has its partial: all fields UNSET first, its own names, no validation."""
    made = as_partial(Drawing, json.loads(DRAWING))
    assert isinstance(made, Partial)
    assert type(made) is type(as_partial(Drawing, {}))
    assert made.line_colour is Colour.REDDISH
    assert [type(shape).__name__ for shape in made.shapes] == ["PartialCircle", "PartialSquare"]
    assert (made.shapes[0].radius, made.shapes[0].label) == (-1.5, "x")
    assert (made.note.text, made.author.name, made.extra.kind) == ("abc", "Al", "ab")
    assert made.count is UNSET  # null: its default is to come
    assert (made.inner.count, made.inner.inner) == (4, UNSET)
    assert as_partial(Drawing, {}) == type(made)()
    assert all(getattr(as_partial(Drawing, {}), name) is UNSET for name in Drawing.__struct_fields__)


def test_a_partial_of_every_prefix() -> None:
    """Every view of the JSON makes a partial; a union member appears once its tag is there."""
    reader = shape_of(Drawing).partial()
    for char in DRAWING:
        reader.feed(char)
        made = as_partial(Drawing, reader.value())
        assert made.line_colour in (UNSET, Colour.REDDISH)
        assert made.shapes is UNSET or all(isinstance(shape, Partial) for shape in made.shapes)


def test_roots_that_are_no_objects() -> None:
    """Lists and scalars have no Partial of their own; they are what they are made of."""
    assert as_partial(list[Square], [{"side": 1}, {}]) == [
        type(as_partial(Square, {}))(side=1.0),
        type(as_partial(Square, {}))(),
    ]
    assert as_partial(int, UNSET) is UNSET
    assert as_partial(int | None, None) is None
    assert as_partial(int | str, "cut") == "cut"
    shape = shape_of(list[str])
    reader = shape.partial()
    assert shape.view(reader.value()) is UNSET
    reader.feed('{"value":["a","b')
    assert shape.view(reader.value()) == ["a", "b"]


def test_a_partial_is_not_built_without_end() -> None:
    """A type that holds itself is built a hundred levels deep; the rest stays UNSET."""
    data: dict[str, Any] = {}
    for _ in range(5_000):
        data = {"inner": data}
    made, depth = as_partial(Drawing, data), 0
    while made is not UNSET:
        made, depth = made.inner, depth + 1
    assert depth == 101


def test_partials_of_pydantic_models() -> None:
    """A model's partial has its fields, by alias on the wire, and none of its validators."""
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        full_name: str = pydantic.Field(alias="fullName", min_length=5)
        age: int = pydantic.Field(3, ge=1)
        tags: list[str] = pydantic.Field(default_factory=list)

    Names = pydantic.RootModel[list[str]]
    made = as_partial(Model, {"fullName": "x", "age": -1, "tags": ["a"]})
    assert (made.full_name, made.age, made.tags) == ("x", -1, ["a"])
    assert as_partial(Names, ["a"]) == ["a"]
