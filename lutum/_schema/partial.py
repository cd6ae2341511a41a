"""`Partial[T]`: a view of the known part of a JSON text that is still arriving. No I/O, no clock.

A string may be shown incomplete. A number or a literal is shown only when it is closed, that is, when its end
has arrived. The same holds for a string that is useful only when it is complete, such as an enum or a date.
A key without a value is left out. The text is scanned only when a view is requested, and each part of it only
once. If the text is not JSON, the view stops growing, and the decoder of the whole text raises the error.
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

from lutum._schema.annotations import readable
from lutum._schema.model_union import ModelUnion
from lutum._schema.partial_json import Path, is_array, is_object
from lutum._values.errors import BadValue

T = TypeVar("T")


# Values of recursive types may be nested without limit. A view is not built below this depth.
_MAX_DEPTH = 100


class Partial(Struct, Generic[T], frozen=True):
    """The known part of a `T` that is still arriving: its fields, each UNSET until it has a value.

    The fields have the names of T's fields. Nested objects are partial too, and lists are plain lists.
    Constraints are not checked, and validators do not run.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def as_partial(type: type[T], data: object) -> Any:
    """Build a `Partial[T]` from a view of its JSON. Return UNSET if the data does not fit the type yet."""
    return _kind(type).build(data, 0)


class _Kind:
    """Builder of the partial of one type. This base class returns plain data unchanged."""

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
        while made and made[-1] is UNSET:  # the item that is still open
            made.pop()
        return made


class _Union(_Kind):
    def __init__(self, arms: list[_Kind]) -> None:
        flat = [one for arm in arms for one in (arm._arms if isinstance(arm, _Union) else [arm])]
        # str accepts any text, so narrower members are tried first.
        self._arms: list[_Kind] = sorted(
            flat, key=lambda arm: isinstance(arm, _Leaf) and arm.annotation() is str
        )

    def annotation(self) -> Any:
        return Union[tuple(arm.annotation() for arm in self._arms)]  # noqa: UP007  # arms are known at run time

    def build(self, data: Any, depth: int) -> Any:
        if is_object(data):
            objects = [arm for arm in self._arms if isinstance(arm, _Object)]
            if len(objects) > 1:
                objects = [arm for arm in objects if arm.is_meant(data)]
            return objects[0].build(data, depth) if objects else UNSET
        found = (arm.build(data, depth) for arm in self._arms)
        return next((value for value in found if value is not UNSET), UNSET)


class _Object(_Kind):
    def __init__(self, name: str, tag: tuple[str, object] | None) -> None:
        self.tag = tag
        self._name = name
        self.fields: list[tuple[Path, str, _Kind, bool]] = []  # several paths for one name: preferred first
        self.only: dict[str | int, Any] = {}  # for a model: keys with one possible value
        self._made: Any = None

    def is_meant(self, data: dict[str, Any]) -> bool:
        """Return whether the data belongs to this member of a union.

        The tag decides. Without a tag, the fields that have only one possible value decide.
        """
        if self.tag is not None:
            return bool(data.get(self.tag[0], UNSET) == self.tag[1])
        return bool(self.only) and all(data.get(str(key), UNSET) == one for key, one in self.only.items())

    def annotation(self) -> Any:
        if self._made is None:
            self._made = Partial  # ends the recursion of a recursive type
            first = {name: (str(path[0]), kind) for path, name, kind, _ in reversed(self.fields)}
            names = dict.fromkeys(name for _, name, _, _ in self.fields)
            fields: list[tuple[str, Any, Any]] = [
                (name, Union[first[name][1].annotation(), UnsetType], UNSET)  # noqa: UP007  # Any takes no |
                for name in names
            ]
            self._made = msgspec.defstruct(
                f"Partial{self._name}",
                fields,
                bases=(Partial,),
                frozen=True,
                rename={name: first[name][0] for name in names},
                tag_field=self.tag[0] if self.tag else None,
                tag=self.tag[1] if self.tag else None,  # type: ignore[arg-type]  # str or int
            )
        return self._made

    def build(self, data: Any, depth: int) -> Any:
        if not is_object(data) or depth > _MAX_DEPTH:
            return UNSET
        given: dict[str, Any] = {}
        for path, name, kind, required in self.fields:
            value: Any = data.get(str(path[0]), UNSET) if len(path) == 1 else _at(data, path)
            if name in given or value is UNSET or (value is None and not required):
                continue  # null means the default
            given[name] = kind.build(value, depth + 1)
        return self.annotation()(**given)


_Field = tuple[Path, str, mi.Type, bool]  # its path on the wire, its name, its type, whether it is required


def _at(data: Any, path: Path) -> Any:
    for step in path:
        if is_object(data) and step in data:
            data = data[str(step)]
        elif is_array(data) and isinstance(step, int) and -len(data) <= step < len(data):
            data = data[step]
        else:
            return UNSET
    return data


# One builder for each class. An entry is removed when its class is garbage-collected.
_objects: WeakKeyDictionary[Any, _Object] = WeakKeyDictionary()
_reading = threading.RLock()


def _kind_of(info: mi.Type) -> _Kind:
    """Return the builder of a type's partial."""
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
                lambda: [((one.encode_name,), one.name, one.type, one.required) for one in info.fields],
            )
        case mi.ListType() | mi.SetType() | mi.FrozenSetType() | mi.VarTupleType():
            return _List(_kind_of(info.item_type))
        case mi.UnionType():
            return _Union([_kind_of(arm) for arm in info.types])
        case mi.CustomType() if issubclass(info.cls, ModelUnion):
            return _Union([_kind_of(mi.type_info(arm)) for arm in info.cls.arms])
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
        read = fields()
        made.fields = [(path, name, _kind_of(info), must) for path, name, info, must in read]
        made.only = {path[0]: only for path, _, info, _ in read if (only := _only(info)) is not None}
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
    """Return a model's fields. A field occurs once for each path that it may have on the wire."""
    found: list[_Field] = []
    by_name: bool = cls.model_config.get("populate_by_name") or cls.model_config.get("validate_by_name")
    for name, field in cls.model_fields.items():
        alias = field.validation_alias if field.validation_alias is not None else field.alias
        choices: list[Any] = list(getattr(alias, "choices", None) or [alias or name])
        try:
            info = mi.type_info(readable(field.annotation).hint)
        except (TypeError, BadValue):  # types that only pydantic knows are shown as plain data
            info = mi.AnyType()
        paths: list[Path] = [(one,) if isinstance(one, str) else tuple(one.path) for one in choices]
        paths += [(name,)] if by_name else []
        found += [(path, name, info, field.is_required()) for path in dict.fromkeys(paths)]
    return found


def _only(info: mi.Type) -> object:
    """Return the only value that a field may have; None if there are several."""
    if isinstance(info, mi.LiteralType) and len(info.values) == 1:
        return info.values[0]
    if isinstance(info, mi.EnumType) and len(info.cls) == 1:
        return next(iter(info.cls)).value
    return None


def _read(type: Any) -> _Kind:
    with _reading:
        kind = _kind_of(mi.type_info(readable(type).hint))
        kind.annotation()  # makes the partial's class while the lock is held
        return kind


_cached = functools.lru_cache(maxsize=512)(_read)


def _kind(type: Any) -> _Kind:
    try:
        hash(type)
    except TypeError:  # an annotation that holds a dict
        return _read(type)
    return _cached(type)
