"""`Shape`: the schema of a type for a request, and the decoder of the answer. No I/O, no clock, no tasks.

`msgspec.inspect` reads the type (a pydantic model provides its own schema), `strict` makes the schema, and
msgspec decodes the answer. This module adds three rules to msgspec's: a duplicate key is an error; a null
becomes the field's default, if the field has one; and pydantic validates its models.
"""

from __future__ import annotations

import builtins
import functools
import json as stdlib_json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, final

import msgspec
import msgspec.inspect as mi
from msgspec import UNSET

from lutum._schema.annotations import Problems, readable
from lutum._schema.loose import loose
from lutum._schema.match import integers, matches, schema_nodes, whole
from lutum._schema.model_union import ModelUnion
from lutum._schema.names import is_model, short_name
from lutum._schema.partial_json import PartialJson, is_array, is_object
from lutum._schema.problems import decode_model, problems_of
from lutum._schema.reader import TypeReader
from lutum._schema.strict import strict as strict_schema
from lutum._values.errors import BadValue, OutputInvalid

T = TypeVar("T")


@final
class Shape(Generic[T]):
    """The schema that requests a `T`, and the decoder of the answer. Made by `shape_of`.

    Attributes:
      type: the type.
      name: the type's name in a form that providers accept: at most 64 characters of `[A-Za-z0-9_-]`.
      schema: the JSON schema, as JSON text.
      wrapped: True if the type is not an object. Its values are then `{"value": ...}` on the wire.
      strict: True if the schema has the form that strict modes accept.
      keys: the properties of the root, if it is an object.
      dropped: constraints that no provider accepts, as "path: constraint"; `decode` enforces them.
      logged: the names of the adapters whose dropped constraints have already been logged.
    """

    __slots__ = (
        "_decoder",
        "_restore",
        "_root",
        "_wire",
        "dropped",
        "keys",
        "logged",
        "name",
        "read",
        "schema",
        "strict",
        "type",
        "wrapped",
    )

    def __init__(self, type: type[T], *, strict: bool = True) -> None:
        read = readable(type)
        try:
            info = mi.type_info(read.hint)
        except (TypeError, NameError, AttributeError, ValueError, RecursionError) as exc:
            raise BadValue("$", str(exc)) from None
        except KeyError as exc:  # msgspec before 0.23: classic `attr.ib(type=int)`
            raise BadValue(f"$.{exc.args[0]}", "has no annotation; write `name: type = ...`") from None
        reader = TypeReader()
        root = reader.node(info)
        schema: dict[str, Any]
        wrapped: bool
        dropped: tuple[str, ...] = ()
        if strict:
            schema, wrapped, dropped = strict_schema(root, reader.defs)
        else:
            schema, wrapped, dropped = loose(root, reader.defs)
        self.strict: bool = strict
        self.wrapped: bool = wrapped
        self.dropped: tuple[str, ...] = dropped
        self.type: builtins.type[T] = type
        self.read: Any = read.hint
        self._restore = read.restore
        self.keys: frozenset[str] = frozenset() if wrapped else frozenset(schema.get("properties", ()))
        self.name: str = re.sub(r"[^A-Za-z0-9_-]+", "_", short_name(type)).strip("_")[:64] or "value"
        self.schema: str = msgspec.json.encode(schema).decode()
        self._wire: Any = read.hint
        if self.wrapped:
            self._wire = msgspec.defstruct("Wrapped", [("value", read.hint)], forbid_unknown_fields=True)
            root = {"type": "object", "properties": {"value": root}, "required": ["value"]}
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._wire, dec_hook=_read)
        self._root = schema_nodes(root, reader.defs)
        self.logged: set[str] = set()

    def decode(self, json: str | bytes) -> T:
        """Decode a value. Time and memory grow with the length of `json`.

        Raises:
          OutputInvalid: `json` is not one JSON value, or not a value of the type. The error lists all
            problems, and the error of a pydantic model is its cause.
        """
        try:
            text = json if isinstance(json, str) else json.decode()
        except UnicodeDecodeError as exc:
            raw = exc.object.decode(errors="replace")
            raise self._invalid(raw, [("$", f"not UTF-8: {exc}")]) from None
        tree: object = None
        try:
            data = text.encode()
            tree = _quick(data)
            if tree is UNSET:
                tree = _parse(text, exact=True)
            if self._root.deep:
                tree = matches(tree, self._root)
                data = msgspec.json.encode(tree)
            value = self._value(tree, data)
        except _Malformed as exc:
            raise self._invalid(text, [(exc.path, str(exc))]) from None
        except msgspec.ValidationError as exc:
            problems, cause = problems_of(self._wire, tree, exc, _read)
            raise self._invalid(text, problems) from cause
        except RecursionError:
            raise self._invalid(text, [("$", "nested too deeply")]) from None
        except (msgspec.DecodeError, UnicodeEncodeError):
            # The standard library accepted the text, so msgspec refused it because of a lone surrogate.
            path = next((path for path, one in _walk(tree) if isinstance(one, str) and _is_torn(one)), "$")
            raise self._invalid(text, [(path, "no text: a surrogate without its pair")]) from None
        result: T = value.value if self.wrapped else value
        if self._restore is not None:
            found: Problems = []
            result = self._restore(result, "$", found)
            if found:
                raise self._invalid(text, found)
        return result

    def _value(self, tree: object, data: bytes) -> Any:
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError:
            if not integers(tree, self._root):
                raise
            return self._decoder.decode(msgspec.json.encode(tree))

    def partial(self) -> PartialJson:
        """Return a reader for arriving JSON of this type. It shows enums and dates only when closed."""
        return PartialJson(functools.partial(whole, self._root))

    def view(self, data: object) -> object:
        """Return wire data without the wrapper; UNSET if there is no value yet."""
        if not self.wrapped:
            return data
        return data.get("value", UNSET) if is_object(data) else UNSET

    def __repr__(self) -> str:
        return f"<Shape {self.name}>"

    def _invalid(self, raw: str, problems: Problems) -> OutputInvalid:
        placed = [(self._path(path), reason) for path, reason in problems]
        said = "; ".join(f"{reason} - at {path}" for path, reason in placed)
        path, reason = placed[0]
        return OutputInvalid(said, raw=raw, path=path, reason=reason, problems=tuple(placed))

    def _path(self, path: str) -> str:
        if self.wrapped and path.startswith("$.value"):
            return "$" + path.removeprefix("$.value")
        return path


