"""What a turn amounts to when its answer came by another way than its own stream. PURE.

A batch is the case: the request went out in a file, the answer came back in one. The same decoder,
reducer and conclusion that a stream goes through make the same result of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from typing_extensions import TypeVar

from lutum._turn.outcome import Answered
from lutum._turn.reducer import Reducer
from lutum._values.check import describe
from lutum._values.errors import BadValue, ContractViolation, ProviderError, TurnError, UsageError
from lutum._values.events import Completed, Event, ToolCallIssue, ToolCallReady
from lutum._values.results import Attempt

if TYPE_CHECKING:
    from lutum._turn.builder import Turn
    from lutum.abc import ReadsBodies

R = TypeVar("R")


def result_from_body(body: bytes | str, turn: Turn[R]) -> R:
    """What `turn` amounts to, given its answer as one JSON body: a result that its session can commit.

    `turn` is the builder that the request was made from, or one made again on the same transcript; with
    `.tools()` the outcome is `Finished` or `NeedsTools`. Nothing is sent, reserved or charged: settle
    `result.usage` on a lease of yours. Prices are those of the turn's `Lutum`.

    Args:
      body: the answer as the provider gives it where nothing is streamed. Of a batch's line that is what
        its envelope holds: Claude's `result.message`, OpenAI's `response.body`.

    Raises:
      ProviderError: the body is an error, or no whole answer of this provider.
      TurnError: the answer is no outcome: a structured value that does not decode, a call in a turn
        without tools. `usage` says what it used.
      UsageError: the turn cannot be, or its adapter reads no bodies.
    """
    if not hasattr(turn, "_spec"):
        raise BadValue("turn", f"needs the builder of the turn, not {describe(turn)}")
    context, spec = turn._context, turn._spec
    adapter = context.adapter
    if not hasattr(adapter, "read_body"):
        raise UsageError(f"result_from_body: the adapter {adapter.name!r} reads no bodies")
    prepared = context.prepare(spec)
    data = body.encode() if isinstance(body, str) else body
    events = cast("ReadsBodies", adapter).read_body(prepared, data)
    if not events or not isinstance(events[-1], Completed):
        raise ProviderError("the body is no whole answer", kind="malformed", body=data)
    usage = events[-1].usage
    if context.pricing is not None:
        usage = context.pricing.settled(prepared.model, usage, prepared.billed_by)
    reducer = Reducer(spec.toolset, spec.available, spec.shape)
    try:
        for event in events:
            reducer.apply(event)
        if prepared.request.tools.choice == "none" and (called := _called(events)) is not None:
            raise ContractViolation(f"the model called {called!r} in a turn without tools")
        return turn._finish(reducer, Answered(prepared, (Attempt(1, usage),), usage, secrets.token_hex(16)))
    except TurnError as error:
        error.partial, error.usage, error.started = reducer.partial(), usage, reducer.started
        error.response = reducer.response
        raise


def _called(events: Sequence[Event]) -> str | None:
    calls = (event.name for event in events if isinstance(event, ToolCallReady | ToolCallIssue))
    return next(calls, None)
