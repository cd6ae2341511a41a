"""PURE: a type to the schema that is sent for it, and the JSON that comes back to a value of it.

`msgspec.inspect` reads the type (a pydantic model says its own schema), `strict` makes the schema,
and msgspec decodes. In between stands what msgspec does not do: a duplicate key is an error, a null
becomes the default of a field that has one, and a pydantic model is validated by pydantic.
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

from lutum._schema.match import matches, schema_nodes, whole
from lutum._schema.partial_json import PartialJson, is_array, is_object
from lutum._schema.reader import TypeReader, is_model, short_name
from lutum._schema.strict import strict
from lutum._values.errors import BadValue, OutputInvalid

T = TypeVar("T")


@final
class Shape(Generic[T]):
    """What is sent to ask for a `T`, and what reads the answer; made by `shape_of`.

    Attributes:
      type: the type.
      name: its name as providers take it: at most 64 of `[A-Za-z0-9_-]`.
      schema: the strict JSON schema, as JSON text.
      wrapped: the root is no object, so it stands in `{"value": ...}` on the wire.
      dropped: constraints no provider takes, as "path: constraint"; `decode` enforces them.
      told: the adapters whose dropped constraints have been logged.
    """

    __slots__ = ("_decoder", "_root", "dropped", "name", "schema", "told", "type", "wrapped")

    def __init__(self, type: type[T]) -> None:
        try:
            info = mi.type_info(type)
        except (TypeError, NameError, AttributeError) as exc:
            raise BadValue("$", str(exc)) from None
        reader = TypeReader()
        root = reader.node(info)
        schema, wrapped, dropped = strict(root, reader.defs)
        self.wrapped: bool = wrapped
        self.dropped: tuple[str, ...] = dropped
        self.type: builtins.type[T] = type
        self.name: str = re.sub(r"[^A-Za-z0-9_-]+", "_", short_name(type)).strip("_")[:64] or "value"
        self.schema: str = msgspec.json.encode(schema).decode()
        wire: Any = type
        if self.wrapped:
            wire = msgspec.defstruct("Wrapped", [("value", type)], forbid_unknown_fields=True)
            root = {"type": "object", "properties": {"value": root}, "required": ["value"]}
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(wire, dec_hook=_validate)
        self._root = schema_nodes(root, reader.defs)
        self.told: set[str] = set()

    def decode(self, json: str | bytes) -> T:
        """The value that `json` is; time and memory grow with its length.

        Raises:
          OutputInvalid: it is not one JSON value, or not one of the type; `path` says where in it.
        """
        try:
            text = json if isinstance(json, str) else json.decode()
        except UnicodeDecodeError as exc:
            raw = exc.object.decode(errors="replace")
            raise self._invalid(raw, f"not UTF-8: {exc}", "$") from None
        tree: object = None
        try:
            data = text.encode()
            tree = _quick(data)
            if tree is UNSET:
                tree = _parse(text, exact=self._root.deep)
            if self._root.deep:
                data = msgspec.json.encode(matches(tree, self._root))
            value = self._decoder.decode(data)
        except _Malformed as exc:
            raise self._invalid(text, str(exc), exc.path) from None
        except msgspec.ValidationError as exc:
            raise self._invalid(text, *_located(exc)) from None
        except RecursionError:
            raise self._invalid(text, "nested too deeply", "$") from None
        except (msgspec.DecodeError, UnicodeEncodeError):
            # The standard library read it, so what msgspec refuses is a surrogate without its pair.
            path = next((path for path, one in _walk(tree) if isinstance(one, str) and _is_torn(one)), "$")
            raise self._invalid(text, "no text: a surrogate without its pair", path) from None
        result: T = value.value if self.wrapped else value
        return result

    def partial(self) -> PartialJson:
        """A reader for this type's JSON while it arrives; enums and the like only when whole."""
        return PartialJson(functools.partial(whole, self._root))

    def view(self, data: object) -> object:
        """Wire data as the caller sees it: without the wrapper. UNSET while there is nothing."""
        if not self.wrapped:
            return data
        return data.get("value", UNSET) if is_object(data) else UNSET

    def __repr__(self) -> str:
        return f"<Shape {self.name}>"

    def _invalid(self, raw: str, reason: str, path: str) -> OutputInvalid:
        if self.wrapped and path.startswith("$.value"):
            path = "$" + path.removeprefix("$.value")
        return OutputInvalid(f"{reason} - at {path}", raw=raw, path=path, reason=reason)


