"""Types to wire schemas (first version, being replaced)."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Shape(Generic[T]):
    def __init__(self, type: type[T]) -> None:
        self.type = type
        self.name = getattr(type, "__name__", "value")
        self.schema = msgspec.json.encode(msgspec.json.schema(type)).decode()
        self.dropped: tuple[str, ...] = ()

    def decode(self, json: str | bytes) -> T:
        return msgspec.json.decode(json, type=self.type)


def shape_of(type: type[T]) -> Shape[T]:
    return Shape(type)
