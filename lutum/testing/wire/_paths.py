"""Paths that a provider has, and those that no provider has: a base URL that is doubled or cut."""

import re
from itertools import pairwise
from typing import Final

__all__ = ["is_endpoint", "is_prefix"]

# Words that stand in a path once, at its end.
_ENDS: Final = frozenset(["messages", "chat", "completions", "responses", "generation", "batches"])
_VERSION: Final = re.compile(r"v\d+(?:alpha|beta)?\d*")


def is_endpoint(path: str, *ends: str, below: bool = False) -> bool:
    """Return whether a path is one of these endpoints, behind a prefix that a provider or a proxy may have.

    Versions do not follow each other, such as in `/v1/v1/messages`, and the words of an endpoint are not
    there twice. With `below` there is a prefix.
    """
    for end in ends:
        if path.endswith(end):
            prefix = path.removesuffix(end).split("/")[1:]
            return is_prefix([*prefix, *end.split("/")[1:2]]) and bool(prefix or not below)
    return False


def is_prefix(segments: list[str]) -> bool:
    """Return whether these may stand before an endpoint; the last one is the first of the endpoint's own."""
    before = segments[:-1]
    if any(not one or one in _ENDS for one in before):
        return False
    pairs = pairwise(segments)
    return not any(_VERSION.fullmatch(one) and _VERSION.fullmatch(other) for one, other in pairs)
