"""Conversion of JSON schemas to the strict form that providers accept, and to one provider's dialect.

The input is a tree of plain dicts whose references are names (`{"$ref": "Movie"}`). `$refuse` and `$open`
mark types that no strict schema can express. In the output every object is closed, every property is required
and every enum has a type. A constraint that a dialect does not accept is dropped and reported. It is also
written into the description, so that the model still gets it. The decoder enforces it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from lutum._schema.partial_json import is_array, is_object
from lutum._values.errors import BadValue
from lutum._values.schema_dialect import SchemaDialect

Node = dict[str, Any]

# Keywords that constrain values (JSON Schema Validation 2020-12, sections 6 and 7). A strict schema keeps all
# of them.
CONSTRAINTS = frozenset(
    [
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "uniqueItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    ]
)

# Keywords that this module handles itself, and keywords that only describe the schema.
HANDLED = frozenset(
    [
        "$ref",
        "$model",
        "$open",
        "$defs",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "const",
        "enum",
        "description",
        "title",
        "default",
        "discriminator",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "$schema",
        "$id",
    ]
)
# The largest number of characters of a default that a description includes.
_LONGEST_DEFAULT = 200
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def strict(root: Node, defs: dict[str, Node]) -> tuple[Node, bool, tuple[str, ...]]:
    """Return the strict schema, whether its root is wrapped in `{"value": ...}`, and the dropped constraints.

    Raises:
      BadValue: a strict schema cannot express the type; the error's field is the path of that type.
    """
    work = _Strict(defs)
    made = work.node(root, "$")
    schema = made
    while "$ref" in schema or len(schema.get("anyOf", ())) == 1:
        inner = work.made[_name(schema["$ref"])] if "$ref" in schema else schema["anyOf"][0]
        outer = {key: schema[key] for key in ("description",) if key in schema}
        schema = {**inner, **outer}
    wrapped = schema.get("type") != "object"
    if wrapped:
        schema = _object({"value": made})
    return with_definitions(schema, work.made), wrapped, tuple(work.dropped)


def with_definitions(schema: Node, defs: dict[str, Node]) -> Node:
    """Add the definitions that a schema refers to, and return it."""
    if used := _reachable(schema, defs):
        schema["$defs"] = {name: node for name, node in defs.items() if name in used}
    return schema


@functools.lru_cache(maxsize=512)
def narrow(schema: str, dialect: SchemaDialect) -> tuple[str, tuple[str, ...]]:
    """Convert a strict schema to a provider's dialect.

    Return the schema, and each dropped constraint as "path: constraint". Descriptions in the schema contain
    the dropped constraints.

    Raises:
      BadValue: the schema is recursive, and the dialect does not accept that.
    """
    root: Node = msgspec.json.decode(schema)
    defs: dict[str, Node] = root.get("$defs", {})
    dropped: list[str] = []
    seen: set[str] = set()

    def visit(node: Node, path: str, open_: tuple[str, ...]) -> None:
        if "$ref" in node:
            name = _name(node["$ref"])
            if name in open_ and not dialect.recursive:
                raise BadValue(path, f"{name} refers to itself; {dialect.name} accepts no recursive schema")
            if name not in seen:
                seen.add(name)
                visit(defs[name], path, (*open_, name))
        refused = [key for key in sorted(node.keys() & CONSTRAINTS) if not dialect.takes(key, node[key])]
        told = [in_words(keyword, node.pop(keyword)) for keyword in refused]
        tell(node, told)
        dropped.extend(f"{path}: {words}" for words in told)
        for key, child in node.get("properties", {}).items():
            visit(child, f"{path}.{key}", open_)
        if "items" in node:
            visit(node["items"], f"{path}[]", open_)
        for arm in node.get("anyOf", ()):
            visit(arm, path, open_)

    visit(root, "$", ())
    return msgspec.json.encode(root).decode(), tuple(dropped)


class _Strict:
    """One pass: the definitions made so far, and the dropped constraints, in order."""

    def __init__(self, defs: dict[str, Node]) -> None:
        self._defs = defs
        self.made: dict[str, Node] = {}
        self.dropped: list[str] = []

    def node(self, raw: Node, path: str) -> Node:
        if refused := raw.get("$refuse") or raw.get("$open"):
            raise BadValue(path, refused)
        if len(raw.get("allOf", ())) == 1:
            raw = {**{key: value for key, value in raw.items() if key != "allOf"}, **raw["allOf"][0]}
            return self.node(raw, path)
        made: Node = self._shape(raw, path)
        told: list[str] = []
        for keyword, value in raw.items():
            if keyword in HANDLED or keyword.startswith("x-"):
                continue
            if "$ref" not in raw and keyword in CONSTRAINTS:
                made[keyword] = value
            else:
                told.append(in_words(keyword, value))
        self.dropped.extend(f"{path}: {words}" for words in told)
        words = told_of(raw)
        if "$ref" in made and (told or words):  # strict mode allows no other keyword beside $ref
            made = {"anyOf": [made]}
        if words:
            made["description"] = words
        tell(made, told)
        return made

    def _shape(self, raw: Node, path: str) -> Node:
        kind = raw.get("type")
        if "$ref" in raw:
            return self._reference(raw["$ref"], path)
        if arms := raw.get("anyOf") or raw.get("oneOf"):
            return _any_of(self.node(arm, path) for arm in arms)
        if "allOf" in raw or "not" in raw or "if" in raw:
            raise BadValue(path, "`allOf`, `not` and `if` have no strict form")
        if "enum" in raw or "const" in raw:
            return self._enum(raw["enum"] if "enum" in raw else [raw["const"]], path)
        if isinstance(kind, list):
            return _any_of(self.node({**raw, "type": one}, path) for one in raw["type"])
        if kind == "object":
            return self._object(raw, path)
        if kind == "array":
            if "prefixItems" in raw:
                raise BadValue(path, "a tuple has no strict schema; use a list or an object")
            items = raw.get("items")
            return {
                "type": "array",
                "items": self.node(items if is_object(items) else {}, f"{path}[]"),
            }
        if kind in _TYPES.values():
            return {"type": kind}
        raise BadValue(path, "any type is allowed here, but a strict schema needs a specific type")

    def _reference(self, name: str, path: str) -> Node:
        if name not in self.made:
            self.made[name] = {}  # ends the recursion of a recursive type
            self.made[name] = self.node(self._defs[name], path)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, raw: Node, path: str) -> Node:
        if "properties" not in raw:
            raise BadValue(path, "a dict with free keys has no strict schema; use a list of objects")
        required = raw.get("required", ())
        properties: dict[str, Node] = {}
        for key, child in raw["properties"].items():
            made = self.node(child, f"{path}.{key}")
            properties[key] = made if key in required else _nullable(made)
        return _object(properties)

    def _enum(self, values: list[Any], path: str) -> Node:
        groups: dict[str, list[Any]] = {}
        for value in values:
            if type(value) not in _TYPES:
                raise BadValue(path, f"{value!r} is not a string, a number, a boolean or null")
            groups.setdefault(_TYPES[type(value)], []).append(value)
        if not groups:
            raise BadValue(path, "the enum has no values")
        arms = (
            {"type": kind} if kind == "null" else {"type": kind, "enum": of} for kind, of in groups.items()
        )
        return _any_of(arms)


def told_of(raw: Node) -> str:
    """Return a node's description with its default and its examples, which a strict schema cannot contain."""
    words = [raw["description"]] if raw.get("description") else []
    if (default := raw.get("default")) is not None:
        text = msgspec.json.encode(default).decode()
        words += [f"Default: {text}."] if len(text) <= _LONGEST_DEFAULT else []
    if examples := raw.get("examples"):
        words.append(f"Examples: {', '.join(msgspec.json.encode(one).decode() for one in examples)}.")
    return "\n".join(words)


