"""The type reader: from the type information of msgspec and pydantic to plain schema nodes.

No I/O, no clock, no tasks.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, cast

import msgspec.inspect as mi

from lutum._schema.partial_json import is_array, is_object
from lutum._schema.strict import Node


class TypeReader:
    """Type information to the plain nodes that `strict` takes, with the definitions they refer to.

    `$model` marks a pydantic model that stands in a type msgspec reads.
    """

    def __init__(self) -> None:
        self.defs: dict[str, Node] = {}
        self._names: dict[object, str] = {}

    def node(self, info: mi.Type) -> Node:
        match info:
            case mi.Metadata():
                extra = cast("Node | None", info.extra_json_schema)  # pyright: ignore[reportUnknownMemberType]  # a dict without parameters
                return {**self.node(info.type), **(extra or {})}
            case mi.NoneType():
                return {"type": "null"}
            case mi.BoolType():
                return {"type": "boolean"}
            case mi.IntType() | mi.FloatType():
                return given(
                    type="integer" if isinstance(info, mi.IntType) else "number",
                    minimum=info.ge,
                    maximum=info.le,
                    exclusiveMinimum=info.gt,
                    exclusiveMaximum=info.lt,
                    multipleOf=info.multiple_of,
                )
            case mi.StrType():
                return given(
                    type="string", minLength=info.min_length, maxLength=info.max_length, pattern=info.pattern
                )
            case mi.BytesType() | mi.ByteArrayType() | mi.MemoryViewType():
                return given(
                    type="string",
                    contentEncoding="base64",
                    minLength=info.min_length,
                    maxLength=info.max_length,
                )
            case mi.DateTimeType() | mi.TimeType():
                # The standard formats carry an offset, which a type that wants none refuses.
                local = "local-" if info.tz is False else ""
                kind = "date-time" if isinstance(info, mi.DateTimeType) else "time"
                return {"type": "string", "format": local + kind}
            case mi.DateType():
                return {"type": "string", "format": "date"}
            case mi.TimeDeltaType():
                return {"type": "string", "format": "duration"}
            case mi.UUIDType():
                return {"type": "string", "format": "uuid"}
            case mi.DecimalType():
                return {"type": "string", "format": "decimal"}
            case mi.LiteralType():
                return {"enum": list(info.values)}
            case mi.UnionType():
                return {"anyOf": [self.node(arm) for arm in info.types]}
            case mi.ListType() | mi.SetType() | mi.FrozenSetType() | mi.VarTupleType():
                return given(
                    type="array",
                    items=self.node(info.item_type),
                    minItems=info.min_length,
                    maxItems=info.max_length,
                    uniqueItems=isinstance(info, mi.SetType | mi.FrozenSetType) or None,
                )
            case mi.TupleType() | mi.NamedTupleType():
                return {"$refuse": "a tuple has no strict schema; use a list or an object"}
            case mi.DictType():
                return {"$refuse": "a dict with free keys has no strict schema; use a list of objects"}
            case mi.AnyType() | mi.RawType():
                return {"$refuse": "any type is allowed here; a strict schema needs one that it can name"}
            case mi.EnumType():
                return self._define(info.cls, lambda: given(enum=[one.value for one in info.cls]))
            case mi.StructType() | mi.DataclassType() | mi.TypedDictType():
                return self._define(info.cls, functools.partial(self._object, info))
            case mi.CustomType() if is_model(info.cls):
                return {**self._define(info.cls, functools.partial(self._model, info.cls)), "$model": True}
            case _:
                shown = getattr(info, "cls", type(info))
                return {"$refuse": f"{short_name(shown)} is not supported in structured output"}

    def _define(self, cls: Any, make: Callable[[], Node]) -> Node:
        if cls not in self._names:
            name = self._names[cls] = self._free(short_name(cls))
            self.defs[name] = {}
            self.defs[name] = make()
        return {"$ref": self._names[cls]}

    def _free(self, wanted: str) -> str:
        wanted = name = re.sub(r"[^A-Za-z0-9_.-]+", "_", wanted).strip("_") or "value"
        count = 1
        while name in self.defs:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def _object(self, info: mi.StructType | mi.DataclassType | mi.TypedDictType) -> Node:
        if isinstance(info, mi.StructType) and info.array_like:
            return {"$refuse": "an array_like Struct has no strict schema; use an object"}
        if hasattr(info.cls, "__pydantic_validator__"):
            return {"$refuse": "a pydantic dataclass would not be validated; use a pydantic BaseModel"}
        properties: dict[str, Node] = {}
        required: list[str] = []
        if isinstance(info, mi.StructType) and info.tag_field is not None:
            properties[info.tag_field] = {"enum": [info.tag]}
            required.append(info.tag_field)
        for field in info.fields:
            properties[field.encode_name] = self.node(field.type)
            if field.required:
                required.append(field.encode_name)
        return given(
            type="object", description=description_of(info.cls), properties=properties, required=required
        )

    def _model(self, cls: Any) -> Node:
        try:
            schema: Node = cls.model_json_schema()
        except Exception as exc:  # pydantic has several, and needs no import to be refused
            return {"$refuse": f"pydantic gives {cls.__name__} no schema: {exc}"}
        local: dict[str, Node] = schema.pop("$defs", {})
        itself = schema["$ref"].removeprefix("#/$defs/") if schema.keys() == {"$ref"} else None
        names: dict[str, str] = {}
        for name in local:
            names[name] = self._names[cls] if name == itself else self._free(name)
            self.defs[names[name]] = {}  # taken
        for name, node in local.items():
            self.defs[names[name]] = renamed(node, names)
        made: Node = renamed(local[itself] if itself else schema, names)
        return made


def is_model(cls: object) -> bool:
    """Whether `cls` is a pydantic model.

    By name, because another thread may be in the middle of the first import of pydantic.
    """
    return isinstance(cls, type) and any(
        (base.__module__, base.__name__) == ("pydantic.main", "BaseModel") for base in cls.__mro__
    )


def renamed(node: Any, names: dict[str, str]) -> Any:
    if is_object(node):
        made = {key: renamed(value, names) for key, value in node.items()}
        if isinstance(ref := node.get("$ref"), str):
            made["$ref"] = names[ref.removeprefix("#/$defs/")]
        return made
    return [renamed(one, names) for one in node] if is_array(node) else node


def given(**keywords: object) -> Node:
    return {key: value for key, value in keywords.items() if value is not None}


def description_of(cls: Any) -> str | None:
    """The docstring, but not the signature that dataclasses write when there is none."""
    origin: Any = getattr(cls, "__origin__", cls)
    text = origin.__doc__
    if not isinstance(text, str) or text.startswith(f"{origin.__name__}("):
        return None
    return inspect.cleandoc(text) or None


def short_name(cls: object) -> str:
    if isinstance(cls, type) and not getattr(cls, "__args__", ()):
        return cls.__name__
    return re.sub(r"[A-Za-z_][\w.]*\.(?:<locals>\.)?", "", repr(cls))
