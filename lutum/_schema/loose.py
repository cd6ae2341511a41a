"""JSON schemas that are not strict: for tools with open objects, tuples and values of any type.

Providers do not enforce these schemas. Adapters send a schema as this module returns it, and the decoder
checks the arguments.
No I/O, no clock, no tasks.
"""

from __future__ import annotations

from typing import Any

from lutum._schema.partial_json import is_array, is_object
from lutum._schema.strict import CONSTRAINTS, HANDLED, Node, in_words, tell, with_definitions
from lutum._values.errors import BadValue

_SCHEMAS = ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "not", "if", "then", "else")
_KEPT = CONSTRAINTS | HANDLED | {"minProperties", "maxProperties", "contentEncoding", "patternProperties"}
_TYPES: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def loose(root: Node, defs: dict[str, Node]) -> tuple[Node, bool, tuple[str, ...]]:
    """Return the schema, whether its root is wrapped in `{"value": ...}`, and the dropped constraints.

    Raises:
      BadValue: a schema cannot express the type; the error's field is the path of that type.
    """
    work = _Loose(defs)
    schema, made = work.node(root, "$"), work.made
    while "$ref" in schema:
        inner = made[schema["$ref"].removeprefix("#/$defs/")]
        schema = {**inner, **{key: value for key, value in schema.items() if key != "$ref"}}
    wrapped = schema.get("type") != "object"
    if wrapped:
        schema = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    return with_definitions(dict(schema), made), wrapped, tuple(work.dropped)


class _Loose:
    def __init__(self, defs: dict[str, Node]) -> None:
        self._defs = defs
        self.made: dict[str, Node] = {}
        self.dropped: list[str] = []

    def node(self, node: Any, path: str) -> Any:
        if is_array(node):
            return [self.node(one, path) for one in node]
        if not is_object(node):
            return node
        if refused := node.get("$refuse"):
            raise BadValue(path, refused)
        made: Node = {}
        told: list[str] = []
        for key, value in node.items():
            if key == "$ref":
                made[key] = f"#/$defs/{value}"
                if value not in self.made:
                    self.made[value] = {}  # ends the recursion of a recursive type
                    self.made[value] = self.node(self._defs[value], path)
            elif key == "properties":
                made[key] = {name: self.node(child, f"{path}.{name}") for name, child in value.items()}
            elif key in _SCHEMAS:
                made[key] = self.node(value, f"{path}[]" if key == "items" else path)
            elif key == "prefixItems":
                made |= self._tuple(node, path)
            elif key in _KEPT or key.startswith("x-"):
                made[key] = value
            elif not key.startswith("$"):
                told.append(in_words(key, value))
        if "properties" in made:
            made.setdefault("additionalProperties", False)
            if not made.get("required"):
                made.pop("required", None)
        kinds = {_TYPES.get(type(value)) for value in made.get("enum", ())}
        if "type" not in made and len(kinds) == 1 and None not in kinds:
            made["type"] = kinds.pop()
        self.dropped.extend(f"{path}: {words}" for words in told)
        tell(made, told)
        return {key: value for key, value in made.items() if not key.startswith("$") or key == "$ref"}

    def _tuple(self, node: Node, path: str) -> Node:
        """Return the schema of a tuple. It has `items`, because every provider requires it for an array.

        If the items differ or have names, the description states their order.
        """
        kinds = [self.node(one, f"{path}[{i}]") for i, one in enumerate(node["prefixItems"])]
        distinct: list[Node] = []
        for one in kinds:
            if one not in distinct:
                distinct.append(one)
        made: Node = {"minItems": node.get("$least", len(kinds)), "maxItems": len(kinds)}
        made["items"] = distinct[0] if len(distinct) == 1 else {"anyOf": distinct} if distinct else {}
        names = node.get("$names") or [one.get("type", "any") for one in kinds]
        if node.get("$names") or len(distinct) > 1:
            made["description"] = f"In this order: {', '.join(names)}."
        return made
