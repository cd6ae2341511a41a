"""Names and descriptions of types. No I/O, no clock, no tasks."""

from __future__ import annotations

import inspect
import re
from typing import Any


def is_model(cls: object) -> bool:
    """Return whether `cls` is a pydantic model.

    The check is by name, because another thread may be in the middle of the first import of pydantic.
    """
    return isinstance(cls, type) and any(
        (base.__module__, base.__name__) == ("pydantic.main", "BaseModel") for base in cls.__mro__
    )


def description_of(cls: Any) -> str | None:
    """Return the docstring of a class; None if there is none, or if Python generated it.

    Python generates the docstring of a dataclass and, before Python 3.12, that of an enum.
    """
    origin: Any = getattr(cls, "__origin__", cls)
    text = origin.__doc__
    if not isinstance(text, str) or text.startswith(f"{origin.__name__}(") or text == "An enumeration.":
        return None
    return inspect.cleandoc(text) or None


def short_name(cls: object) -> str:
    """Return a type's name without its modules."""
    if isinstance(cls, type) and not getattr(cls, "__args__", ()):
        return cls.__name__
    return re.sub(r"[A-Za-z_][\w.]*\.(?:<locals>\.)?", "", repr(cls))
