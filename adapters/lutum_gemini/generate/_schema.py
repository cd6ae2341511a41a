"""A strict JSON schema as `responseJsonSchema` accepts it.

The API enforces types, enums, bounds of numbers and of arrays, and three formats; it ignores other
constraints (gemini-api/docs/structured-output). Those are moved into the description, so that the model still
reads them, and the decoder enforces them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, cast

import msgspec

_TAKEN: Final = frozenset({"minimum", "maximum", "minItems", "maxItems"})
_FORMATS: Final = frozenset({"date-time", "date", "time"})
_CONSTRAINTS: Final = frozenset(
    {
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "uniqueItems",
    }
)


@lru_cache(maxsize=512)
def narrowed(schema: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the schema as it is sent, and what it lost as "path: constraint"."""
    root: dict[str, Any] = msgspec.json.decode(schema)
    dropped = list[str]()
    _visit(root, "$", dropped)
    for name, node in cast("dict[str, Any]", root.get("$defs", {})).items():
        _visit(node, f"$.$defs.{name}", dropped)
    return msgspec.json.encode(root), tuple(dropped)


def _visit(node: dict[str, Any], path: str, dropped: list[str]) -> None:
    words = list[str]()
    for keyword in sorted(node.keys() & _CONSTRAINTS):
        value = node[keyword]
        if keyword in _TAKEN or (keyword == "format" and value in _FORMATS):
            continue
        del node[keyword]
        words.append(f"{keyword} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")
    if words:
        said = f"Constraints: {'; '.join(words)}."
        node["description"] = f"{node['description']}\n\n{said}" if "description" in node else said
        dropped += [f"{path}: {word}" for word in words]
    for name, child in node.get("properties", {}).items():
        _visit(child, f"{path}.{name}", dropped)
    if isinstance(node.get("items"), dict):
        _visit(node["items"], f"{path}[]", dropped)
    for arm in node.get("anyOf", ()):
        _visit(arm, path, dropped)
