"""PURE: the closed part of a JSON text that is still arriving, as plain data or as a `Partial[T]`.

A string may be cut; a number, a literal, and a string that means nothing until it is whole (an enum,
a date) are never shown before they are closed. A key without a value is left out. Nothing is scanned
until somebody asks, and nothing is scanned twice. Where the text is no JSON the view stops growing:
the decoder of the whole text is what says why.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import re
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeGuard, TypeVar, Union, final
from weakref import WeakKeyDictionary

import msgspec
import msgspec.inspect as mi
from msgspec import UNSET, Struct, UnsetType

T = TypeVar("T")
Path = tuple[str | int, ...]

_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMERAL = re.compile(r"[-+.0-9eE]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})(?:\\u([0-9a-fA-F]{4}))?")
_UNFINISHED = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?\Z"
)
_SIMPLE = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, tuple[str, bool | None]] = {
    "t": ("true", True),
    "f": ("false", False),
    "n": ("null", None),
}

# What may come next.
_VALUE, _FIRST_ITEM, _FIRST_KEY, _KEY, _COLON, _NEXT, _STRING, _DIGITS, _END, _BROKEN = range(10)

# Types that hold themselves may arrive nested without end; a view deeper than this is for nobody.
_MAX_DEPTH = 100


@final
class PartialJson:
    """Reads one JSON text piece by piece.

    `whole(path)` says which strings are shown only when they are closed; none by default. Containers
    that are closed are shared by all views and must not be changed.
    """

    __slots__ = (
        "_keys",
        "_open",
        "_parts",
        "_pieces",
        "_root",
        "_scanned",
        "_stack",
        "_state",
        "_tail",
        "_to_key",
        "_whole",
    )

    def __init__(self, whole: Callable[[Path], bool] | None = None) -> None:
        self._whole = whole
        self._pieces: list[str] = []
        self._tail = ""  # the start of an escape or a literal, until the rest comes
        self._state = _VALUE
        self._stack: list[Any] = []  # the open containers, outermost first, not yet in each other
        self._keys: list[str] = []  # for each of them, the key whose value comes; "" in an array
        self._parts: list[str] = []  # of the open string or number
        self._to_key = False  # the open string is a key
        self._root: Any = UNSET
        self._scanned = 0

    def feed(self, piece: str) -> None:
        """Add what arrived. Costs an append; scanning waits for `value`."""
        self._pieces.append(piece)

    def value(self) -> Any:
        """The closed part as plain data; UNSET while there is none.

        Costs what arrived since the last call, and a shallow copy of the containers still open. A
        number at the root is closed by what follows it.
        """
        if self._pieces:
            self._scan(self._tail + "".join(self._pieces))
            self._pieces.clear()
        child: Any = UNSET
        if self._parts and not self._to_key and self._state != _DIGITS and not self._held():
            self._parts = ["".join(self._parts)]
            child = self._parts[0]
        for container, key in zip(reversed(self._stack), reversed(self._keys), strict=True):
            copy = container.copy()
            if child is not UNSET:
                _put(copy, key, child)
            child = copy
        return self._root if child is UNSET else child

    def _held(self) -> bool:
        if self._whole is None:
            return False
        at = zip(self._stack, self._keys, strict=True)
        return self._whole(tuple(len(one) if is_array(one) else key for one, key in at))

    def _scan(self, text: str) -> None:
        self._scanned += len(text)
        pos, end = 0, len(text)
        while pos < end and self._state != _BROKEN:
            if self._state == _STRING:
                after = self._string(text, pos)
            elif self._state == _DIGITS:
                after = self._digits(text, pos)
            else:
                after = self._token(text, pos)
            if after is None:
                break
            pos = after
        self._tail = "" if self._state == _BROKEN else text[pos:]

    # Each of these takes something from `pos` on and returns where it stopped, or None for "more data".

    def _string(self, text: str, pos: int) -> int | None:
        after = _end(_PLAIN, text, pos)
        if after > pos:
            self._parts.append(text[pos:after])
            return after
        char = text[pos]
        if char == '"':
            value = "".join(self._parts)
            self._parts = []
            if self._to_key:
                self._keys[-1], self._to_key, self._state = value, False, _COLON
            else:
                self._close(value)
            return pos + 1
        if char != "\\":
            return self._break(pos)
        if (simple := _SIMPLE.get(text[pos + 1 : pos + 2])) is not None:
            self._parts.append(simple)
            return pos + 2
        if _UNFINISHED.match(text, pos):
            return None
        match = _UNICODE.match(text, pos)
        if match is None:
            return self._break(pos)
        code = int(match[1], 16)
        if not 0xD800 <= code < 0xE000:
            self._parts.append(chr(code))
            return pos + 6
        low = int(match[2], 16) if match[2] else 0
        if code >= 0xDC00 or not 0xDC00 <= low < 0xE000:
            return self._break(pos)
        self._parts.append(chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00))
        return pos + 12

    def _digits(self, text: str, pos: int) -> int:
        after = _end(_NUMERAL, text, pos)
        self._parts.append(text[pos:after])
        if after == len(text):
            return after
        digits = "".join(self._parts)
        self._parts = []
        match = _NUMBER.fullmatch(digits)
        if match is None:
            return self._break(pos)
        try:
            self._close(float(digits) if match[2] or match[3] else int(digits))
        except ValueError:  # more digits than Python reads
            return self._break(pos)
        return after

    def _token(self, text: str, pos: int) -> int | None:
        if (after := _end(_SPACE, text, pos)) > pos:
            return after
        char, state = text[pos], self._state
        if state == _COLON and char == ":":
            self._state = _VALUE
        elif state == _NEXT and char == ",":
            self._state = _KEY if isinstance(self._stack[-1], dict) else _VALUE
        elif char in "]}" and state in (_NEXT, _FIRST_ITEM, _FIRST_KEY):
            if isinstance(self._stack[-1], list) != (char == "]"):
                return self._break(pos)
            self._keys.pop()
            self._close(self._stack.pop())
        elif char == '"' and state in (_KEY, _FIRST_KEY):
            self._to_key, self._parts, self._state = True, [""], _STRING
        elif state not in (_VALUE, _FIRST_ITEM):
            return self._break(pos)
        elif char == '"':
            self._parts, self._state = [""], _STRING  # an open string shows, though it is empty yet
        elif char in "[{":
            self._stack.append([] if char == "[" else {})
            self._keys.append("")
            self._state = _FIRST_ITEM if char == "[" else _FIRST_KEY
        elif char in "-0123456789":
            self._state = _DIGITS
            return self._digits(text, pos)
        elif char in _WORDS:
            word, value = _WORDS[char]
            have = text[pos : pos + len(word)]
            if have == word:
                self._close(value)
                return pos + len(word)
            return None if word.startswith(have) else self._break(pos)
        else:
            return self._break(pos)
        return pos + 1

    def _close(self, value: object) -> None:
        if self._stack:
            _put(self._stack[-1], self._keys[-1], value)
            self._state = _NEXT
        else:
            self._root, self._state = value, _END

    def _break(self, pos: int) -> int:
        self._state = _BROKEN
        return pos


def is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _end(pattern: re.Pattern[str], text: str, pos: int) -> int:
    match = pattern.match(text, pos)
    return match.end() if match else pos


def _put(container: Any, key: str, value: object) -> None:
    if is_array(container):
        container.append(value)
    else:
        container[key] = value


class Partial(Struct, Generic[T], frozen=True):
    """What is known of a `T` that is still arriving: its fields, each UNSET until it has a value.

    The fields are T's own names; objects inside are partial too, lists are lists. No constraint is
    checked and no validator runs.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def partial_type(type: type[T]) -> Any:
    """`Partial[T]` as a class for an object type; for a list or a scalar what stands in its place."""
    return _kind(type).annotation()


