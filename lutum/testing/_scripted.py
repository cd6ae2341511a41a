"""An adapter that answers from scripts, without a wire protocol. It is for tests of code that uses turns.

To test adapters, streams and faults, use `WireServer`, which uses the real protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast, final, get_args

import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Struct

from lutum._values.check import describe
from lutum._values.errors import BadValue
from lutum._values.events import (
    CitationAdded,
    Completed,
    Event,
    ReasoningDelta,
    RefusalDelta,
    StructuredDelta,
    StructuredReady,
    TextDelta,
    ToolCallReady,
    TurnStarted,
)
from lutum._values.results import (
    CommittedTurn,
    Estimate,
    ReasoningItem,
    RefusalItem,
    Response,
    TextItem,
    Tokens,
    ToolCallItem,
    Usage,
    ViewItem,
)
from lutum.abc import Phase, Prepared, ReplayForm, TurnRequest

Step = str | Event | BaseException
"""A piece of text (JSON in a structured turn), an event, or an exception to raise at that point."""


class Script(Struct, frozen=True):
    """One answer.

    If the last step is `CUT`, the turn has no terminal event. If the first step is an exception, it is raised
    before the response begins. `tokens` are the tokens of the turn and of its prompt.
    """

    steps: tuple[Step, ...]
    usage: Usage | None = None
    finish_reason: str = "stop"
    tokens: Tokens | None = None


@final
class _Cut:
    def __repr__(self) -> str:
        return "CUT"


_EVENTS = tuple(get_args(Event))

CUT = _Cut()
"""As the last step of a script, it ends the response without a terminal event."""


@final
class ScriptedAdapter:
    """An adapter that answers each request with the next script; `requests` keeps every request.

    A script is a `Script`, or only its steps: `ScriptedAdapter([["Hel", "lo"], ["bye", CUT]])`. A text is a
    piece of the answer; in a structured turn, it is a piece of the JSON. All turns share one queue of
    scripts. When the queue is empty, a request raises LookupError.

    For overlapping turns, give a function instead: `ScriptedAdapter(lambda request: [...])`. It takes the
    request and returns its script, so the order in which the requests arrive does not matter.

    Raises:
      BadValue: a script is malformed. `field` of the error names the script and the step.
    """

    name = "scripted"

    def __init__(
        self,
        scripts: Iterable[Script | Sequence[Step | _Cut]]
        | Callable[[TurnRequest], Script | Sequence[Step | _Cut]] = (),
        *,
        scope: str = "scripted",
        model: str = "scripted-1",
        default_max_output_tokens: int = 1024,
    ) -> None:
        self.scope = scope
        self.requests: list[TurnRequest] = []
        self._model = model
        self._bound = default_max_output_tokens
        self._answer = scripts if callable(scripts) else None
        if isinstance(scripts, str | bytes | Script) or not (callable(scripts) or _is_iterable(scripts)):
            raise BadValue("scripts", f"is {describe(scripts)}; give a list of scripts, each a list of steps")
        given = () if callable(scripts) else scripts
        self._scripts = [_script(script, f"scripts[{i}]") for i, script in enumerate(given)]

    def prepare(self, request: TurnRequest) -> Prepared:
        settings = request.settings
        model = settings.model if isinstance(settings.model, str) else self._model
        bound = settings.max_output_tokens
        bound = bound if isinstance(bound, int) else self._bound
        sent = [*request.transcript, *(item for _, item in request.ephemerals)]
        body = b"\n".join(msgspec.json.encode(item) for item in sent)
        turns = (item for item in request.transcript if isinstance(item, CommittedTurn))
        return Prepared(
            request=request,
            url="scripted:",
            body=body,
            model=model,
            forms=tuple(self.replay_form(turn, self.scope, model) for turn in turns),
            estimate=Estimate(len(body) // 3 + 1, bound),
        )

    def exchange(self, prepared: Prepared) -> ScriptedExchange:
        return ScriptedExchange(self, prepared)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        if turn.adapter != self.name or turn.scope != scope:
            return ReplayForm(False, f"made by {turn.adapter} at {turn.scope}")
        return ReplayForm(turn.exact, turn.inexact_reason or "")

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        before, after = earlier.body.split(b"\n"), later.body.split(b"\n")
        for i, line in enumerate(before):
            if i >= len(after) or after[i] != line:
                return f"$[{i}]"
        return None

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close.

        Not a checkpoint.
        """

    def __repr__(self) -> str:
        return f"<ScriptedAdapter, {len(self._scripts)} scripts left>"

    def _next(self, request: TurnRequest) -> tuple[Step | _Cut, ...]:
        self.requests.append(request)
        if self._answer is not None:
            return _script(self._answer(request), "script")
        if not self._scripts:
            raise LookupError(f"ScriptedAdapter: no script is left for request {len(self.requests)}")
        return self._scripts.pop(0)


