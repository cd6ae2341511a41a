"""Hypothesis strategies for JSON schemas. They generate the inputs of tools."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import strategies as st

text = st.characters(exclude_categories=["Cs"])
_json: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(-99, 99) | st.text(text, max_size=9)


def values(schema: Any, root: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values that a JSON schema allows.

    Unknown keywords are ignored, so a value may be invalid. The caller drops values that the tool's decoder
    refuses.
    """
    if not isinstance(schema, dict):
        return _json
    known = cast("dict[str, Any]", schema)
    if "$ref" in known:
        target = root
        for step in str(known["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        return st.deferred(lambda: values(target, root))
    if "const" in known:
        return st.just(known["const"])
    if "enum" in known:
        return st.sampled_from(cast("list[Any]", known["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in known:
            return st.one_of([values(one, root) for one in known[several]])
    kind = known.get("type")
    if isinstance(kind, list):
        return st.one_of([values({**known, "type": one}, root) for one in cast("list[str]", kind)])
    match kind:
        case "object":
            members = {name: values(member, root) for name, member in known.get("properties", {}).items()}
            required = set(known.get("required", ()))
            return st.fixed_dictionaries(
                {name: member for name, member in members.items() if name in required},
                optional={name: member for name, member in members.items() if name not in required},
            )
        case "array":
            low = known.get("minItems", 0)
            return st.lists(
                values(known.get("items"), root), min_size=low, max_size=known.get("maxItems", low + 3)
            )
        case "string" if "pattern" in known:
            return st.from_regex(str(known["pattern"]))
        case "string":
            low = known.get("minLength", 0)
            return st.text(
                text,
                min_size=low,
                max_size=known.get("maxLength", low + 9),
            )
        case "integer":
            return st.integers(
                known.get("minimum", known.get("exclusiveMinimum", -(2**53)) + ("exclusiveMinimum" in known)),
                known.get("maximum", known.get("exclusiveMaximum", 2**53) - ("exclusiveMaximum" in known)),
            )
        case "number":
            return st.floats(
                known.get("minimum", known.get("exclusiveMinimum", -1e9)),
                known.get("maximum", known.get("exclusiveMaximum", 1e9)),
                exclude_min="exclusiveMinimum" in known,
                exclude_max="exclusiveMaximum" in known,
            )
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return _json