def as_partial(type: type[T], data: object) -> Any:
    """Build a `Partial[T]` from a view of its JSON; UNSET where nothing fits yet."""
    return _kind(type).build(data, 0)


class _Kind:
    """What builds the partial of one type. This one passes plain data on."""

    def annotation(self) -> Any:
        return Any

    def build(self, data: Any, depth: int) -> Any:
        return data


class _Leaf(_Kind):
    def __init__(self, type: Any) -> None:
        self._type = type

    def annotation(self) -> Any:
        return self._type

    def build(self, data: Any, depth: int) -> Any:
        try:
            return msgspec.convert(data, self._type)
        except (msgspec.ValidationError, ValueError, TypeError):
            return UNSET


class _List(_Kind):
    def __init__(self, item: _Kind) -> None:
        self._item = item

    def annotation(self) -> Any:
        return list[self._item.annotation()]  # type: ignore[misc]  # made at run time

    def build(self, data: Any, depth: int) -> Any:
        if not is_array(data) or depth > _MAX_DEPTH:
            return UNSET
        made = [self._item.build(one, depth + 1) for one in data]
        while made and made[-1] is UNSET:  # the one that is still open
            made.pop()
        return made


class _Union(_Kind):
    def __init__(self, arms: list[_Kind]) -> None:
        # Text fits str too, so what takes less of it is asked first.
        self._arms = sorted(arms, key=lambda arm: isinstance(arm, _Leaf) and arm.annotation() is str)

    def annotation(self) -> Any:
        return Union[tuple(arm.annotation() for arm in self._arms)]  # noqa: UP007  # arms are known at run time

    def build(self, data: Any, depth: int) -> Any:
        if is_object(data):
            objects = [arm for arm in self._arms if isinstance(arm, _Object)]
            if len(objects) > 1:
                objects = [arm for arm in objects if arm.tag and data.get(arm.tag[0], UNSET) == arm.tag[1]]
            return objects[0].build(data, depth) if objects else UNSET
        found = (arm.build(data, depth) for arm in self._arms)
        return next((value for value in found if value is not UNSET), UNSET)