@functools.lru_cache(maxsize=512)
def _cached(type: Any, strict: bool) -> Shape[Any]:
    return Shape(type, strict=strict)


def shape_of(type: type[T], *, strict: bool = True) -> Shape[T]:
    """Return the shape of a type; the same object for the same type.

    Raises:
      BadValue: a schema (with `strict`, a strict schema) cannot express the type. The error's field is the
        path of the problem.
    """
    key: Any = type
    try:
        hash(key)
    except TypeError:  # an annotation that holds a dict
        return Shape(type, strict=strict)
    return _cached(key, strict)


def _read(cls: Any, data: Any) -> Any:
    """Decode a pydantic model, or a union with one. This is msgspec's hook.

    `data` is JSON text, because `matches` has replaced the model's data by its text.
    """
    if is_model(cls):
        return decode_model(cls.model_validate_json, data)
    if not issubclass(cls, ModelUnion):
        # The error that msgspec requires for a type that a hook does not know.
        raise NotImplementedError(f"{cls!r} has no decoder")
    return _first_fitting(cls.given, data) if cls.decode is None else decode_model(cls.decode, data)


def _first_fitting(members: tuple[Any, ...], text: str) -> Any:
    """Return the value of the first member of a union that accepts the text.

    If members have all keys of the object, only these members are tried.
    """
    value: object = msgspec.json.decode(text)
    keys = set(value) if is_object(value) else set[str]()
    shapes = [shape_of(one, strict=False) for one in members]
    known = [shape for shape in shapes if keys and keys <= shape.keys]
    refused: list[str] = []
    for shape in known or shapes:
        try:
            return shape.decode(f'{{"value":{text}}}' if shape.wrapped else text)
        except OutputInvalid as exc:
            refused.append(f"{shape.name}: {exc}")
    raise ValueError("fits none of " + "; ".join(refused))


class _Malformed(Exception):
    """The text is not one JSON value; `path` is the position of the problem."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


_decode_plain = msgspec.json.Decoder(float_hook=msgspec.Raw).decode
_find_minus_zero = re.compile(rb"-0[^0-9.eE-]").search  # as an integer it would lose its sign


def _quick(data: bytes) -> object:
    """Parse as `_parse(exact=True)` does, in a third of the time. Return UNSET if `_parse` is needed."""
    if _find_minus_zero(data):
        return UNSET
    try:
        tree: object = _decode_plain(data)
    except (msgspec.MsgspecError, RecursionError):
        return UNSET
    # The tree contains a duplicate key only once, so it then has fewer strings than the text.
    return tree if _strings(data) == _strings(msgspec.json.encode(tree)) else UNSET


def _strings(data: bytes) -> int:
    """Return the number of quotes that are not escaped: twice the number of strings, keys included."""
    quotes = data.count(b'"')
    return quotes - data.replace(b"\\\\", b"").count(b'\\"') if b"\\" in data else quotes


def _parse(text: str, *, exact: bool) -> object:
    """Parse one JSON text to plain data. Numbers stay text.

    With `exact` they are `msgspec.Raw`, so that they can be encoded again without a change.
    """
    doubled: list[tuple[dict[str, Any], str]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found) and not doubled:
            counts = Counter(key for key, _ in found)
            doubled.append((made, next(key for key in counts if counts[key] > 1)))
        return made

    def constant(name: str) -> object:
        raise _Malformed(f"not JSON: {name} is not a number")

    number: Any = msgspec.Raw if exact else str
    decoder = stdlib_json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=constant
    )
    try:
        tree: object = decoder.decode(text)
    except stdlib_json.JSONDecodeError as exc:
        raise _Malformed(f"not one JSON value: {exc}") from None
    if doubled:
        made, key = doubled[0]
        path = next(path for path, value in _walk(tree) if value is made) + f".{key}"
        raise _Malformed("the key stands twice in its object", path)
    return tree


def _walk(tree: object) -> Iterator[tuple[str, object]]:
    stack: list[tuple[str, Any]] = [("$", tree)]
    while stack:
        path, value = stack.pop()
        yield path, value
        if is_object(value):
            stack.extend((f"{path}.{key}", child) for key, child in value.items())
        elif is_array(value):
            stack.extend((f"{path}[{i}]", child) for i, child in enumerate(value))


def _is_torn(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
