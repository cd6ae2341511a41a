"""Conversion of a caller's types to types that msgspec reads, and of msgspec's values to the caller's types.

msgspec ignores unknown metadata in `Annotated`, and does not accept a union with a pydantic model. If a class
contains such metadata or such a union, msgspec decodes a Struct with the same fields instead (the stand-in),
and the value of the caller's class is made from the stand-in. Other types are not changed.
No I/O, no clock, no tasks.
"""

from __future__ import annotations

import collections.abc
import copy
import functools
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, NewType, Union, final, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET

from lutum._schema.fields import ClassField, Kind, fields_of, is_named_tuple, kind_of
from lutum._schema.metadata import Check, Facts, facts_of, is_field, is_plain
from lutum._schema.model_union import ModelUnion, model_union
from lutum._schema.names import description_of, is_model, short_name
from lutum._values.errors import BadValue

Problems = list[tuple[str, str]]
"""The problems of a value: the path and the message of each."""

Restore = Callable[[Any, str, Problems], Any]
"""Makes the caller's value. The arguments are msgspec's value, the value's path, and a list to which the
function appends the problems that it finds."""

_UNIONS = (Union, types.UnionType)
_NONE = type(None)
_ARRAYS: dict[Any, type[Any]] = {list: list, set: set, frozenset: frozenset}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


@final
@dataclass(frozen=True, slots=True)
class Readable:
    """A type that msgspec reads, and the function that makes the caller's value.

    The function is None if msgspec's value is already the caller's value.
    """

    hint: Any
    restore: Restore | None = None


def readable(hint: Any, path: str = "$") -> Readable:
    """Return the type that msgspec reads instead of this one.

    Raises:
      BadValue: an item in `Annotated` is not supported; the error's field is the path of the item.
    """
    made = _Rewriter()
    return made.rewrite(hint, path)


