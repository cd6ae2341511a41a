"""JSON schemas as a provider's strict mode accepts them."""

from __future__ import annotations

from collections.abc import Iterable

from lutum._schema.strict import narrow as narrow
from lutum._values.committed import ToolDef
from lutum._values.schema_dialect import SchemaDialect

__all__ = ["dropped_of_tools", "narrow"]


def dropped_of_tools(tools: Iterable[ToolDef], dialect: SchemaDialect) -> tuple[str, ...]:
    """Return the constraints of strict tools that the dialect does not accept: "tools.name.path:
    constraint"."""
    found = ((tool.name, narrow(tool.schema, dialect)[1]) for tool in tools if tool.strict)
    return tuple(f"tools.{name}{one[1:]}" for name, dropped in found for one in dropped)
