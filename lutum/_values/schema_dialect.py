"""The part of JSON Schema that a provider accepts."""

from __future__ import annotations

import re

from msgspec import Struct

_LOOKAROUND = re.compile(r"(?<!\\)(?:\\\\)*\(\?<?[=!]")


class SchemaDialect(Struct, frozen=True, kw_only=True):
    """The part of JSON Schema that a provider's strict mode accepts.

    Attributes:
      name: the name in error messages.
      keywords: constraints that are accepted with any value, such as `minimum`.
      formats: accepted values of `format`. If `keywords` contains `format`, every value is accepted.
      values: constraints that are accepted with some values only, each with those values.
      lookaround: accepts patterns with lookahead or lookbehind.
      recursive: accepts a schema that refers to itself.
    """

    name: str
    keywords: frozenset[str] = frozenset()
    formats: frozenset[str] = frozenset()
    values: tuple[tuple[str, tuple[int | str | bool, ...]], ...] = ()
    lookaround: bool = False
    recursive: bool = True

    def takes(self, keyword: str, value: object) -> bool:
        """Return whether strict mode accepts this constraint."""
        if keyword == "format" and keyword not in self.keywords:
            return value in self.formats
        if keyword == "pattern" and not self.lookaround and _LOOKAROUND.search(str(value)):
            return False
        return keyword in self.keywords or any(
            keyword == name and value in values for name, values in self.values
        )