class _Rewriter:
    def __init__(self) -> None:
        self._stand_ins: dict[Any, Readable | None] = {}
        self._aliases: list[Any] = []

    def rewrite(self, hint: Any, path: str) -> Readable:
        if (inner := _alias_of(hint)) is not None:
            if any(hint is one for one in self._aliases):
                return Readable(hint)  # a recursive alias
            self._aliases.append(hint)
            made = self.rewrite(inner, path)
            self._aliases.pop()
            return made if _differs(made, inner) else Readable(hint)
        if hint is object:
            return Readable(Any)
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(hint, args[0], args[1:], path)
        if origin in _UNIONS:
            return self._union(hint, args, Facts(), path)
        if origin in _ARRAYS and args:
            return self._array(hint, _ARRAYS[origin], args[0], path)
        if origin is tuple and len(args) == 2 and args[1] is ...:
            return self._array(hint, tuple, args[0], path)
        if origin is tuple and args:
            return self._tuple(hint, args, path)
        if origin in _MAPPINGS and args:
            return self._dict(hint, args, path)
        if isinstance(origin, type) and len(args) == 1 and origin.__module__ == "collections.abc":
            return self._array(hint, set if "Set" in origin.__name__ else list, args[0], path)
        if is_named_tuple(hint):
            self._check_named_tuple(hint, path)
        kind = kind_of(hint)
        return Readable(hint) if kind is None else self._class(hint, kind, path)

    def _check_named_tuple(self, hint: Any, path: str) -> None:
        """Raise BadValue for a named tuple whose annotations msgspec would ignore."""
        if any(_is_foreign(one) for one in _reached(hint)):
            told = "so the constraints of its fields would not be enforced; use a dataclass"
            raise BadValue(path, f"{short_name(hint)} is a named tuple, {told}")

    def _annotated(self, hint: Any, base: Any, metadata: tuple[Any, ...], path: str) -> Readable:
        made = self.rewrite(base, path)
        if is_plain(metadata) and not _bounds_a_union(base, metadata):
            if not _differs(made, base):
                return Readable(hint)
            if is_plain_words(metadata):
                return Readable(Annotated[made.hint, *metadata], made.restore)
        facts = facts_of(path, metadata)
        if get_origin(base) in _UNIONS:
            made = self._union(base, get_args(base), facts, path)
        elif facts.union and not is_model(base):
            raise BadValue(path, "a discriminator is supported only on a union of pydantic models")
        return constrained(made, facts)

    def _union(self, hint: Any, args: tuple[Any, ...], facts: Facts, path: str) -> Readable:
        arms = [self.rewrite(one, path) for one in args]
        kept = [(arg, arm) for arg, arm in zip(args, arms, strict=True) if arg is not _NONE]
        custom = [arm for _, arm in kept if _is_custom(arm.hint)]
        optional = len(kept) < len(args)
        if facts.union and not all(_is_custom(arm.hint) for _, arm in kept):
            raise BadValue(path, "a discriminator is supported only on a union of pydantic models")
        if custom and len(kept) > 1:
            marker = model_union([arg for arg, _ in kept], [arm.hint for _, arm in kept], facts.union)
            facts.union = []
            return Readable(marker | None if optional else marker)
        if not any(_differs(arm, arg) for arg, arm in zip(args, arms, strict=True)):
            return Readable(hint)
        return Readable(Union[tuple(arm.hint for arm in arms)], _of_union(arms))  # noqa: UP007  # known at run time

    def _array(self, hint: Any, make: type[Any], item: Any, path: str) -> Readable:
        made = self.rewrite(item, f"{path}[]")
        if not _differs(made, item):
            return Readable(hint)
        generic: Any = make
        new: Any = generic[made.hint, ...] if make is tuple else generic[made.hint]
        restore = made.restore
        if restore is None:
            return Readable(new)

        def items(value: Any, where: str, problems: Problems) -> Any:
            if type(value) is not make:
                return value  # the field's default, which msgspec did not decode
            return generic(restore(one, f"{where}[{i}]", problems) for i, one in enumerate(value))

        return Readable(new, items)

    def _tuple(self, hint: Any, args: tuple[Any, ...], path: str) -> Readable:
        arms = [self.rewrite(one, f"{path}[{i}]") for i, one in enumerate(args)]
        if not any(_differs(arm, arg) for arg, arm in zip(args, arms, strict=True)):
            return Readable(hint)

        def items(value: Any, where: str, problems: Problems) -> Any:
            return tuple(
                one if arm.restore is None else arm.restore(one, f"{where}[{i}]", problems)
                for i, (one, arm) in enumerate(zip(value, arms, strict=True))
            )

        return Readable(tuple[tuple(arm.hint for arm in arms)], items)  # type: ignore[misc]  # made at run time

    def _dict(self, hint: Any, args: tuple[Any, ...], path: str) -> Readable:
        key, value = (self.rewrite(one, f"{path}[...]") for one in args)
        if not _differs(key, args[0]) and not _differs(value, args[1]):
            return Readable(hint)

        def members(found: Any, where: str, problems: Problems) -> Any:
            return {
                (name if key.restore is None else key.restore(name, f"{where}[...]", problems)): (
                    one if value.restore is None else value.restore(one, f"{where}[{name!r}]", problems)
                )
                for name, one in found.items()
            }

        return Readable(dict[key.hint, value.hint], members)  # type: ignore[name-defined]  # made at run time

    def _class(self, hint: Any, kind: Kind, path: str) -> Readable:
        if hint in self._stand_ins:
            return self._stand_ins[hint] or Readable(hint)
        try:
            fields = fields_of(hint, kind)
        except (NameError, TypeError, AttributeError, SyntaxError):
            return Readable(hint)  # msgspec reads the class later and raises the error
        reached = _reached(hint)
        if not any(_is_foreign(one) for one in reached):
            self._stand_ins[hint] = None
            return Readable(hint)
        return self._stand_in(hint, kind, fields, path)

    def _stand_in(self, hint: Any, kind: Kind, fields: list[ClassField], path: str) -> Readable:
        cls: Any = get_origin(hint) or hint
        config: Any = getattr(cls, "__struct_config__", None)
        rows: list[tuple[ClassField, Any]] = []
        for one in fields:
            metadata = _metadata(one.hint)
            if is_field(one.default):
                metadata, one.default = (*metadata, one.default), NODEFAULT
                one.hint = Annotated[one.hint, metadata[-1]]
            facts = Facts() if is_plain(metadata) else facts_of(f"{path}.{one.name}", metadata)
            if one.required:
                one.default, one.default_factory = facts.default, facts.default_factory
            if facts.alias is not None:
                one.key = facts.alias
            kept = msgspec.field(default_factory=one.default_factory, name=one.key)
            if one.default_factory is NODEFAULT:
                kept = _default(one)
            rows.append((one, kept))
        made = msgspec.defstruct(
            short_name(hint),
            [(one.name, Any, default) for one, default in rows],
            module=cls.__module__,
            frozen=True,
            kw_only=True,
            tag_field=getattr(config, "tag_field", None),
            tag=getattr(config, "tag", None),
            forbid_unknown_fields=getattr(config, "forbid_unknown_fields", False),
        )
        made.__doc__ = description_of(cls)
        parts: list[tuple[ClassField, Restore | None]] = []

        def restore(value: Any, where: str, problems: Problems) -> Any:
            if type(value) is not made:
                return value  # the field's default, which msgspec did not decode
            before = len(problems)
            given: dict[str, Any] = {}
            for one, part in parts:
                got = getattr(value, one.name)
                if got is UNSET and kind == "typeddict":
                    continue
                if part is not None and got is not one.default:
                    got = part(got, f"{where}.{one.key}", problems)
                given[one.name] = got
            if len(problems) > before:
                return None
            try:
                return _built(cls, kind, fields, given)
            except (ValueError, TypeError) as exc:  # from `__post_init__`; msgspec reports these two as well
                problems.append((where, str(exc)))
                return None

        # The stand-in is registered before its fields are read, because the type may be recursive.
        here = self._stand_ins[hint] = Readable(made, restore)
        for one, _ in rows:
            inner = self.rewrite(one.hint, f"{path}.{one.name}")
            made.__annotations__[one.name] = inner.hint
            parts.append((one, inner.restore))
        return here


