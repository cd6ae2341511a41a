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
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Union
from weakref import WeakKeyDictionary

import msgspec
import msgspec.inspect as mi
from msgspec import UNSET, Struct, UnsetType

from lutum._schema.partial_json import is_array, is_object

T = TypeVar("T")


# Types that hold themselves may arrive nested without end; a view deeper than this is for nobody.
_MAX_DEPTH = 100


class Partial(Struct, Generic[T], frozen=True):
    """What is known of a `T` that is still arriving: its fields, each UNSET until it has a value.

    The fields are T's own names; objects inside are partial too, lists are lists. No constraint is
    checked and no validator runs.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


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
