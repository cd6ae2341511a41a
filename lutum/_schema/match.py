"""The places in a type's JSON, and the changes of a JSON tree before msgspec decodes it.

A place describes the possible values at one position of the JSON: their objects and their items. Places are
made once for each type, from the schema nodes of `reader`. References and alternatives are resolved in them,
so each step through a value is one lookup. No I/O, no clock, no tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import msgspec

from lutum._schema.partial_json import Path, is_array, is_object
from lutum._schema.strict import Node

# A string whose schema has one of these keywords is shown only when it is complete. Any other string may be
# shown incomplete.
_CLOSED = frozenset(["enum", "const", "format", "contentEncoding"])


@final
class SchemaNode:
    """The possible values at one place.

    Attributes:
      model: True if pydantic validates the value. msgspec then gets the value as text.
      null: True if the value may be null.
      cut: True if the value may be a string without constraints on its content.
      whole: True if the value may be an integer, but no other number.
      deep: True if `matches` may have to change a value at this place or below it.
    """

    __slots__ = ("cut", "deep", "items", "members", "model", "null", "objects", "places", "whole")

    def __init__(self) -> None:
        self.model = self.null = self.cut = self.deep = self.whole = False
        self.objects: list[Fields] = []
        self.items: SchemaNode | None = None
        self.members: SchemaNode | None = None  # for an object with free keys
        self.places: list[SchemaNode] = []  # for a tuple

    def item(self, at: int) -> SchemaNode | None:
        """Return the place of an array's item at an index."""
        return self.places[at] if at < len(self.places) else self.items

    def member(self, of: Fields | None, name: str) -> SchemaNode | None:
        """Return the place of the value that an object has under a key."""
        child = None if of is None else of.children.get(name)
        return self.members if child is None else child


@final
class Fields:
    """One object: its tags (keys with one possible value), its fields with a default, and its children."""

    __slots__ = ("children", "deep", "defaulted", "tags")

    def __init__(self) -> None:
        self.tags: dict[str, Any] = {}
        self.defaulted: list[str] = []
        self.children: dict[str, SchemaNode] = {}
        self.deep: list[tuple[str, SchemaNode]] = []


def schema_nodes(root: Node, defs: dict[str, Node]) -> SchemaNode:
    """Return the place of the root, which refers to the other places."""
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
        here.whole = any(map(_is_integer, arms)) and not any(map(_is_number, arms))
        if items := [arm["items"] for arm in arms if isinstance(arm.get("items"), dict)]:
            here.items = place(items)
        if free := [one for arm in arms if is_object(one := arm.get("additionalProperties"))]:
            here.members = place(free)
        if tuples := [arm["prefixItems"] for arm in arms if "prefixItems" in arm]:
            longest = max(map(len, tuples))
            here.places = [place([one[i] for one in tuples if i < len(one)]) for i in range(longest)]
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
    """Change a tree for msgspec and return it.

    A null is removed if its field has a default. The data of a pydantic model is replaced by its JSON text.
    """
    top: list[Any] = [tree]
    stack: list[tuple[Any, Any, SchemaNode, bool]] = [(top, 0, root, False)]
    models: list[tuple[Any, Any]] = []
    while stack:
        holder, key, place, inside = stack.pop()
        value = holder[key]
        if place.model and not inside and not (value is None and place.null):
            models.append((holder, key))
            inside = True
        if is_object(value):
            of = _chosen(place.objects, value)
            for name in of.defaulted if of is not None else ():
                if value.get(name, value) is None:
                    del value[name]
            children = of.deep if of is not None else ()
            stack.extend((value, name, child, inside) for name, child in children if name in value)
            if (members := place.members) is not None and members.deep:
                known = of.children if of is not None else {}
                stack.extend((value, name, members, inside) for name in value if name not in known)
        elif is_array(value):
            for i in range(len(value)):
                child = place.item(i)
                if child is not None and child.deep:
                    stack.append((value, i, child, inside))
    for holder, key in reversed(models):
        holder[key] = msgspec.json.encode(holder[key]).decode()
    return top[0]


def integers(tree: object, root: SchemaNode) -> bool:
    """Replace a float such as `2.0` by an integer where the type requires an integer.

    Return whether there was such a float.
    """
    top: list[Any] = [tree]
    stack: list[tuple[Any, Any, SchemaNode]] = [(top, 0, root)]
    changed = False
    while stack:
        holder, key, place = stack.pop()
        value = holder[key]
        if isinstance(value, msgspec.Raw):
            if place.whole and (number := whole_number(bytes(value).decode())) is not None:
                holder[key] = number
                changed = True
        elif is_object(value):
            of = _chosen(place.objects, value)
            found = [(name, place.member(of, name)) for name in value]
            stack.extend((value, name, child) for name, child in found if child is not None)
        elif is_array(value):
            items = [(i, place.item(i)) for i in range(len(value))]
            stack.extend((value, i, child) for i, child in items if child is not None)
    return changed


def whole_number(text: str) -> int | None:
    """Return the integer that equals a JSON float.

    Return None if the text is not a float, if the float is not whole, or if it is above 2^53, where floats
    are not exact.
    """
    if not any(char in text for char in ".eE"):
        return None
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= 2**53 else None


def whole(root: SchemaNode, path: Path) -> bool:
    """Return whether a string at this path is shown only when closed, like an enum, a date or a decimal."""
    here = [root]
    for step in path:
        if isinstance(step, int):
            found = [place.item(step) for place in here]
        else:
            found = [of.children.get(step) for place in here for of in place.objects]
            found += [place.members for place in here]
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
        for child in [*children, *one.places, one.items, one.members]:
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                stack.append(child)


def _chosen(objects: list[Fields], value: dict[str, Any]) -> Fields | None:
    """Return the object that fits a value: the only one whose tags match.

    If the tags of several objects match, return the one with the same keys as the value. Return None if there
    is no such object.
    """
    if len(objects) == 1:
        return objects[0]
    fitting = [of for of in objects if all(_is(value.get(name), tag) for name, tag in of.tags.items())]
    exact = (of for of in fitting if of.children.keys() == value.keys())
    return next(exact, fitting[0] if len(fitting) == 1 else None)


def _is(got: object, tag: object) -> bool:
    return bytes(got) == str(tag).encode() if isinstance(got, msgspec.Raw) else got == tag


def _is_integer(arm: Node) -> bool:
    values = arm.get("enum", [arm["const"]] if "const" in arm else [None])
    return arm.get("type") == "integer" or all(type(value) is int for value in values)


def _is_number(arm: Node) -> bool:
    values = arm.get("enum", [arm.get("const")])
    return ("type" not in arm and "enum" not in arm and "const" not in arm and "$refuse" not in arm) or (
        arm.get("type") == "number" or any(type(value) is float for value in values)
    )