@functools.lru_cache(maxsize=512)
def _cached(type: Any) -> Shape[Any]:
    return Shape(type)


def shape_of(type: type[T]) -> Shape[T]:
    """The shape of a type; the same object for the same type.

    Raises:
      BadValue: no strict schema can say it; the field is the path of what cannot be said.
    """
    key: Any = type
    try:
        hash(key)
    except TypeError:  # an annotation that holds a dict
        return Shape(type)
    return _cached(key)


class _Malformed(Exception):
    """The text is not one JSON value; `path` is where that shows."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class _ModelInvalid(ValueError):
    """What pydantic said; msgspec puts the path of the model in front of `path`."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def _validate(cls: Any, data: Any) -> Any:
    if not is_model(cls):
        # What msgspec wants to hear of a type that a hook does not know.
        raise NotImplementedError(f"{cls!r} has no decoder")
    text: str = data  # `matches` made it text, so that pydantic reads JSON and not what msgspec made of it
    try:
        return cls.model_validate_json(text)
    except ValueError as exc:
        errors: Any = getattr(exc, "errors", None)
        if errors is None:
            raise
        first = errors(include_url=False, include_context=False, include_input=False)[0]
        path, here = "", msgspec.json.decode(text)
        for step in first["loc"]:  # it also names union arms and validators, which are no places
            if is_array(here) and isinstance(step, int) and step < len(here):
                path, here = f"{path}[{step}]", here[step]
            elif is_object(here) and step in here:
                path, here = f"{path}.{step}", here[step]
        raise _ModelInvalid(first["msg"], path) from None


_decode_plain = msgspec.json.Decoder(float_hook=msgspec.Raw).decode
_find_minus_zero = re.compile(rb"-0[^0-9.eE-]").search  # as an integer it would lose its sign


def _quick(data: bytes) -> object:
    """As `_parse`, exact, in a third of the time; UNSET where there is a doubt for that one to settle."""
    if _find_minus_zero(data):
        return UNSET
    try:
        tree: object = _decode_plain(data)
    except (msgspec.MsgspecError, RecursionError):
        return UNSET
    # Of a key that stands twice the first is gone from the tree, and with it one string at least.
    return tree if _strings(data) == _strings(msgspec.json.encode(tree)) else UNSET


def _strings(data: bytes) -> int:
    """Twice the number of strings in one JSON text, keys included: the quotes that are not escaped."""
    quotes = data.count(b'"')
    return quotes - data.replace(b"\\\\", b"").count(b'\\"') if b"\\" in data else quotes


def _parse(text: str, *, exact: bool) -> object:
    """Plain data of one JSON text. Numbers stay text: as `Raw` when the data will be encoded again."""
    doubled: list[tuple[dict[str, Any], str]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found) and not doubled:
            counts = Counter(key for key, _ in found)
            doubled.append((made, next(key for key in counts if counts[key] > 1)))
        return made

    def constant(name: str) -> object:
        raise _Malformed(f"not JSON: {name} is no number")

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


def _located(exc: msgspec.ValidationError) -> tuple[str, str]:
    message, mark, path = str(exc).rpartition(" - at `")
    if not mark or not path.endswith("`"):
        message, path = str(exc), "$`"
    inner = exc.__cause__
    return message, path[:-1] + (inner.path if isinstance(inner, _ModelInvalid) else "")
