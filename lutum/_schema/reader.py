"""The type reader: from the type information of msgspec and pydantic to plain schema nodes.

No I/O, no clock, no tasks.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from typing import Any, cast, get_origin

import msgspec
import msgspec.inspect as mi
from msgspec import NODEFAULT, UNSET

from lutum._schema.model_union import ModelUnion
from lutum._schema.names import description_of, is_model, short_name
from lutum._schema.partial_json import is_array, is_object
from lutum._schema.strict import Node


class TypeReader:
    """Converts type information to plain schema nodes, with the definitions that the nodes refer to.

    `$model` marks a pydantic model, or a union with one, inside a type that msgspec reads. `$open` marks a
    type that a strict schema cannot express, and `$refuse` a type that no schema can express. Both contain
    the reason.
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
                # The standard formats require an offset, but a type without a time zone refuses an offset.
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
            case mi.TupleType():
                return {
                    "$open": "a tuple has no strict schema; use a list or an object",
                    "type": "array",
                    "prefixItems": [self.node(one) for one in info.item_types],
                }
            case mi.NamedTupleType():
                return {
                    "$open": "a tuple has no strict schema; use a list or an object",
                    "type": "array",
                    "prefixItems": [self.node(one.type) for one in info.fields],
                    "$least": sum(one.required for one in info.fields),
                    "$names": [one.name for one in info.fields],
                }
            case mi.DictType():
                return given(
                    **{"$open": "a dict with free keys has no strict schema; use a list of objects"},
                    type="object",
                    additionalProperties=self.node(info.value_type),
                    minProperties=info.min_length,
                    maxProperties=info.max_length,
                )
            case mi.AnyType() | mi.RawType():
                return {"$open": "any type is allowed here, but a strict schema needs a specific type"}
            case mi.EnumType():
                return self._define(
                    info.cls,
                    lambda: given(description=description_of(info.cls), enum=[one.value for one in info.cls]),
                )
            case mi.StructType() | mi.DataclassType() | mi.TypedDictType():
                return self._define(info.cls, functools.partial(self._object, info))
            case mi.CustomType() if issubclass(info.cls, ModelUnion):
                return {"anyOf": [self.node(mi.type_info(arm)) for arm in info.cls.arms], "$model": True}
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
            node = self.node(field.type)
            if field.required:
                required.append(field.encode_name)
            elif (default := _default_of(field)) is not None:
                node = {**node, "default": default}
            properties[field.encode_name] = node
        return given(
            type="object", description=description_of(info.cls), properties=properties, required=required
        )

    def _model(self, cls: Any) -> Node:
        try:
            schema: Node = cls.model_json_schema()
        except Exception as exc:  # pydantic has several error classes, and is not imported here
            return {"$refuse": f"pydantic cannot make a schema of {cls.__name__}: {exc}"}
        local: dict[str, Node] = schema.pop("$defs", {})
        itself = schema["$ref"].removeprefix("#/$defs/") if schema.keys() == {"$ref"} else None
        names: dict[str, str] = {}
        for name in local:
            names[name] = self._names[cls] if name == itself else self._free(name)
            self.defs[names[name]] = {}  # reserves the name
        for name, node in local.items():
            self.defs[names[name]] = renamed(node, names)
        made: Node = renamed(local[itself] if itself else schema, names)
        return made


def _default_of(field: mi.Field) -> object:
    """Return a field's default as plain data; None if there is no default, or if it has no JSON form."""
    try:
        made: Any = field.default
        factory: Any = get_origin(field.default_factory) or field.default_factory  # `list[int]` too
        if made is NODEFAULT and factory in (list, dict, set, tuple, frozenset):
            made = cast("Any", factory())
        elif isinstance(factory, functools.partial) and factory.func is copy.deepcopy:  # of a default
            [made] = factory.args
        if made in (NODEFAULT, UNSET):
            return None
        return msgspec.to_builtins(made)
    except Exception:  # a default may have any type, and here it is only used in a description
        return None


def renamed(node: Any, names: dict[str, str]) -> Any:
    if is_object(node):
        made = {key: renamed(value, names) for key, value in node.items()}
        if isinstance(ref := node.get("$ref"), str):
            made["$ref"] = names[ref.removeprefix("#/$defs/")]
        return made
    return [renamed(one, names) for one in node] if is_array(node) else node


def given(**keywords: object) -> Node:
    return {key: value for key, value in keywords.items() if value is not None}
