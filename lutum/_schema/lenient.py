"""Lenient decoding: find a value behind reasoning tags, in a code fence or in prose.

Models write such text if the server does not enforce the schema. The text around the value is kept as
`Stripped`. These rules are tried in order:

1. The text is one JSON value.
2. Reasoning at the start is removed, and the rest is one JSON value. Reasoning is `<think>...</think>` or a
   similar pair of tags. It is also all text up to a closing tag whose opening tag was in the prompt.
3. The content of a code fence is a value of the type.
4. A JSON object or array in the text, which is not inside another one, is a value of the type.

With rules 3 and 4, exactly one value must have the type; equal values count as one. Invalid JSON is not
repaired. A type that is not an object is requested as `{"value": ...}`; the answer may lack this wrapper.
No I/O, no clock, no tasks.
"""

from __future__ import annotations

import json as stdlib_json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, overload

import msgspec

from lutum._schema.partial_json import is_object
from lutum._schema.shape import Shape, shape_of
from lutum._values.errors import OutputInvalid

T = TypeVar("T")

Span = tuple[int, int]

_TAGS: Final = r"think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think"
_BLOCK: Final = re.compile(rf"\s*<({_TAGS})>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_OPENING: Final = re.compile(rf"\s*<({_TAGS})>", re.IGNORECASE)
_CLOSING: Final = re.compile(rf"</({_TAGS})>", re.IGNORECASE)
_FENCE: Final = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)\n?[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_MARKS: Final = re.compile(r"[`~]{3,}[\w+-]*")
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[\]{}]')

# The largest number of opening brackets that are tried in prose. Each try scans the rest of the text.
_MOST_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Stripped:
    """Text around the value: reasoning `tags`, the marks of a `fence`, or `prose`."""

    kind: Literal["tags", "fence", "prose"]
    text: str


@dataclass(frozen=True, slots=True)
class FoundValue(Generic[T]):
    """A value, its JSON, and the text around it, in order."""

    value: T
    json: str
    stripped: tuple[Stripped, ...]


def find_value(shape: Shape[T], text: str) -> FoundValue[T]:
    """Return the value in a text, by the rules of this module.

    Raises:
      OutputInvalid: the text contains no value of the type, or several different ones.
    """
    if _is_json(text):
        return FoundValue(_decode(shape, text), text.strip(), ())
    tags = _tags(text)
    start = tags[-1][1] if tags else 0
    if _OPENING.match(text, start):
        reason = "the reasoning in the text has no closing tag"
        raise OutputInvalid(reason, raw=text, reason=reason)
    rest = (start, len(text))
    if _is_json(text[start:]):
        return _found(shape, text, tags, rest)
    refused: OutputInvalid | None = None
    for spans in (_fenced(text, start), _in_prose(text, start)):
        fitting: list[Span] = []
        for span in spans:
            try:
                _decode(shape, text[slice(*span)])
            except OutputInvalid as exc:
                refused = refused or exc
            else:
                fitting.append(span)
        if len({_canonical(text[slice(*span)]) for span in fitting}) > 1:
            reason = f"{len(fitting)} different values of the type are in the text"
            raise OutputInvalid(reason, raw=text, reason=reason)
        if fitting:
            return _found(shape, text, tags, fitting[0])
    if refused is None:
        raise OutputInvalid("no JSON value in the text", raw=text, reason="no JSON value in the text")
    raise OutputInvalid(
        str(refused), raw=text, path=refused.path, reason=refused.reason, problems=refused.problems
    ) from refused.__cause__


def may_hold_value(text: str) -> bool:
    """Return whether a text that is not JSON may contain JSON."""
    return not _is_json(text) and value_start(text, of_object=False) is not None


def value_start(text: str, *, of_object: bool) -> int | None:
    """Return where the value may begin in a text that is still arriving; None if that is not known yet."""
    start = 0
    while block := _BLOCK.match(text, start):
        start = block.end()
    rest = text[start:].lstrip()
    if _OPENING.match(text, start) or (rest.startswith("<") and ">" not in rest):
        return None
    if closing := _CLOSING.search(text, start):
        start = closing.end()
    found = re.compile(r"\{" if of_object else r"[\[{]").search(text, start)
    return None if found is None else found.start()


