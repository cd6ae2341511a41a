"""Functions whose annotations are strings of another module, for test_tool_functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

import lutum

if TYPE_CHECKING:
    from decimal import Decimal


class Place(msgspec.Struct):
    name: str


def visit(place: Place, days: int = 1) -> Decimal:
    """Visit a place."""
    raise NotImplementedError


def pay(amount: Decimal) -> None: ...


def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*args: Any, **given: Any) -> Any:
        return fn(*args, **given)

    return inner


@lutum.tool
def pickled(place: Place) -> str:
    return place.name
