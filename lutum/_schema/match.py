"""PURE: the places of a type's JSON, and what has to be done there before msgspec decodes it.

A place is everything one value may be: which objects, which items. It is made from the nodes that
`_schema` reads from a type, with references and alternatives resolved, once per type; so following a
value through them costs a lookup a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import msgspec

from lutum._schema.partial_json import Path, is_array, is_object
from lutum._schema.strict import Node

# A string that is one of these means nothing before its end; any other may be shown cut.
_CLOSED = frozenset(["enum", "const", "format", "contentEncoding"])


@final
class SchemaNode:
    """What one value may be.

    Attributes:
      model: pydantic validates it, so msgspec gets it as text.
      null: null is one of the values.
      cut: a free string is one of the values.
      deep: something is to be done here or further in.
    """

    __slots__ = ("cut", "deep", "items", "model", "null", "objects")

    def __init__(self) -> None:
        self.model = self.null = self.cut = self.deep = False
        self.objects: list[Fields] = []
        self.items: SchemaNode | None = None


@final
class Fields:
    """One object: its tags (keys with one possible value), what has a default, and its children."""

    __slots__ = ("children", "deep", "defaulted", "tags")

    def __init__(self) -> None:
        self.tags: dict[str, Any] = {}
        self.defaulted: list[str] = []
        self.children: dict[str, SchemaNode] = {}
        self.deep: list[tuple[str, SchemaNode]] = []


def schema_nodes(root: Node, defs: dict[str, Node]) -> SchemaNode:
    """The place of the root; the others hang on it."""
    made: dict[tuple[int, ...], SchemaNode] = {}

    def place(nodes: Iterable[Node]) -> SchemaNode:
        arms, model = _arms(nodes, defs)
        key = tuple(id(arm) for arm in arms) + ((0,) if model else ())
        if key in made:
            return made[key]
        here = made[key] = SchemaNode()
        here.model = model
        here.null = any(arm.get("type") == "null" for arm in arms)
        here.cut = any(arm.get("type") == "string" and not _CLOSED & arm.keys() for arm in arms)
        here.objects = [fields(arm) for arm in arms if "properties" in arm]
        if items := [arm["items"] for arm in arms if isinstance(arm.get("items"), dict)]:
            here.items = place(items)
        return here

    def fields(arm: Node) -> Fields:
        here = Fields()
        required = arm.get("required", ())
        for name, node in arm["properties"].items():
            here.children[name] = place([node])
            only = [node["const"]] if "const" in node else node.get("enum", ())
            if len(only) == 1:
                here.tags[name] = only[0]
            if name not in required:
                here.defaulted.append(name)
        return here

    top = place([root])
    for one in made.values():
        one.deep = any(there.model or any(of.defaulted for of in there.objects) for there in _within(one))
    for one in made.values():
        for of in one.objects:
            of.deep = [(name, child) for name, child in of.children.items() if child.deep]
    return top


def matches(tree: object, root: SchemaNode) -> object:
    """The tree, changed: no null where a field has a default, and each pydantic model as its text."""
    top: list[Any] = [tree]
    stack: list[tuple[Any, Any, SchemaNode]] = [(top, 0, root)]
    models: list[tuple[Any, Any]] = []
    while stack:
        holder, key, place = stack.pop()
        value = holder[key]
        if place.model and not (value is None and place.null):
            models.append((holder, key))
        if is_object(value):
            of = _chosen(place.objects, value)
            if of is not None:
                for name in of.defaulted:
                    if value.get(name, value) is None:
                        del value[name]
                stack.extend((value, name, child) for name, child in of.deep if name in value)
        elif is_array(value) and place.items is not None and place.items.deep:
            items = place.items
            stack.extend((value, i, items) for i in range(len(value)))
    for holder, key in reversed(models):
        holder[key] = msgspec.json.encode(holder[key]).decode()
    return top[0]


def whole(root: SchemaNode, path: Path) -> bool:
    """Whether a string at this path means nothing until it is closed: an enum, a date, a number."""
    here = [root]
    for step in path:
        if isinstance(step, int):
            here = [place.items for place in here if place.items is not None]
        else:
            found = (of.children.get(step) for place in here for of in place.objects)
            here = [place for place in found if place is not None]
    return bool(here) and not any(place.cut for place in here)


def _arms(nodes: Iterable[Node], defs: dict[str, Node]) -> tuple[list[Node], bool]:
    found: list[Node] = []
    stack, seen, model = [*nodes], set[str](), False
    while stack:
        node = stack.pop(0)
        model |= "$model" in node
        if "$ref" in node:
            if node["$ref"] not in seen:
                seen.add(node["$ref"])
                stack.append(defs[node["$ref"]])
        elif nested := node.get("anyOf") or node.get("oneOf") or node.get("allOf"):
            stack.extend(nested)
        else:
            found.append(node)
    return found, model


def _within(place: SchemaNode) -> Iterable[SchemaNode]:
    stack, seen = [place], {id(place)}
    while stack:
        one = stack.pop()
        yield one
        children = [child for of in one.objects for child in of.children.values()]
        for child in [*children, one.items]:
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                stack.append(child)


def _chosen(objects: list[Fields], value: dict[str, Any]) -> Fields | None:
    """The object this is: the one with its tags, and of several the one with its keys."""
    if len(objects) == 1:
        return objects[0]
    fitting = [of for of in objects if all(_is(value.get(name), tag) for name, tag in of.tags.items())]
    exact = (of for of in fitting if of.children.keys() == value.keys())
    return next(exact, fitting[0] if len(fitting) == 1 else None)


def _is(got: object, tag: object) -> bool:
    return bytes(got) == str(tag).encode() if isinstance(got, msgspec.Raw) else got == tag