def constrained(made: Readable, facts: Facts) -> Readable:
    """Add constraints to a type.

    The constraints that msgspec enforces go into the type's `Meta`. The restore function checks the others.
    """
    hint, native = _bounded(made.hint, facts)
    checks = facts.left(native)
    words: dict[str, Any] = {one.keyword: one.value for one in checks}
    if facts.examples:
        words["examples"] = facts.examples
    meta: dict[str, Any] = {"description": facts.description, "title": facts.title, "tz": facts.tz}
    meta = {name: value for name, value in meta.items() if value is not None}
    if extra := facts.extra | words:
        meta["extra_json_schema"] = extra
    if meta:
        hint = Annotated[hint, msgspec.Meta(**meta)]
    return Readable(hint, _checked(made.restore, checks) if checks else made.restore)


def is_plain_words(metadata: tuple[Any, ...]) -> bool:
    """Return whether the metadata contains no constraints. Any type accepts such metadata."""
    return not any(facts_of("$", metadata).bounds)


def _bounded(hint: Any, facts: Facts) -> tuple[Any, set[str]]:
    """Return the type with the constraints that msgspec enforces, and the names of these constraints.

    In a union, each suitable member gets the constraints.
    """
    if get_origin(hint) in _UNIONS:
        arms = [_bounded(one, facts) for one in get_args(hint)]
        return Union[tuple(arm for arm, _ in arms)], set[str]().union(*(of for _, of in arms))  # noqa: UP007  # known at run time
    base, *metadata = get_args(hint) if get_origin(hint) is Annotated else [hint]
    native = facts.native(_native_kind(base))
    if not native:
        return hint, set()
    before = facts_of("$", metadata)
    for name, value in native.items():
        before.bound(name, value)
    bounds = before.native(_native_kind(base))
    meta = msgspec.Meta(
        description=before.description,
        title=before.title,
        extra_json_schema=before.extra or None,
        **bounds,
    )
    return Annotated[base, meta], set(native)


def _native_kind(hint: Any) -> str:
    origin = get_origin(hint) or hint
    while isinstance(origin, NewType):
        origin = origin.__supertype__
    if origin in (int, float, str):
        return str(origin.__name__)
    if origin in (bytes, bytearray):
        return "bytes"
    if origin in (list, set, frozenset) or (origin is tuple and get_args(hint)[-1:] == (...,)):
        return "array"
    return "dict" if origin is dict else ""


def _checked(before: Restore | None, checks: list[Check]) -> Restore:
    def restore(value: Any, where: str, problems: Problems) -> Any:
        if before is not None:
            count = len(problems)
            value = before(value, where, problems)
            if len(problems) > count:
                return value
        if value is not None:
            problems.extend(
                (where, f"Expected a value {one.keyword} {one.value}")
                for one in checks
                if not one.holds(value)
            )
        return value

    return restore


