"""Outcomes: make the turn's result from a reducer that has reached `Completed` and from the settled attempts.

No I/O, no clock, no tasks. The same functions are used for streams and for answers that arrive as one body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from lutum._schema.shape import Shape
from lutum._tools.call import ToolCall
from lutum._tools.round import Finished, NeedsTools, ToolRound
from lutum._tools.toolset import Toolset
from lutum._turn.reducer import Reducer
from lutum._values.results import (
    Attempt,
    CommittedTurn,
    Response,
    StructuredResult,
    TextResult,
    Tokens,
    Usage,
)
from lutum._values.tokens import ids_before, shortened
from lutum.abc import Prepared

R = TypeVar("R")
T = TypeVar("T")
I = TypeVar("I")


class Answered(Struct, frozen=True):
    """A request, its attempts in order, the usage of all attempts, and the random id of the turn."""

    prepared: Prepared
    attempts: tuple[Attempt, ...]
    usage: Usage
    turn_id: str = ""


Finish = Callable[[Reducer, Answered], R]
"""A function that makes the result of a turn, after the turn's consumer has reached `Completed`."""


def text_result(reducer: Reducer, answered: Answered) -> TextResult:
    """Return the text result of a completed turn."""
    completed = reducer.completed
    assert completed is not None
    request = answered.prepared.request
    turn = completed.turn
    if request.transcript.head.tools is None and request.tools.head:
        turn = msgspec.structs.replace(turn, tools=request.tools.head)
    if turn.tokens is not None and turn.tokens.prompt:
        turns = (item.tokens for item in request.transcript if isinstance(item, CommittedTurn))
        turn = msgspec.structs.replace(turn, tokens=shortened(turn.tokens, ids_before(turns)))
    return TextResult(
        text=turn.text,
        reasoning=turn.reasoning,
        refusal=_refusal(turn, completed.finish_reason),
        finish_reason=completed.finish_reason,
        usage=answered.attempts[-1].usage,
        cumulative_usage=answered.usage,
        attempts=answered.attempts,
        model=reducer.model,
        response=reducer.response or Response(),
        turn=turn,
        base=request.transcript,
        open_items=completed.open_items,
        _request=request,
        _turn_id=answered.turn_id,
    )


def structured_result(shape: Shape[T]) -> Finish[StructuredResult[T]]:
    """Return the function that makes structured results of this shape.

    That function raises OutputLimitExceeded or OutputInvalid, see `Reducer.conclude`.
    """

    def finish(reducer: Reducer, answered: Answered) -> StructuredResult[T]:
        text = text_result(reducer, answered)
        fields: dict[str, Any] = {name: getattr(text, name) for name in TextResult.__dataclass_fields__}
        value = reducer.conclude(shape, text.finish_reason, text.refusal)
        return StructuredResult(**fields, _value=value)

    return finish


def with_tools(finish: Finish[R], toolset: Toolset[I]) -> Finish[Finished[R] | NeedsTools[I]]:
    """Return a function that makes `NeedsTools` if the turn has a call or an issue, and `Finished`
    otherwise."""

    def finished(reducer: Reducer, answered: Answered) -> Finished[R] | NeedsTools[I]:
        if not reducer.calls and not reducer.issues:
            return Finished(finish(reducer, answered))
        calls = cast("tuple[ToolCall[I], ...]", tuple(reducer.calls))
        return NeedsTools(ToolRound(text_result(reducer, answered), calls, tuple(reducer.issues)))

    return finished


def with_settled(result: R, answered: Answered) -> R:
    """Return the result with the settled figures; the same object if it already has them.

    Its `turn`, `base` and value do not change, so a commit is not affected.
    """
    if isinstance(result, Finished):
        finished = cast("Finished[Any]", result)
        inner = with_settled(finished.result, answered)
        return cast("R", finished if inner is finished.result else Finished(inner))
    if isinstance(result, NeedsTools):
        needs = cast("NeedsTools[Any]", result)
        text = with_settled(needs.round.result, answered)
        same = text is needs.round.result
        return cast("R", needs if same else NeedsTools(replace(needs.round, result=text)))
    held = cast("Any", result)
    if (held.attempts, held.cumulative_usage) == (answered.attempts, answered.usage):
        return result
    usage = answered.attempts[-1].usage
    return cast("R", replace(held, usage=usage, cumulative_usage=answered.usage, attempts=answered.attempts))


def tokens_of(result: object) -> Tokens | None:
    """Return the tokens of a result's turn."""
    if isinstance(result, Finished):
        return tokens_of(cast("Any", result).result)
    if isinstance(result, NeedsTools):
        return tokens_of(cast("Any", result).round.result)
    return result.turn.tokens if isinstance(result, TextResult) else None


def _refusal(turn: CommittedTurn, finish_reason: str) -> str | None:
    return turn.refusal if turn.refusal or finish_reason == "content_filter" else None
