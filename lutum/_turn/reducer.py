"""Reduce events to a result, one event at a time, so that a partial result can always be read. No I/O."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import UNSET, UnsetType

from lutum._schema.lenient import Stripped, find_value, may_hold_value, value_start
from lutum._schema.partial import as_partial
from lutum._schema.partial_json import PartialJson, is_array
from lutum._schema.shape import Shape
from lutum._tools.call import CallIssue, ToolCall, typed_call
from lutum._tools.toolset import Toolset
from lutum._values.errors import OutputInvalid, OutputLimitExceeded, UsageError, after_sending
from lutum._values.events import (
    CitationAdded,
    Completed,
    Event,
    ReasoningDelta,
    RefusalDelta,
    StructuredDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallIssue,
    ToolCallReady,
    TurnStarted,
    UsageUpdate,
    WillRetry,
)
from lutum._values.results import (
    COMMENTARY,
    FinishReason,
    PartialResult,
    Response,
    TextItem,
    ToolCallItem,
    Usage,
)

T = TypeVar("T")


class Reducer:
    """The state of a turn, reduced from the events that its consumer has read.

    `apply` returns the event for the consumer. In this event a tool call has its typed object. A call that no
    tool of the turn can run is replaced by an issue.

    Attributes:
      value: the structured value; UNSET before it is decoded.
      value_json: the JSON of `value`.
      stripped: the text around the value that a lenient turn left out.
    """

    __slots__ = (
        "_calls",
        "_json",
        "_lenient",
        "_read",
        "_reader",
        "_reasoning",
        "_refusal",
        "_seen",
        "_shape",
        "_text",
        "available",
        "calls",
        "completed",
        "count",
        "issues",
        "model",
        "reported",
        "response",
        "started",
        "stripped",
        "toolset",
        "value",
        "value_json",
    )

    def __init__(
        self,
        toolset: Toolset[Any] | None = None,
        available: tuple[str, ...] | None = None,
        shape: Shape[Any] | None = None,
        *,
        lenient: bool = False,
    ) -> None:
        self.toolset: Toolset[Any] | None = toolset
        self.available: tuple[str, ...] | None = available
        self._shape = shape
        self._lenient = lenient
        self.count: int = 0
        self.reported: Usage | None = None
        self._reset()

    def _reset(self) -> None:
        self._text = list[str]()
        self._reasoning = list[str]()
        self._refusal = list[str]()
        self._json = list[str]()
        self._reader: PartialJson | None = None
        self._read = 0
        self._seen = list[ToolCallItem]()
        self.calls: list[ToolCall[Any]] = list[ToolCall[Any]]()
        self.issues: list[CallIssue] = list[CallIssue]()
        self.completed: Completed | None = None
        self.model: str = ""
        self.response: Response | None = None
        self.started: bool = False
        self.value: Any = UNSET
        self.value_json: str = ""
        self.stripped: tuple[Stripped, ...] = ()

    def apply(self, event: Event) -> Event:
        """Add one event to the state. Return the event for the consumer."""
        if type(event) is TextDelta:
            self.take_text(event)
            return event
        self.count += 1
        if type(event) is StructuredDelta:  # most events of a structured turn
            self._json.append(event.json)
            self.started = True
            return event
        match event:
            case CitationAdded():
                self.started = True
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
                self.started = True
            case RefusalDelta(text=text):
                self._refusal.append(text)
                self.started = True
            case ToolCallDelta():
                self.started = True
            case ToolCallReady():
                self.started = True
                return self._call(event)
            case ToolCallIssue(id=id, name=name, arguments=arguments, reason=reason, detail=detail):
                self.started = True
                self._seen.append(ToolCallItem(id, name, arguments))
                self.issues.append(CallIssue(id, name, arguments, reason, detail))
            case TurnStarted(model=model, response=response):
                self.model = model
                self.response = response
            case UsageUpdate(usage=usage):
                self.reported = usage
            case WillRetry():
                self._reset()
            case Completed(usage=usage):
                self.reported = usage
                self.completed = event
            case _:
                pass
        return event

    def take_text(self, event: TextDelta) -> None:
        """Add one piece of text. The stream calls this directly, because most events are text."""
        self.count += 1
        self.started = True
        if event.phase != COMMENTARY:
            self._text.append(event.text)

    def _call(self, ready: ToolCallReady) -> Event:
        self._seen.append(ToolCallItem(ready.id, ready.name, ready.arguments))
        if self.toolset is None:
            return ready
        call = typed_call(ready.id, ready.name, ready.arguments, self.toolset, self.available)
        if isinstance(call, ToolCall):
            self.calls.append(call)
            return ToolCallReady(ready.id, ready.name, ready.arguments, call)
        self.issues.append(call)
        return ToolCallIssue(call.id, call.name, call.arguments, call.reason, call.detail)

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def json(self) -> str:
        return "".join(self._json)

    def partial_value(self, *, as_type: bool) -> Any:
        """Return the part of the structured value that has arrived, with its open objects and lists closed.

        Only this method parses the JSON, and it parses each character once.
        """
        if self._shape is None:
            raise after_sending(UsageError("partial_value: this is not a structured turn"))
        if self._reader is None:
            reader = self._shape.partial()
            if self._lenient:
                start = value_start(self.json, of_object=not self._shape.wrapped)
                if start is None:
                    return UNSET
                reader.feed(self.json[start:])
                self._read = len(self._json)
            self._reader = reader
        for piece in self._json[self._read :]:
            self._reader.feed(piece)
        self._read = len(self._json)
        data = self._reader.value()
        view = data if is_array(data) else self._shape.view(data)
        return as_partial(self._shape.type, view) if as_type and view is not UNSET else view

    def conclude(self, shape: Shape[T], finish_reason: FinishReason, refusal: str | None) -> T | UnsetType:
        """Return the structured value of a turn without calls; UNSET if the model refused or the turn was
        paused.

        The provider's finish reason is checked first. At the output limit the text may be cut, so there is no
        value. A refusal counts even if there is other text. Otherwise the whole text is decoded as JSON.

        Raises:
          OutputLimitExceeded: the turn ended at the output limit.
          OutputInvalid: the value is missing or does not decode.
        """
        if finish_reason == "length":
            raise OutputLimitExceeded("the value was cut at the output limit")
        if refusal is not None or finish_reason == "paused":
            return UNSET
        json = self.json
        if not json.strip():
            raise OutputInvalid("the turn completed without a value", raw=json)
        items = () if self.completed is None else self.completed.turn.items
        texts = [item.text for item in items if isinstance(item, TextItem)]
        if len(texts) > 1 and len(set(texts)) == 1 and "".join(texts) == json:
            json = texts[0]  # gpt-4o sometimes sends its message twice, word for word
            self._json, self._reader, self._read = [json], None, 0
        if self._lenient:
            found = find_value(shape, json)
            self.value, self.stripped, self.value_json = found.value, found.stripped, found.json
            return found.value
        try:
            self.value = value = shape.decode(json)
        except OutputInvalid as exc:
            if may_hold_value(json):
                exc.add_note("structured_turn(..., lenient=True) finds a value behind tags, fences or prose")
            raise
        self.value_json = json
        return value

    def partial(self) -> PartialResult:
        """Return the part of the answer that the consumer has read so far."""
        return PartialResult(
            text=self.text,
            reasoning="".join(self._reasoning),
            refusal="".join(self._refusal),
            tool_calls=tuple(self._seen),
            json=self.json,
            model=self.model,
            response=self.response,
        )
