"""Narrowing of parsed JSON, for a type checker."""

from typing import Any, TypeAlias, TypeGuard

__all__ = ["Object", "is_array", "is_object"]

Object: TypeAlias = dict[str, Any]


def is_object(value: object) -> TypeGuard[Object]:
    """Return whether a value is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Return whether a value is a JSON array."""
    return isinstance(value, list)
