"""The fields of a class with their full annotations, including the metadata in `Annotated`.

`msgspec.inspect` leaves out metadata that msgspec does not know, so this module reads the annotations
themselves. No I/O, no clock, no tasks.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import msgspec
import typing_extensions
from msgspec import NODEFAULT, UNSET

Kind = Literal["struct", "dataclass", "attrs", "typeddict", "namedtuple"]


@dataclasses.dataclass
class ClassField:
    """One field: its name, its key on the wire, its annotation and its default.

    `init` is False if the constructor does not take the field. `argument` is the field's name in the
    constructor, if it differs from `name`.
    """

    name: str
    key: str
    hint: Any
    default: Any = NODEFAULT
    default_factory: Any = NODEFAULT
    init: bool = True
    argument: str = ""

    @property
    def required(self) -> bool:
        """True if the field has no default."""
        return self.default is NODEFAULT and self.default_factory is NODEFAULT


def kind_of(hint: Any) -> Kind | None:
    """Return the kind of a class with fields; None for everything else."""
    cls: Any = get_origin(hint) or hint
    if not isinstance(cast("object", cls), type):
        return None
    if issubclass(cls, msgspec.Struct):
        return None if cls.__struct_config__.array_like else "struct"
    if hasattr(cls, "__pydantic_validator__"):
        return None  # a pydantic model validates itself; a pydantic dataclass is refused
    if typing_extensions.is_typeddict(cls) or typing.is_typeddict(cls):
        return "typeddict"
    if hasattr(cls, "__attrs_attrs__"):
        return "attrs"
    return "dataclass" if dataclasses.is_dataclass(cls) else None


def is_named_tuple(hint: Any) -> bool:
    """Return whether this is a named tuple, which msgspec reads without help."""
    cls: object = get_origin(hint) or hint
    return isinstance(cls, type) and issubclass(cls, tuple) and "_field_defaults" in cls.__dict__


def fields_of(hint: Any, kind: Kind) -> list[ClassField]:
    """Return the fields, in order. Errors in annotations propagate, such as NameError."""
    cls: Any = get_origin(hint) or hint
    if kind == "struct":
        return [
            ClassField(one.name, one.encode_name, one.type, one.default, one.default_factory)
            for one in msgspec.structs.fields(hint)
        ]
    types = _variables(hint, cls)
    hints = {
        name: _filled(one, types) for name, one in typing.get_type_hints(cls, include_extras=True).items()
    }
    return _READERS[kind](cls, hints)


def _of_dataclass(cls: Any, hints: dict[str, Any]) -> list[ClassField]:
    found: list[ClassField] = []
    for one in dataclasses.fields(cls):
        default = NODEFAULT if one.default is dataclasses.MISSING else one.default
        factory = NODEFAULT if one.default_factory is dataclasses.MISSING else one.default_factory
        found.append(ClassField(one.name, one.name, hints[one.name], default, factory, one.init))
    return found


def _of_attrs(cls: Any, hints: dict[str, Any]) -> list[ClassField]:
    found: list[ClassField] = []
    for one in cls.__attrs_attrs__:
        default: Any = NODEFAULT if type(one.default).__name__ == "_Nothing" else one.default
        factory: Any = NODEFAULT
        if default is not NODEFAULT and type(default).__name__ == "Factory" and not default.takes_self:
            default, factory = NODEFAULT, default.factory
        # Classic `attr.ib(type=int)` has no annotation, nor has `make_class` before attrs 24.1.
        hint = hints.get(one.name, Any if one.type is None else one.type)
        found.append(ClassField(one.name, one.name, hint, default, factory, one.init, one.alias))
    return found


def _of_typeddict(cls: Any, hints: dict[str, Any]) -> list[ClassField]:
    found: list[ClassField] = []
    for name, hint in hints.items():
        required: bool = name in cls.__required_keys__
        while (qualifier := get_origin(hint)) in _QUALIFIERS:
            said = _QUALIFIERS[qualifier]
            required = required if said is None else said
            [hint] = get_args(hint)
        found.append(ClassField(name, name, hint, NODEFAULT if required else UNSET))
    return found


def _of_named_tuple(cls: Any, hints: dict[str, Any]) -> list[ClassField]:
    defaults: dict[str, Any] = cls._field_defaults
    return [ClassField(one, one, hints.get(one, Any), defaults.get(one, NODEFAULT)) for one in cls._fields]


_READERS: dict[Kind, Callable[[Any, dict[str, Any]], list[ClassField]]] = {
    "dataclass": _of_dataclass,
    "attrs": _of_attrs,
    "typeddict": _of_typeddict,
    "namedtuple": _of_named_tuple,
}

# These qualifiers decide whether a key is required. `__required_keys__` is wrong if annotations are strings.
_QUALIFIERS: dict[Any, bool | None] = {
    typing.Required: True,
    typing.NotRequired: False,
    typing_extensions.Required: True,
    typing_extensions.NotRequired: False,
    typing_extensions.ReadOnly: None,
}


def _variables(hint: Any, cls: Any) -> dict[Any, Any]:
    """Return the type argument of each type variable of a class and of its bases."""
    found: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), get_args(hint), strict=False))
    stack: list[Any] = [cls]
    while stack:
        for base in getattr(stack.pop(), "__orig_bases__", ()):
            origin: Any = get_origin(base)
            if origin in (None, typing.Generic, typing.Protocol):
                continue
            given = [_filled(one, found) for one in get_args(base)]
            found |= zip(getattr(origin, "__parameters__", ()), given, strict=False)
            stack.append(origin)
    return found


def _filled(hint: Any, types: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return types.get(hint, hint)
    parameters: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if not types or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(types.get(one, one) for one in parameters)]