def _of_union(arms: list[Readable]) -> Restore | None:
    """Return a function that restores a value of a union. It selects the member by the type of the value.

    The type is a stand-in or a container. Return None if no member needs a restore function.
    """
    by_type: dict[Any, Restore] = {}
    for arm in arms:
        base = get_args(arm.hint)[0] if get_origin(arm.hint) is Annotated else arm.hint
        if arm.restore is not None:
            by_type[get_origin(base) or base] = arm.restore
    if not by_type:
        return None

    def restore(value: Any, where: str, problems: Problems) -> Any:
        part = by_type.get(type(value))
        return value if part is None else part(value, where, problems)

    return restore


def _built(cls: Any, kind: Kind, fields: list[ClassField], given: dict[str, Any]) -> Any:
    if kind == "typeddict":
        return given
    made = cls(**{one.argument or one.name: given[one.name] for one in fields if one.init})
    for one in fields:
        if not one.init:
            object.__setattr__(made, one.name, given[one.name])
    return made


def _default(one: ClassField) -> Any:
    if one.default is NODEFAULT:
        return msgspec.field(name=one.key)
    if type(one.default) in (list, dict, set, bytearray):  # msgspec accepts only empty defaults
        return msgspec.field(default_factory=functools.partial(copy.deepcopy, one.default), name=one.key)
    return msgspec.field(default=one.default, name=one.key)


def _reached(hint: Any) -> list[Any]:
    """Return all annotations and defaults of a class, and of the classes that its annotations contain."""
    found: list[Any] = []
    seen: list[Any] = []
    stack: list[Any] = [hint]
    while stack:
        one = stack.pop()
        if (inner := _alias_of(one)) is not None:
            if not any(one is other for other in seen):
                seen.append(one)
                stack.append(inner)
            continue
        found.append(one)
        origin, args = get_origin(one), get_args(one)
        if origin is Annotated:
            stack.append(args[0])
        elif origin is not typing.Literal:
            stack.extend(arg for arg in args if arg is not ...)
        inner_kind: Kind | None = "namedtuple" if is_named_tuple(one) else kind_of(one)
        if inner_kind is None or one in seen:
            continue
        seen.append(one)
        try:
            for field in fields_of(one, inner_kind):
                stack.append(field.hint)
                found.append(field.default)
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
    return found


def _is_foreign(hint: Any) -> bool:
    """Return whether msgspec would ignore or refuse this annotation."""
    if hint is object or is_field(hint):
        return True
    if get_origin(hint) is Annotated:
        base, *metadata = get_args(hint)
        return not is_plain(metadata) or _bounds_a_union(base, metadata)
    if get_origin(hint) in _UNIONS:
        arms = [one for one in get_args(hint) if one is not _NONE]
        return len(arms) > 1 and any(is_model(_bare(one)) or _holds_union(_bare(one)) for one in arms)
    return False


def _bounds_a_union(base: Any, metadata: Iterable[object]) -> bool:
    """Return whether `base` is a union and the metadata has constraints. msgspec does not accept that."""
    return get_origin(base) in _UNIONS and bool(facts_of("$", metadata).bounds)


def _holds_union(hint: Any) -> bool:
    return get_origin(hint) in _UNIONS and any(is_model(_bare(one)) for one in get_args(hint))


def _bare(hint: Any) -> Any:
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif (inner := _alias_of(hint)) is not None:
            hint = inner
        else:
            return hint


def _is_custom(hint: Any) -> bool:
    bare = _bare(hint)
    if get_origin(bare) in _UNIONS:
        return any(_is_custom(one) for one in get_args(bare))
    return is_model(bare) or (isinstance(bare, type) and issubclass(bare, ModelUnion))


def _alias_of(hint: Any) -> Any:
    """Return the type behind `type X = ...` or a NewType; None for everything else."""
    if isinstance(hint, NewType):
        return hint.__supertype__
    if type(hint).__name__ == "TypeAliasType" and hasattr(hint, "__value__"):
        return hint.__value__
    return None


def _metadata(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _differs(made: Readable, hint: Any) -> bool:
    return made.hint is not hint or made.restore is not None
