"""Outputs of tasks: the conversion to the form that a folder stores, and back to the value.

Plain JSON is stored unchanged. For any other value the name of its type is stored too. The value is made
again from JSON with the return annotation of the task, or with the named class if its module is loaded.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from typing import Any, cast
from weakref import WeakValueDictionary

import msgspec
from msgspec import UNSET

from lutum._schema.shape import shape_of
from lutum._values.errors import BadValue, OutputInvalid, TranscriptError
from lutum._values.results import CommittedTurn, RefusalItem, Response, StructuredResult, TextResult
from lutum._values.transcript import Transcript
from lutum.eval._identity import is_partial
from lutum.eval._results import TrialResult, as_json, plain

UNKNOWN = "?"
"""The type of an output that can be made again only if the caller gives its type."""

_TEXT, _VALUE = "lutum:TextResult", "lutum:StructuredResult"
_seen: WeakValueDictionary[str, type] = WeakValueDictionary()


class KeptOutput(msgspec.Struct, frozen=True):
    """The stored form of an output: JSON, the name of its type, and the transcript of a turn's result."""

    json: Any
    type: str = ""
    turn: bytes | None = None
    finish_reason: str = ""


def keep_output(value: object) -> KeptOutput:
    """Return the stored form of an output."""
    json = as_json(value)
    if isinstance(value, TextResult):
        kind = _TEXT
        if isinstance(value, StructuredResult):
            inner = _value_type(cast("StructuredResult[object]", value)._value)
            kind = f"{_VALUE}[{inner}]" if inner else _VALUE
        try:
            turn = value.base.append(value.turn).dump()
        except TranscriptError:
            return KeptOutput(json, UNKNOWN)
        return KeptOutput(json, kind, turn, value.finish_reason)
    return KeptOutput(json, "" if _is_plain(value) else _type_of(value))


def restored(result: TrialResult, hint: object = None) -> Any:
    """Make the output of a trial again from its stored form.

    Args:
      result: the trial.
      hint: the type of its output, if it is known.

    Raises:
      BadValue: the value cannot be made again.
    """
    kept = result.output_type
    try:
        if kept.startswith(_TEXT) or kept.startswith(_VALUE):
            return _turn_result(result, hint)
        if kept == "" and hint is None:
            return result.output
        if inspect.isroutine(hint):
            return hint(result.output)
        wanted = hint if hint is not None else _loaded(kept)
        if wanted is None:
            raise ValueError(f"its type {kept!r} is unknown")
        return _converted(result.output, wanted)
    except (ValueError, TypeError, msgspec.MsgspecError, OutputInvalid, TranscriptError) as exc:
        raise BadValue(
            "output",
            f"the stored output of trial {result.trial} of case {result.case!r} cannot be decoded: {exc}."
            " Give its type: annotate the task's return value, or pass output= to rescore",
        ) from None


def hint_of(task: object) -> Any:
    """Return the return annotation of a task; None if it is missing or not usable."""
    while is_partial(task):
        task = task.func
    fn: Any = task if hasattr(task, "__code__") or hasattr(task, "__func__") else type(task).__call__
    try:
        hint = typing.get_type_hints(fn).get("return")
    except Exception:  # the annotation uses a name that is defined only for type checkers
        return None
    unknown = hint in (Any, object, typing.NoReturn, typing.Never) or isinstance(hint, typing.TypeVar)
    return None if unknown else hint


def _turn_result(result: TrialResult, hint: object) -> TextResult:
    transcript = Transcript.load(result.output_turn or b"")
    turn = transcript[len(transcript) - 1]
    assert isinstance(turn, CommittedTurn)
    refused = any(isinstance(item, RefusalItem) for item in turn.items)
    fields: dict[str, Any] = {
        "text": turn.text,
        "reasoning": turn.reasoning,
        "refusal": turn.refusal if refused else None,
        "finish_reason": result.finish_reason,
        "usage": result.usage,
        "cumulative_usage": result.usage,
        "attempts": (),
        "model": turn.model,
        "response": Response(),
        "turn": turn,
        "base": transcript[: len(transcript) - 1],
        "_request": None,
    }
    if not result.output_type.startswith(_VALUE):
        return TextResult(**fields)
    named = re.search(r"\[(.*)\]$", result.output_type)
    inner = next(iter(typing.get_args(hint)), None) or (_loaded(named[1]) if named else None)
    if named is None:
        return cast("TextResult", StructuredResult(**fields))
    if inner is None:
        raise ValueError(f"its type {named[1]!r} is unknown")
    return cast("TextResult", StructuredResult(**fields, _value=shape_of(inner).decode(turn.text)))


def _converted(value: Any, wanted: Any) -> Any:
    if hasattr(wanted, "model_validate"):
        return wanted.model_validate(value)
    return msgspec.json.decode(msgspec.json.encode(value), type=wanted, dec_hook=_models)


def _models(kind: Any, value: Any) -> Any:
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    if kind is TextResult:
        raise TypeError("a turn's result inside another value is not stored in full")
    raise TypeError(f"{kind.__name__} has no JSON form")


def _is_plain(value: object) -> bool:
    """Return whether JSON represents the value without a change of type or text."""
    if type(value) in (str, int, float, bool, type(None)):
        return not isinstance(value, str) or plain(value) == value
    if type(value) is list:
        return all(map(_is_plain, cast("list[object]", value)))
    if type(value) is dict:
        items = cast("dict[object, object]", value).items()
        return all(type(key) is str and _is_plain(one) for key, one in items)
    return False


def _type_of(value: object) -> str:
    kind = type(value)
    if kind in (list, dict):
        return UNKNOWN
    if kind in (tuple, set, frozenset) and not all(map(_is_plain, cast("tuple[object, ...]", value))):
        return UNKNOWN
    return _named(kind)


def _value_type(value: object) -> str:
    return "" if value is UNSET else _named(type(value))


def _named(kind: type) -> str:
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        _seen[name] = kind
    except TypeError:
        pass
    return name


def _loaded(name: str) -> Any:
    """Return a class by its name, if its module is already loaded."""
    if (known := _seen.get(name)) is not None:
        return known
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