def _found(shape: Shape[T], text: str, tags: list[Span], span: Span) -> FoundValue[T]:
    start = tags[-1][1] if tags else 0
    around = [Stripped("tags", text[slice(*one)]) for one in tags]
    around += _around(text[start : span[0]])
    around += _around(text[span[1] :])
    return FoundValue(_decode(shape, text[slice(*span)]), text[slice(*span)].strip(), tuple(around))


def _around(text: str) -> list[Stripped]:
    words = text.strip()
    if not words:
        return []
    return [Stripped("fence" if _MARKS.fullmatch(words) else "prose", words)]


def _decode(shape: Shape[T], text: str) -> T:
    if not shape.wrapped:
        return shape.decode(text)
    wrapped = f'{{"value":{text}}}'
    tree = msgspec.json.decode(text, type=Any) if text.lstrip().startswith("{") else None
    if not is_object(tree) or tree.keys() != {"value"}:
        return shape.decode(wrapped)
    try:
        return shape.decode(text)
    except OutputInvalid as exc:
        try:
            return shape.decode(wrapped)
        except OutputInvalid:
            raise exc from exc.__cause__


def _tags(text: str) -> list[Span]:
    """Return the blocks of reasoning at the start of a text."""
    found: list[Span] = []
    start = 0
    while block := _BLOCK.match(text, start):
        found.append(block.span())
        start = block.end()
    if not found and not _OPENING.match(text):
        # Chat templates of some models end in the opening tag, so the answer has only the closing tag.
        closing = _CLOSING.search(text)
        if closing is not None and not _is_quoted(text, closing.start()):
            found.append((0, closing.end()))
    return found


def _is_quoted(text: str, at: int) -> bool:
    """Return whether a position is inside a JSON value that begins before it."""
    return any(start < at < end for start, end in _in_prose(text, 0))


def _fenced(text: str, start: int) -> list[Span]:
    spans = (fence.span(2) for fence in _FENCE.finditer(text, start))
    return [span for span in spans if _is_json(text[slice(*span)])]


def _in_prose(text: str, start: int) -> Iterator[Span]:
    """Yield the outermost JSON objects and arrays."""
    opening = re.compile(r"[\[{]")
    for _ in range(_MOST_TRIES):
        found = opening.search(text, start)
        if found is None:
            return
        end = _balanced(text, found.start())
        if end is not None and _is_json(text[found.start() : end]):
            yield found.start(), end
            start = end
        else:
            start = found.end()


def _balanced(text: str, start: int) -> int | None:
    """Return the end of the brackets that open at `start`. Brackets in strings do not count."""
    open_: list[str] = []
    for token in _JSON_TOKEN.finditer(text, start):
        mark = token[0]
        if mark in "[{":
            open_.append("]" if mark == "[" else "}")
        elif mark in "]}" and open_.pop() != mark:
            return None
        if not open_:
            return token.end()
    return None


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return bool(text.strip())


def _canonical(text: str) -> str:
    return stdlib_json.dumps(stdlib_json.loads(text), sort_keys=True)


@overload
def decode(type: type[T], text: str) -> T: ...
@overload
def decode(type: object, text: str) -> Any: ...
def decode(type: Any, text: str) -> Any:
    """Find a value of a type in a text and decode it, as a lenient structured turn does.

    The value may be the whole text, or be behind reasoning tags, in a code fence or in prose.
    docs/structured.md has the rules. lutum does not guess a value and does not repair JSON. Types without a
    strict schema, such as `dict[str, int]`, are accepted too.

    Raises:
      BadValue: lutum cannot decode values of this type.
      OutputInvalid: the text contains no value of the type, or several different ones.
    """
    return find_value(shape_of(type, strict=False), text).value
