"""JSON schemas as a provider's strict mode accepts them."""

from __future__ import annotations

from lutum._schema.strict import narrow as narrow

__all__ = ["narrow"]
