"""Public names of classes: tracebacks and pickles contain `lutum.ProviderError`, not the private module."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any, cast

from msgspec import Struct


def publish(module: str, things: Iterable[object]) -> None:
    """Give exceptions and plain classes the name of the public module that exports them.

    Structs, dataclasses, protocols and generic classes keep the name of their own module, because their
    annotations are evaluated at run time in the module that `__module__` names.
    """
    for thing in things:
        if isinstance(thing, type) and _is_plain(cast("type[Any]", thing)):
            thing.__module__ = module


def _is_plain(kind: type[Any]) -> bool:
    if not kind.__module__.startswith("lutum") or issubclass(kind, Struct) or is_dataclass(kind):
        return False
    if hasattr(kind, "__parameters__") or hasattr(kind, "_is_protocol"):
        return False
    return issubclass(kind, BaseException) or not inspect.get_annotations(kind)
