"""`--schema file.json|dotted.path`: the type of a structured answer. A JSON schema becomes a msgspec type."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec

from lutum import BadValue

_SCALARS: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_META = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
    "description": "description",
}


def imported(field: str, path: str) -> Any:
    """Return the object at a dotted path, such as `shop.models:Order`; the current folder is searched first.

    Raises:
      BadValue: the module cannot be imported, or lacks the name; the message has the reason.
    """
    module, colon, name = path.partition(":")
    if not colon:
        module, _, name = path.rpartition(".")
    if not module or not name:
        raise BadValue(field, f"{path!r} is not of the form module:name")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the user's module may raise any exception
        raise BadValue(field, f"{path!r} cannot be imported: {type(error).__name__}: {error}") from error
    return found


def schema_type(source: str) -> Any:
    """Return the type that `--schema` names.

    Raises:
      BadValue: no type can express the schema of the file, or the path cannot be imported.
      OSError: the file cannot be read.
    """
    if not source.endswith(".json"):
        return imported("--schema", source)
    try:
        schema = msgspec.json.decode(Path(source).expanduser().read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BadValue("--schema", f"{source} is not a JSON object: {error}") from None
    return _Reader(source, schema).type_of(schema, "$", str(schema.get("title") or Path(source).stem))


class _Reader:
    """Converts the nodes of one JSON schema to types."""

    def __init__(self, source: str, root: dict[str, Any]) -> None:
        self._source = source
        self._defs: dict[str, Any] = {**root.get("definitions", {}), **root.get("$defs", {})}
        self._open = list[str]()

    def type_of(self, given: object, path: str, name: str) -> Any:
        """Return the type of a node."""
        if not isinstance(given, dict):
            raise self._refused(path, "is not a schema")
        node = cast("dict[str, Any]", given)
        if isinstance(reference := node.get("$ref"), str):
            return self._referenced(reference, path)
        found = self._plain(node, path, name)
        meta: dict[str, Any] = {ours: node[theirs] for theirs, ours in _META.items() if theirs in node}
        return Annotated[found, msgspec.Meta(**meta)] if meta and found is not None else found

    def _referenced(self, reference: str, path: str) -> Any:
        name = reference.rpartition("/")[2]
        if name not in self._defs or name in self._open:
            raise self._refused(path, f"refers to {reference!r}, which is missing or contains itself")
        self._open.append(name)
        try:
            return self.type_of(self._defs[name], path, name)
        finally:
            self._open.pop()

    def _plain(self, node: dict[str, Any], path: str, name: str) -> Any:
        if "const" in node:
            return Literal[node["const"]]
        if "enum" in node:
            return Literal[tuple(node["enum"])]
        for word in ("anyOf", "oneOf"):
            if word in node:
                arms = [
                    self.type_of(one, f"{path}.{word}[{i}]", f"{name}{i}") for i, one in enumerate(node[word])
                ]
                return _union(arms)
        kind = node.get("type", "object" if "properties" in node else None)
        if isinstance(kind, list):
            arms = [self._plain({**node, "type": one}, path, name) for one in cast("list[str]", kind)]
            return _union(arms)
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind == "array":
            return list[self.type_of(node.get("items"), f"{path}.items", f"{name}Item")]  # type: ignore[misc]
        if kind == "object" and node.get("properties"):
            return self._struct(node, path, name)
        if kind == "object":
            raise self._refused(path, "is an object without properties; list its properties")
        raise self._refused(path, f"has the type {kind!r}, which is not supported")

    def _struct(self, node: dict[str, Any], path: str, name: str) -> Any:
        required = set(node.get("required", ()))
        needed, others = list[Any](), list[Any]()
        for key, inner in node["properties"].items():
            made = self.type_of(inner, f"{path}.{key}", key.title())
            if key in required:
                needed.append((_identifier(key), made))
            else:
                others.append((_identifier(key), _union([made, None]), None))
        names = {_identifier(key): key for key in node["properties"]}
        title = re.sub(r"\W+", "_", name).strip("_") or "Value"
        return msgspec.defstruct(title, [*needed, *others], kw_only=True, rename=names)

    def _refused(self, path: str, why: str) -> BadValue:
        return BadValue("--schema", f"{self._source}: {path} {why}")


def _union(arms: list[Any]) -> Any:
    made = arms[0]
    for arm in arms[1:]:
        made = made | arm
    return made


def _identifier(key: str) -> str:
    name = re.sub(r"\W", "_", key)
    return name if name.isidentifier() else f"_{name}"
