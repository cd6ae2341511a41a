"""The result of a turn whose answer did not come from its own stream, such as an answer of a batch. No I/O.

In a provider's batch API, the requests are sent in a file and the answers are returned in a file. The result
is made by the same decoder, reducer and conclusion as the result of a stream.
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
    """Return the result of `turn`, given its answer as one JSON body. The turn's session can commit it.

    `turn` is the builder that made the request, or a new builder on the same transcript. With `.tools()` the
    outcome is `Finished` or `NeedsTools`. Nothing is sent, reserved or charged, so settle `result.usage` on
    your own lease. Prices come from the turn's `Lutum`.

    Args:
      body: the answer as the provider sends it without streaming. In a batch, each line has the answer in a
        member: `result.message` at Claude, `response.body` at OpenAI.

    Raises:
      ProviderError: the body is an error, or not a whole answer of this provider.
      TurnError: the answer is not a valid outcome: a structured value cannot be decoded, or the model called
        a tool in a turn without tools. `usage` of the error has the used tokens.
      UsageError: the turn is not possible, or its adapter cannot read bodies.
    """
    if not hasattr(turn, "_spec"):
        raise BadValue("turn", f"needs the builder of the turn, not {describe(turn)}")
    context, spec = turn._context, turn._spec
    adapter = context.adapter
    if not hasattr(adapter, "read_body"):
        raise UsageError(f"result_from_body: the adapter {adapter.name!r} cannot read a body")
    prepared = context.prepare(spec)
    data = body.encode() if isinstance(body, str) else body
    events = cast("ReadsBodies", adapter).read_body(prepared, data)
    if not events or not isinstance(events[-1], Completed):
        raise ProviderError("the body is not a whole answer", kind="malformed", body=data)
    usage = events[-1].usage
    if context.pricing is not None:
        usage = context.pricing.settled(prepared.model, usage, prepared.billed_by)
    reducer = Reducer(spec.toolset, spec.available, spec.shape, lenient=spec.lenient)
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
