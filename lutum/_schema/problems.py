"""A search for all errors in a value, because msgspec stops at the first error.

No I/O, no clock, no tasks.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from lutum._schema.fields import fields_of, kind_of
from lutum._schema.match import whole_number
from lutum._schema.partial_json import is_array, is_object

MOST: Final = 20
"""The largest number of problems that an error lists, and of values that one problem lists."""

Found = list[tuple[str, str]]

_ARRAYS: Final = (list, set, frozenset)


class _ModelInvalid(ValueError):
    """Pydantic's messages, with paths within the model. Pydantic's error is the cause."""

    def __init__(self, problems: Found) -> None:
        super().__init__(problems[0][1])
        self.problems = problems


Hook = Callable[[Any, Any], Any]
"""The function that msgspec calls for a type that it does not know, with the type and the data."""


def decode_model(read: Callable[[str], Any], text: str) -> Any:
    """Decode a pydantic model or a union of models. Raises ValueError with the path of each error."""
    try:
        return read(text)
    except ValueError as exc:
        errors: Any = getattr(exc, "errors", None)
        if errors is None:
            raise
        tree = msgspec.json.decode(text)
        found = errors(include_url=False, include_context=False, include_input=False)
        raise _ModelInvalid([_placed(one["loc"], one["msg"], tree) for one in found]) from exc


def problems_of(
    type: Any, tree: object, first: msgspec.ValidationError, hook: Hook
) -> tuple[Found, BaseException | None]:
    """Return the errors in a tree, and pydantic's exception if it raised one."""
    looked = _Search(hook)
    try:
        looked.at(type, tree, "$")
    except RecursionError:
        looked.found.clear()
    if not looked.found:
        looked.add("$", first)
    return list(dict.fromkeys(looked.found))[:MOST], looked.cause


class _Search:
    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self.found: Found = []
        self.cause: BaseException | None = None

    def at(self, hint: Any, value: object, path: str) -> None:
        if len(self.found) >= MOST:
            return
        base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        origin, args = get_origin(base), get_args(base)
        before = len(self.found)
        if origin in (Union, types.UnionType):
            arm = _arm(args, value)
            if arm is not None:
                self.at(arm, value, path)
                return
        elif origin in _ARRAYS and args and is_array(value):
            for i, one in enumerate(value):
                self.at(args[0], one, f"{path}[{i}]")
        elif origin is tuple and is_array(value):
            kinds = [args[0]] * len(value) if args[1:] == (...,) else list(args)
            for i, (kind, one) in enumerate(zip(kinds, value, strict=False)):
                self.at(kind, one, f"{path}[{i}]")
        elif origin is dict and is_object(value):
            for key, one in value.items():
                self.at(args[1], one, f"{path}.{key}")
        elif (kind := kind_of(base)) is not None and is_object(value):
            self._members(base, fields_of(base, kind), value, path)
        if len(self.found) == before:
            self._leaf(hint, value, path)

    def _members(self, cls: Any, fields: list[Any], value: dict[str, Any], path: str) -> None:
        for one in fields:
            if one.key in value:
                self.at(one.hint, value[one.key], f"{path}.{one.key}")
            elif one.required:
                self.found.append((path, f"Object missing required field `{one.key}`"))
        config: Any = getattr(get_origin(cls) or cls, "__struct_config__", None)
        if config is not None and config.forbid_unknown_fields:
            known = {one.key for one in fields} | {config.tag_field}
            self.found.extend(
                (path, f"Object contains unknown field `{key}`") for key in value if key not in known
            )

    def _leaf(self, hint: Any, value: object, path: str) -> None:
        try:
            _decoder(hint, self._hook).decode(msgspec.json.encode(value))
        except msgspec.ValidationError as exc:
            if isinstance(value, msgspec.Raw) and "Expected `int" in str(exc):
                self.found.append((path, _no_integer(bytes(value).decode(), str(exc))))
            else:
                self.add(path, exc, hint)
        except TypeError:  # the annotation cannot be hashed or read by itself
            return

    def add(self, path: str, exc: msgspec.ValidationError, hint: object = None) -> None:
        """Add an error of msgspec, with pydantic's messages in it."""
        message, mark, inner = str(exc).rpartition(" - at `$")
        if not mark or not inner.endswith("`"):
            message, inner = str(exc), "`"
        cause = exc.__cause__
        if isinstance(cause, _ModelInvalid):
            self.cause = self.cause or cause.__cause__
            self.found.extend((path + inner[:-1] + where, reason) for where, reason in cause.problems)
        else:
            if inner == "`" and message.startswith("Invalid enum value"):
                message += _allowed(hint)
            self.found.append((path + inner[:-1], message))


def _values(hint: Any) -> list[object]:
    """Return the values of a Literal or an enum. For a union, return the values of all its members."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [one.value for one in hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return list(args)
    if origin is Annotated:
        return _values(args[0])
    return [one for arg in args for one in _values(arg)] if origin in (Union, types.UnionType) else []


def _allowed(hint: Any) -> str:
    """Return a clause that lists the allowed values, at most 20. It is empty for types without a list."""
    values = _values(hint)
    if not values:
        return ""
    more = f" and {len(values) - MOST:,} more" if len(values) > MOST else ""
    verb = "is" if len(values) == 1 else "are"
    return f"; allowed {verb} {', '.join(repr(one) for one in values[:MOST])}{more}"


def _arm(arms: tuple[Any, ...], value: object) -> Any:
    """Return the member of a union that a value belongs to; None if that is not known.

    It is the only member besides None, or the member with the value's tag.
    """
    some = [one for one in arms if one is not type(None)]
    if value is None and len(some) < len(arms):
        return None
    if len(some) == 1:
        return some[0]
    for one in some:
        config: Any = getattr(get_origin(one) or one, "__struct_config__", None)
        if config is not None and config.tag_field and is_object(value):
            tag: object = value.get(config.tag_field)
            if tag is not None and tag == config.tag:
                return one
    return None


def _no_integer(text: str, said: str) -> str:
    number = whole_number(text)
    try:
        exact = number is not None or float(text).is_integer()
    except (ValueError, OverflowError):
        exact = False
    if exact and number is None:
        return f"{said}: {text} is above 2^53, where a float is not exact; write all digits of an integer"
    return said if exact else f"{said}: {text} is not a whole number"


def _placed(steps: tuple[Any, ...], said: str, tree: object) -> tuple[str, str]:
    """Return the path and the text of an error of pydantic.

    pydantic's steps also contain union members and validators. These are left out of the path.
    """
    path, here = "", tree
    for at, step in enumerate(steps):
        if is_array(here) and isinstance(step, int) and step < len(here):
            path, here = f"{path}[{step}]", here[step]
        elif is_object(here) and step in here:
            path, here = f"{path}.{step}", here[step]
        elif at == len(steps) - 1 and said == "Field required":
            said = f"Field required: `{step}`"
    return path, said


@functools.lru_cache(maxsize=512)
def _decoder(hint: Any, hook: Hook) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(hint, dec_hook=hook)
