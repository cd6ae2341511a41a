"""The metadata of a type in `Annotated`: from pydantic, `annotated_types`, msgspec, and plain text.

All metadata of a type becomes one `Facts` object: constraints, descriptions and a default. Unknown metadata
raises an error with its name, because a constraint must not be lost silently. No I/O, no clock, no tasks.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from msgspec import NODEFAULT

from lutum._values.errors import BadValue

Test = Callable[[Any], bool]

# Constraints by name: the words for an error, and the test.
_TESTS: Final[dict[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "gt": ("above", operator.gt),
    "ge": ("at least", operator.ge),
    "lt": ("below", operator.lt),
    "le": ("at most", operator.le),
    "multiple_of": ("a multiple of", lambda value, of: value % of == 0),
    "min_length": ("of length at least", lambda value, length: len(value) >= length),
    "max_length": ("of length at most", lambda value, length: len(value) <= length),
    "pattern": ("of the pattern", lambda value, pattern: re.search(pattern, value) is not None),
}

_TIGHTER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "gt": max,
    "ge": max,
    "lt": min,
    "le": min,
    "min_length": max,
    "max_length": min,
}

_RANGE: Final = {"gt": "ge", "ge": "gt", "lt": "le", "le": "lt"}
_LENGTHS: Final = frozenset(["min_length", "max_length"])


@dataclass(frozen=True)
class Check:
    """A constraint that msgspec does not enforce. lutum checks it when a value is decoded.

    `keyword` and `value` describe the constraint in schemas and errors.
    """

    keyword: str
    value: str
    test: Test

    def holds(self, value: object) -> bool:
        """Return whether the value satisfies the constraint. A test that raises counts as not satisfied."""
        try:
            return bool(self.test(value))
        except Exception:  # from the caller's predicate, or from a comparison of values of different types
            return False


@dataclass
class Facts:
    """All metadata of one type.

    Attributes:
      bounds: constraints by their names in msgspec.
      checks: constraints without a name in msgspec.
      union: metadata that is valid only for a union of pydantic models.
      alias: the field's name on the wire.
    """

    bounds: dict[str, Any] = field(default_factory=dict[str, Any])
    checks: list[Check] = field(default_factory=list[Check])
    description: str | None = None
    title: str | None = None
    examples: list[Any] = field(default_factory=list[Any])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    tz: bool | None = None
    default: Any = NODEFAULT
    default_factory: Any = NODEFAULT
    alias: str | None = None
    union: list[Any] = field(default_factory=list[Any])

    def bound(self, name: str, value: Any) -> None:
        """Add a constraint. If the type already has one of this name, the tighter one is kept.

        A second `pattern` or `multiple_of` is kept as a check, because neither one is tighter.
        """
        if isinstance(value, re.Pattern):
            value = cast("re.Pattern[str]", value).pattern
        if name in self.bounds and name not in _TIGHTER:
            self.checks.append(check(name, value))
            return
        self.bounds[name] = _TIGHTER[name](self.bounds[name], value) if name in self.bounds else value

    def native(self, kind: str) -> dict[str, Any]:
        """Return the constraints that msgspec enforces for a type of this kind."""
        found: dict[str, Any] = {}
        for name, value in self.bounds.items():
            if name in _LENGTHS:
                usable = kind in ("str", "bytes", "array", "dict")
            elif name == "pattern":
                usable = kind == "str"
            elif kind == "int":
                usable = _is_whole(value) and (name != "multiple_of" or value > 0)
                value = int(value) if usable else value
            else:
                usable = kind == "float" and isinstance(value, int | float)
                usable = usable and (name != "multiple_of" or value > 0)
            if usable and _RANGE.get(name) not in found:
                found[name] = value
        return found

    def left(self, native: Iterable[str]) -> list[Check]:
        """Return the constraints that are not in `native`. lutum enforces them, because msgspec does not."""
        rest = [check(name, value) for name, value in self.bounds.items() if name not in native]
        return [*rest, *self.checks]


def check(name: str, value: Any) -> Check:
    """Make a constraint from its name in msgspec."""
    words, test = _TESTS[name]
    return Check(words, str(value), lambda one: test(one, value))


def facts_of(path: str, metadata: Iterable[object]) -> Facts:
    """Read the metadata of a type.

    Raises:
      BadValue: an item is not supported; the message contains it.
    """
    facts = Facts()
    for one in metadata:
        _read(path, one, facts)
    return facts


def is_plain(metadata: Iterable[object]) -> bool:
    """Return whether msgspec reads all of the metadata without help."""
    return all(isinstance(one, msgspec.Meta) for one in metadata)


def is_field(value: object) -> bool:
    """Return whether this is pydantic's `Field(...)`, or a subclass such as FastAPI's `Query(...)`."""
    return any(
        (base.__module__, base.__name__) == ("pydantic.fields", "FieldInfo") for base in type(value).__mro__
    )


def describes(metadata: Iterable[object]) -> bool:
    """Return whether the metadata contains a description of the type."""
    return any(
        isinstance(one, str) or bool(getattr(one, "description", None)) or hasattr(one, "documentation")
        for one in metadata
    )


def _read(path: str, one: Any, facts: Facts) -> None:
    given: object = one
    kind = type(given)
    where = kind.__module__.partition(".")[0]
    if one is None:  # `pydantic.conint` adds None for arguments that are not given
        return
    if isinstance(one, str):
        facts.description = one
    elif isinstance(one, msgspec.Meta):
        _meta(one, facts)
    elif is_field(one):
        _field(path, one, facts)
    elif isinstance(getattr(one, "documentation", None), str):  # typing_extensions.Doc and similar classes
        facts.description = one.documentation
    elif getattr(one, "__is_annotated_types_grouped_metadata__", False) is True:
        for inner in one:
            _read(path, inner, facts)
    elif where == "annotated_types" and kind.__name__ in _ATOMS:
        name = _ATOMS[kind.__name__]
        facts.bound(name, getattr(one, name))
    elif where == "annotated_types" and kind.__name__ == "Predicate":
        said = getattr(one.func, "__qualname__", None) or repr(one.func)
        facts.checks.append(Check("such that", f"{said} holds", one.func))
    elif where == "annotated_types" and kind.__name__ == "Unit":
        facts.extra["unit"] = str(one.unit)
    elif where == "annotated_types" and kind.__name__ == "Timezone" and one.tz in (None, ...):
        facts.tz = one.tz is not None
    elif where == "pydantic" and kind.__name__ in ("Strict", "AllowInfNan"):
        pass  # without effect: values are always read strictly, and JSON has no infinity
    elif where == "pydantic" and kind.__name__ in ("Tag", "Discriminator"):
        facts.union.append(one)
    elif where == "pydantic" and kind.__name__ == "_PydanticGeneralMetadata":
        _general(path, one, facts)
    else:
        raise BadValue(
            path, f"{_shown(one)} in Annotated is not supported and would not be enforced; remove it"
        )


_ATOMS: Final = {
    "Gt": "gt",
    "Ge": "ge",
    "Lt": "lt",
    "Le": "le",
    "MultipleOf": "multiple_of",
    "MinLen": "min_length",
    "MaxLen": "max_length",
}


def _meta(meta: msgspec.Meta, facts: Facts) -> None:
    for name in _TESTS:
        if (value := getattr(meta, name)) is not None:
            facts.bound(name, value)
    facts.description = meta.description or facts.description
    facts.title = meta.title or facts.title
    facts.examples += meta.examples or ()
    facts.extra |= meta.extra_json_schema or {}  # pyright: ignore[reportUnknownMemberType]
    facts.tz = facts.tz if meta.tz is None else meta.tz


def _field(path: str, info: Any, facts: Facts) -> None:
    for one in info.metadata:
        _read(path, one, facts)
    facts.description = info.description or facts.description
    facts.title = info.title or facts.title
    facts.examples += info.examples or ()
    if info.default_factory is not None:
        facts.default_factory = info.default_factory
    elif info.default is not ... and type(info.default).__name__ != "PydanticUndefinedType":
        facts.default = info.default
    for alias in (info.validation_alias, info.alias):
        if alias is None:
            continue
        if not isinstance(alias, str):
            raise BadValue(path, f"{_shown(alias)} is supported only in a pydantic model; give one name")
        facts.alias = alias
        break
    if info.discriminator is not None:
        facts.union.append(info.discriminator)
    extra = info.json_schema_extra
    if callable(extra):
        raise BadValue(path, "a function as json_schema_extra is supported only in a pydantic model")
    facts.extra |= extra or {}


def _general(path: str, one: Any, facts: Facts) -> None:
    given = cast("dict[str, Any]", vars(one))
    for name, value in given.items():
        if value is None or name == "allow_inf_nan":
            continue
        if name == "pattern":
            facts.bound("pattern", value)
        elif name == "max_digits":
            facts.checks.append(Check("digits at most", str(value), _at_most(_digits, value)))
        elif name == "decimal_places":
            facts.checks.append(Check("decimal places at most", str(value), _at_most(_places, value)))
        elif value is not False:
            raise BadValue(path, f"{name}={value!r} is supported only in a pydantic model")


def _at_most(count: Callable[[Any], int], most: int) -> Test:
    return lambda value: bool(count(value) <= most)


def _digits(value: Any) -> int:
    parts = Decimal(str(value)).as_tuple()
    assert isinstance(parts.exponent, int)
    return max(len(parts.digits) + max(parts.exponent, 0), -parts.exponent)


def _places(value: Any) -> int:
    exponent = Decimal(str(value)).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)


def _is_whole(value: Any) -> bool:
    try:
        return bool(int(value) == value and abs(value) < 2**63)
    except (TypeError, ValueError, OverflowError):
        return False


def _shown(one: object) -> str:
    text = one.__qualname__ if isinstance(one, type) else repr(one)
    return text if len(text) < 200 else type(one).__qualname__
