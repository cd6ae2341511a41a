"""Checks of URL paths. A base URL with a doubled or missing part gives a path that no provider has."""

import re
from itertools import pairwise
from typing import Final

__all__ = ["is_endpoint", "is_prefix"]

# Words that occur only once in a path, at its end.
_ENDS: Final = frozenset(["messages", "chat", "completions", "responses", "generation", "batches"])
_VERSION: Final = re.compile(r"v\d+(?:alpha|beta)?\d*")


def is_endpoint(path: str, *ends: str, below: bool = False) -> bool:
    """Return whether a path is one of these endpoints, after a prefix that a provider or a proxy may have.

    A version must not follow another version, as in `/v1/v1/messages`, and the words of an endpoint must not
    occur twice. With `below`, the path must have a prefix.
    """
    for end in ends:
        if path.endswith(end):
            prefix = path.removesuffix(end).split("/")[1:]
            return is_prefix([*prefix, *end.split("/")[1:2]]) and bool(prefix or not below)
    return False


def is_prefix(segments: list[str]) -> bool:
    """Return whether `segments` are a valid prefix. The last one is the first segment of the endpoint."""
    before = segments[:-1]
    if any(not one or one in _ENDS for one in before):
        return False
    pairs = pairwise(segments)
    return not any(_VERSION.fullmatch(one) and _VERSION.fullmatch(other) for one, other in pairs)
