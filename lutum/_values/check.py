"""Checks of arguments that a caller may confuse. Each error names the field and the expected value."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Iterable
from numbers import Real
from types import UnionType
from typing import Any

from lutum._values.errors import BadValue


def check_type(field: str, value: object, kind: type | UnionType | tuple[type, ...], expected: str) -> None:
    """Check that a value is an instance of `kind`.

    Raises:
      BadValue: it is not; the message contains `expected`.
    """
    if not isinstance(value, kind):
        raise BadValue(field, f"needs {expected}, not {describe(value)}")


def check_methods(field: str, value: object, methods: Iterable[str], expected: str) -> None:
    """Check that a value is an object, and not a class, with these methods.

    Raises:
      BadValue: it is not; the message contains `expected`.
    """
    if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in methods):
        raise BadValue(field, f"needs {expected}, not {describe(value)}")


def check_number(
    field: str, value: object, low: float, high: float = math.inf, *, whole: bool = False
) -> None:
    """Check that a value is a finite number from `low` to `high`.

    Raises:
      BadValue: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int if whole else Real):
        raise BadValue(field, f"needs {'an integer' if whole else 'a number'}, not {describe(value)}")
    number: Any = value
    if not (math.isfinite(number) and low <= number <= high):
        bounds = f"below {low}" if high == math.inf and number < low else f"not between {low} and {high}"
        raise BadValue(
            field, f"{value!r} is {bounds}" if math.isfinite(number) else f"{value!r} is not finite"
        )


def check_options(field: str, options: object) -> None:
    """Check provider options: instances of classes that are not built in.

    Raises:
      BadValue: `options` is not a tuple of such objects.
    """
    check_type(field, options, tuple, "a tuple of options")
    found: Any = options
    for i, option in enumerate(found):
        if option is None or isinstance(option, type) or type(option).__module__ == "builtins":
            raise BadValue(f"{field}[{i}]", f"needs options of a provider, not {describe(option)}")


def describe(value: object) -> str:
    """Return a description of a value for an error message."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}; make an instance of it"
    if isinstance(value, Coroutine):
        return "a coroutine; write `await` before the call that made it"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"