class _Object(_Kind):
    def __init__(self, name: str, tag: tuple[str, object] | None) -> None:
        self.tag = tag
        self._name = name
        self.fields: dict[str, tuple[str, _Kind, bool]] = {}  # by the key on the wire
        self._made: Any = None

    def annotation(self) -> Any:
        if self._made is None:
            self._made = Partial  # a type that holds itself meets this
            fields: list[tuple[str, Any, Any]] = [
                (name, Union[kind.annotation(), UnsetType], UNSET)  # noqa: UP007  # Any takes no |
                for name, kind, _ in self.fields.values()
            ]
            self._made = msgspec.defstruct(
                f"Partial{self._name}",
                fields,
                bases=(Partial,),
                frozen=True,
                rename={name: key for key, (name, _, _) in self.fields.items()},
                tag_field=self.tag[0] if self.tag else None,
                tag=self.tag[1] if self.tag else None,  # type: ignore[arg-type]  # str or int
            )
        return self._made

    def build(self, data: Any, depth: int) -> Any:
        if not is_object(data) or depth > _MAX_DEPTH:
            return UNSET
        given = {
            name: kind.build(data[key], depth + 1)
            for key, (name, kind, required) in self.fields.items()
            if key in data and (required or data[key] is not None)  # null stands for the default
        }
        return self.annotation()(**given)


_Field = tuple[str, str, mi.Type, bool]  # its key on the wire, its name, its type, whether it is required


# One partial a class, however it is reached; a class that is gone takes its own along.
_objects: WeakKeyDictionary[Any, _Object] = WeakKeyDictionary()
_reading = threading.RLock()


def _kind_of(info: mi.Type) -> _Kind:
    """Type information to what builds its partial."""
    match info:
        case mi.Metadata():
            return _kind_of(info.type)
        case mi.StructType() | mi.DataclassType() | mi.TypedDictType():
            if isinstance(info, mi.StructType) and info.tag_field is not None:
                tag = (info.tag_field, info.tag)
            else:
                tag = None
            return _object(
                info.cls,
                tag,
                lambda: [(one.encode_name, one.name, one.type, one.required) for one in info.fields],
            )
        case mi.ListType() | mi.SetType() | mi.FrozenSetType() | mi.VarTupleType():
            return _List(_kind_of(info.item_type))
        case mi.UnionType():
            return _Union([_kind_of(arm) for arm in info.types])
        case mi.CustomType() if getattr(info.cls, "__pydantic_root_model__", False):
            [(_, _, root, _)] = _model_fields(info.cls)
            return _kind_of(root)
        case mi.CustomType() if hasattr(info.cls, "model_fields"):
            return _object(info.cls, None, lambda: _model_fields(info.cls))
        case mi.LiteralType():
            return _Leaf(Literal[info.values])
        case mi.EnumType():
            return _Leaf(info.cls)
        case _:
            return _Leaf(_LEAVES[type(info)]) if type(info) in _LEAVES else _Kind()


def _object(cls: Any, tag: tuple[str, Any] | None, fields: Callable[[], list[_Field]]) -> _Object:
    if cls not in _objects:
        name = re.sub(r"\W+", "_", getattr(cls, "__name__", "") or repr(cls)).strip("_")
        _objects[cls] = made = _Object(name, tag)
        made.fields = {key: (name, _kind_of(info), must) for key, name, info, must in fields()}
    return _objects[cls]


_LEAVES: dict[type[mi.Type], Any] = {
    mi.NoneType: None,
    mi.BoolType: bool,
    mi.IntType: int,
    mi.FloatType: float,
    mi.StrType: str,
    mi.BytesType: bytes,
    mi.DateTimeType: datetime.datetime,
    mi.TimeType: datetime.time,
    mi.DateType: datetime.date,
    mi.TimeDeltaType: datetime.timedelta,
    mi.UUIDType: uuid.UUID,
    mi.DecimalType: decimal.Decimal,
}


def _model_fields(cls: Any) -> list[_Field]:
    found: list[_Field] = []
    for name, field in cls.model_fields.items():
        alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
        try:
            info = mi.type_info(field.annotation)
        except TypeError:  # pydantic knows types that msgspec does not: plain data for these
            info = mi.AnyType()
        found.append((alias or name, name, info, field.is_required()))
    return found


def _read(type: Any) -> _Kind:
    with _reading:
        kind = _kind_of(mi.type_info(type))
        kind.annotation()  # its class, before a second thread asks
        return kind


_cached = functools.lru_cache(maxsize=512)(_read)


def _kind(type: Any) -> _Kind:
    try:
        hash(type)
    except TypeError:  # an annotation that holds a dict
        return _read(type)
    return _cached(type)