def _object(properties: dict[str, Node]) -> Node:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _any_of(arms: Iterable[Node]) -> Node:
    flat: list[Node] = []
    for arm in arms:
        for one in arm["anyOf"] if arm.keys() == {"anyOf"} else [arm]:
            if one not in flat:
                flat.append(one)
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _nullable(node: Node) -> Node:
    null = {"type": "null"}
    if node == null:
        return node
    rest = {key: value for key, value in node.items() if key != "description"}
    arms = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    made: Node = {"anyOf": arms if null in arms else [*arms, null]}
    return {**made, "description": node["description"]} if "description" in node else made


def _reachable(node: object, defs: dict[str, Node]) -> set[str]:
    found: set[str] = set()
    stack: list[object] = [node]
    while stack:
        one = stack.pop()
        if is_array(one):
            stack.extend(one)
        elif is_object(one):
            stack.extend(one.values())
            if isinstance(ref := one.get("$ref"), str) and (name := _name(ref)) not in found:
                found.add(name)
                stack.append(defs[name])
    return found


def _name(ref: str) -> str:
    return ref.removeprefix("#/$defs/")


def in_words(keyword: str, value: object) -> str:
    return f"{keyword} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"


def tell(node: Node, told: list[str]) -> None:
    if told:
        words = f"Constraints: {'; '.join(told)}."
        node["description"] = f"{node['description']}\n\n{words}" if "description" in node else words