MockLlmAdapter = ScriptedAdapter
"""The old name of `ScriptedAdapter`."""


@final
class ScriptedExchange:
    """One script, played one step at a time."""

    def __init__(self, adapter: ScriptedAdapter, prepared: Prepared) -> None:
        self.response: Response | None = None
        self._adapter = adapter
        self._prepared = prepared
        self._steps: list[Step | _Cut] = []

    async def open(self, mark: Callable[[Phase], None]) -> None:
        mark("connected")
        await checkpoint()
        mark("sent")
        self._steps = list(self._adapter._next(self._prepared.request))
        if self._steps and isinstance(first := self._steps[0], BaseException):
            raise first
        self.response = Response(request_id=f"scripted-{len(self._adapter.requests)}")
        self._items = list[ViewItem]()
        self._steps.insert(0, TurnStarted(self._prepared.model, self.response))

    async def receive(self, out: list[Event]) -> bool:
        await checkpoint()
        if not self._steps:
            return False
        step = self._steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, _Cut):
            return False
        event = self._said(step) if isinstance(step, str) else step
        if isinstance(event, Completed) and not event.turn.adapter:
            event = msgspec.structs.replace(event, turn=self._turn(event.turn.tokens))
        out.append(event)
        _collect(self._items, event)
        return True

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def _said(self, text: str) -> Event:
        return TextDelta(text) if self._prepared.request.output is None else StructuredDelta(text)

    def _turn(self, tokens: Tokens | None) -> CommittedTurn:
        items = tuple(self._items)
        wire = msgspec.json.encode(items)
        name, scope = self._adapter.name, self._adapter.scope
        return CommittedTurn(name, scope, self._prepared.model, wire, items, tokens=tokens)


def _is_iterable(value: object) -> bool:
    return isinstance(value, Iterable)


def _check(field: str, steps: Sequence[object]) -> None:
    """Raise BadValue if a step has an unknown type, or comes after a step that ends the answer."""
    for i, step in enumerate(steps):
        where = f"{field}[{i}]"
        if isinstance(step, StructuredReady):
            raise BadValue(where, "is made by lutum from the answer; give the JSON of the answer as text")
        if not isinstance(step, (str, BaseException, _Cut, *_EVENTS)):
            shown = f"the class {step.__name__}" if isinstance(step, type) else describe(step)
            raise BadValue(where, f"is {shown}; a step is a text, an event, an exception or CUT")
        if i < len(steps) - 1 and isinstance(step, BaseException | _Cut | Completed):
            raise BadValue(where, f"ends the answer, and {len(steps) - 1 - i} steps come after it")


def _script(script: Script | Sequence[Step | _Cut], field: str) -> tuple[Step | _Cut, ...]:
    given = script if isinstance(script, Script) else None
    said: object = script if given is None else given.steps
    if isinstance(said, str | bytes | Mapping) or not isinstance(said, Iterable):
        raise BadValue(field, f"is {describe(said)}; a script is a list of steps, such as ['Hello.']")
    if given is not None and not isinstance(cast("object", given.finish_reason), str):
        raise BadValue(f"{field}.finish_reason", f"is {describe(given.finish_reason)}; give a text")
    steps = list(cast("Iterable[Step | _Cut]", said))
    _check(field, steps)
    last = steps[-1] if steps else None
    if not isinstance(last, _Cut | BaseException | Completed):
        deltas = sum(isinstance(step, str | TextDelta | ReasoningDelta | StructuredDelta) for step in steps)
        usage = given.usage if given is not None and given.usage is not None else Usage(10, max(1, deltas))
        reason = "stop" if given is None else given.finish_reason
        tokens = None if given is None else given.tokens
        steps.append(Completed(reason, usage, CommittedTurn("", "", "", b"", tokens=tokens)))
    return tuple(steps)


def _collect(items: list[ViewItem], event: Event) -> None:
    """Add an event to the view; adjacent deltas of one kind become one item."""
    match event:
        case CitationAdded(citation=citation):
            said = items.pop() if items and isinstance(items[-1], TextItem) else TextItem("")
            assert isinstance(said, TextItem)
            items.append(msgspec.structs.replace(said, citations=(*said.citations, citation)))
            return
        case TextDelta(text=text) | StructuredDelta(json=text):
            new: ViewItem = TextItem(text)
        case ReasoningDelta(text=text):
            new = ReasoningItem(text)
        case RefusalDelta(text=text):
            new = RefusalItem(text)
        case ToolCallReady(id=id, name=name, arguments=arguments):
            new = ToolCallItem(id, name, arguments)
        case _:
            return
    if items and isinstance(items[-1], TextItem) and items[-1].citations:
        items.append(new)  # the citation is the end of its text item, as in Claude's text blocks
        return
    if items and type(items[-1]) is type(new) and not isinstance(new, ToolCallItem):
        new = type(new)(items.pop().text + new.text)  # type: ignore[union-attr]  # same kind, so it has a text
    items.append(new)
