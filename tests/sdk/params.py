"""A strict reading of the SDKs' param types: what they declare, and no member more.

The types are TypedDicts for a type checker. pydantic would take any iterable without looking into it, leave
unknown members alone, and let an answer's model (which takes anything) stand in for a param. So each
TypedDict is made anew, all the way down: iterables as lists, models and files left out.
"""

from __future__ import annotations

import collections.abc
import json
import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import pydantic
import typing_extensions as te

_LISTS = {collections.abc.Iterable, collections.abc.Sequence, list}
# What a type checker is offered beside JSON: files, and models of answers.
_NOT_JSON = ("IO", "PathLike", "BytesIO", "bytes")


@cache
def adapter_of(kind: Any) -> pydantic.TypeAdapter[Any]:
    """The validator of a param type."""
    return pydantic.TypeAdapter(_concrete(kind))


def faults(kind: Any, body: bytes) -> list[str]:
    """What the param type does not take of a request body, as `path: problem`; empty where it takes all."""
    try:
        adapter_of(kind).validate_json(body)
    except pydantic.ValidationError as exc:
        found = exc.errors(include_url=False)
    else:
        return []
    # Of a union's members those are meant whose `type` or `role` fits.
    others = tuple(
        e["loc"][:-1] for e in found if e["type"] == "literal_error" and e["loc"][-1] in ("role", "type")
    )
    meant = [
        e
        for e in found
        if e["loc"][-1] != "str" and not any(e["loc"][: len(other)] == other for other in others)
    ]
    return [f"{_path(e['loc'])}: {e['msg']}" for e in meant] or [f"{_path(found[-1]['loc'])}: fits none"]


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc if not str(part).startswith("list["))


_made: dict[Any, Any] = {}


def _concrete(kind: Any) -> Any:
    if te.is_typeddict(kind):
        if kind not in _made:
            strict = pydantic.ConfigDict(extra="forbid", strict=True)
            hints = te.get_type_hints(kind, include_extras=True)
            _made[kind] = pydantic.with_config(strict)(
                te.TypedDict(
                    kind.__name__,
                    {
                        name: (te.Required if _required(kind, name, hint) else te.NotRequired)[
                            _concrete(hint)
                        ]
                        for name, hint in hints.items()
                    },
                )
            )
        return _made[kind]
    origin, args = te.get_origin(kind), te.get_args(kind)
    if origin in (te.Annotated, te.Required, te.NotRequired):
        return _concrete(args[0])
    if origin in (typing.Union, types.UnionType):
        kept = tuple(made for arg in _kept(args) if (made := _concrete(arg)) is not te.Never)
        return typing.Union[kept] if kept else te.Never  # noqa: UP007  # made of a tuple
    if origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        return list[_concrete(args[0])]
    if origin in (dict, collections.abc.Mapping):
        return dict[args[0], _concrete(args[1])]
    return Any if kind is object else kind


def _required(kind: Any, name: str, hint: Any) -> bool:
    """`__required_keys__` misses what is said in annotations that are strings, as the SDKs' are."""
    origin = te.get_origin(hint)
    return origin is te.Required or (origin is not te.NotRequired and name in kind.__required_keys__)


def _kept(args: tuple[Any, ...]) -> Iterator[Any]:
    for arg in args:
        plain = te.get_origin(arg) or arg
        model = isinstance(plain, type) and not te.is_typeddict(arg) and issubclass(plain, pydantic.BaseModel)
        if not model and getattr(plain, "__name__", "") not in _NOT_JSON:
            yield arg


def without(body: bytes, names: collections.abc.Collection[str]) -> bytes:
    """The body without these of its own members."""
    whole = json.loads(body)
    return json.dumps({name: value for name, value in whole.items() if name not in names}).encode()
