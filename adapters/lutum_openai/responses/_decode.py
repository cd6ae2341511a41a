"""Decode one response's bytes to events. No I/O, no clock, no tasks.

Deltas become events when they are received. An item is final when `response.output_item.done` is received.
The response is final when its terminal event is received. A stream without a terminal event does not complete
the turn.
"""

from __future__ import annotations

from typing import NoReturn, final

import msgspec
from msgspec import Raw

from lutum import (
    CitationAdded,
    Completed,
    Estimate,
    Event,
    ProviderError,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    Response,
    StructuredDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallIssue,
    ToolCallReady,
    TurnStarted,
)
from lutum.dialect.errors import is_error
from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_object,
    encode,
    is_object,
    is_word,
    json_of,
    starts_with,
    string,
)
from lutum.dialect.stream import StreamDecoder
from lutum.dialect.usage import UsageReports, count
from lutum_openai._citations import citation_of
from lutum_openai._errors import ERRORS
from lutum_openai._usage import rates_of, read_usage
from lutum_openai.responses import _turn, _wire
from lutum_openai.responses._received import Place, ReceivedItem, places

_DONE = b"[DONE]"  # the end of OpenRouter's streams, as in Chat Completions
_NO_ERROR = frozenset({b"", b"null", b'""', b"{}", b"[]", b"false"})


class _Answer(msgspec.Struct):
    """The state of a response that is being received."""

    model: str
    id: str | None = None
    started: bool = False


@final
class ResponsesDecoder(StreamDecoder):
    """Decodes one stream. Data after the terminal event is ignored.

    Args:
      response: the head of the answer.
      model: the requested model, used if the stream does not name a model.
      scope, inexact_reason, preface: fields of the committed turn.
      stored: whether the request had `store: true`.
      structured: the text is the JSON of a value.
      value_tool: the forced tool whose arguments are the value.
      estimate: the request's estimate, for figures that the response does not report.
      hidden: the model's reasoning is hidden, so counted tokens are a lower bound.
      rates: the rates that the request selected, used if the answer names none.
    """

    def __init__(
        self,
        response: Response,
        *,
        model: str,
        scope: str,
        stored: bool = True,
        inexact_reason: str | None = None,
        preface: bytes = b"",
        structured: bool = False,
        value_tool: str | None = None,
        estimate: Estimate = Estimate(),
        hidden: bool = False,
        rates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(response, ERRORS)
        self._answer = _Answer(model)
        self._scope = scope
        self._stored = stored
        self._inexact = inexact_reason
        self._preface = preface
        self._structured = structured
        self._value_tool = value_tool
        self._usage = UsageReports(estimate, hidden=hidden)
        self._rates = rates
        self._items = list[ReceivedItem]()
        self._by_id = dict[str, ReceivedItem]()
        self._by_call = dict[tuple[str, str | None], ReceivedItem]()  # a call and its output share a call_id
        self._by_index = dict[int, ReceivedItem]()
        self._extra = False  # a delta had members that its item may lack
        self._deltas = 0

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        """Take a response that was received as one JSON body. It is handled like the response in a terminal
        event."""
        try:
            head = _wire.decode_head(body)
        except FAULTS:
            head = _wire.ResponseHead()
        if head.output is None and head.status not in ("completed", "incomplete", "failed", "cancelled"):
            if head.status in ("queued", "in_progress"):
                return
            self._refuse_body(body)
        if head.status in ("queued", "in_progress"):
            return
        try:
            self._end(Raw(body), body, out)
        except FAULTS as exc:
            self._fail(body, str(exc))

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        try:
            event = _wire.decode_event(data)
        except FAULTS as exc:
            self._unknown(name, data, exc, out)
            return
        self._event(event, data, out)

    def _event(self, event: _wire.StreamEvent, data: bytes, out: list[Event]) -> None:
        if type(event) is _wire.ResponsesTextDelta:
            item = self._find("message", event.item_id, event.output_index, out)
            self._said(item, ("text", event.content_index), event.delta, out)
            if len(event.logprobs) > 2:
                out.append(ProviderEvent("response.output_text.delta.logprobs", bytes(event.logprobs)))
            return
        try:
            self._rare(event, data, out)
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _rare(self, event: _wire.StreamEvent, data: bytes, out: list[Event]) -> None:
        match event:
            case _wire.ArgumentsDelta(item_id=id, output_index=index, delta=delta):
                self._said(self._find("function_call", id, index, out), ("arguments", 0), delta, out)
            case _wire.SummaryDelta(item_id=id, output_index=index, summary_index=i, delta=delta):
                self._said(self._find("reasoning", id, index, out), ("summary", i), delta, out)
            case _wire.ResponsesReasoningDelta() | _wire.OldReasoningDelta():
                item = self._find("reasoning", event.item_id, event.output_index, out)
                self._said(item, ("reasoning", event.content_index), event.delta, out)
            case _wire.ResponsesRefusalDelta(item_id=id, output_index=index, content_index=i, delta=delta):
                self._said(self._find("message", id, index, out), ("refusal", i), delta, out)
            case _wire.ArgumentsDone(item_id=id, output_index=index, arguments=arguments, name=name):
                item = self._find("function_call", id, index, out)
                item.name = item.name or name or ""
                self._whole(item, ("arguments", 0), arguments, out)
            case _wire.AnnotationAdded(item_id=id, output_index=index, content_index=i, annotation=noted):
                item = self._find("message", id, index, out)
                item.annotations.setdefault(i, []).append(copied(noted))
                found = citation_of(item.annotations[i][-1])
                raw = ProviderEvent("response.output_text.annotation.added", data.strip())
                out.append(raw if found is None else CitationAdded(found))
            case _wire.ItemAdded(item=raw, output_index=index):
                self._added(copied(raw), index, out)
            case _wire.ItemDone(item=raw, output_index=index):
                self._item_done(copied(raw), index, data, out)
            case _wire.Created() | _wire.InProgress():
                self._begin(event.response, out)
            case _wire.Queued():
                self._begin(event.response, out)
                out.append(ProviderEvent("response.queued", data.strip()))
            case _wire.ResponsesCompleted() | _wire.Incomplete() | _wire.Done():
                self._end(event.response, data, out)
            case _wire.Failed() | _wire.Cancelled():
                self._failed(event.response, data, out)
            case _wire.ResponsesErrorEvent():
                self._raise(data.strip())
            case _wire.ResponsesTextDelta():
                raise AssertionError("taken before")

    # --- the response --------------------------------------------------------------------------

    def _begin(self, response: Raw, out: list[Event]) -> None:
        head = _wire.decode_head(response) if bytes(response) else _wire.ResponseHead()
        self._start(head, out)
        self._report(head, out, final=False)

    def _start(self, head: _wire.ResponseHead, out: list[Event]) -> None:
        self._answer.id = head.id or self._answer.id
        self._answer.model = head.model or self._answer.model
        if not self._answer.started:
            self._answer.started = True
            told = msgspec.structs.replace(self._response, id=self._answer.id)
            out.append(TurnStarted(self._answer.model, told))

    def _report(self, head: _wire.ResponseHead, out: list[Event], *, final: bool, searches: int = 0) -> None:
        raw = bytes(head.usage)
        read = read_usage(raw)
        if read is not None:
            named = starts_with(head.service_tier, b'"') and head.service_tier != Raw(b'"auto"')
            rates = rates_of(head.service_tier) if named else self._rates
            read = msgspec.structs.replace(read, rates=rates)
            if read.web_searches is None and searches:
                read = msgspec.structs.replace(read, web_searches=searches)
        self._usage.take(read, raw, out, counted=self._deltas, final=final)

    def _end(self, response: Raw, data: bytes, out: list[Event]) -> None:
        whole = copied(response)
        head = _wire.decode_head(whole)
        failed = bytes(head.error) not in _NO_ERROR and not head.output and not self._items
        if head.status in ("failed", "cancelled") or failed:
            self._failed(response, data, out)
        said = head.stop_reason or head.finish_reason or ""
        if (error := _wire.FINISH.broken(said, self._response, data)) is not None:
            self._done = True
            raise error
        self._start(head, out)
        output = self._output([bytes(item) for item in head.output or ()], out)
        members = decode_object(whole)
        members["output"] = Raw(b"[" + b",".join(output) + b"]")
        turn = _turn.turn_from_response(
            encode(members),
            scope=self._scope,
            model=self._answer.model,
            stored=self._stored,
            inexact_reason=self._inexact or self._repaired,
            preface=self._preface,
            value_tool=self._value_tool,
        )
        dropped = head.input_transformations or ()
        out += [ProviderEvent("input_transformations", bytes(entry)) for entry in dropped]
        self._report(head, out, final=True, searches=sum(map(_turn.is_search, output)))
        usage = self._usage.settle(self._deltas, free=all(map(_turn.is_by_program, output)))
        turn = msgspec.structs.replace(turn, tokens=_turn.tokens_of(output, usage))
        finish = _turn.finish_reason(head, turn, usage)
        self._done = True
        out.append(Completed(finish, usage, turn, _turn.open_items(turn)))

    def _failed(self, response: Raw, data: bytes, out: list[Event]) -> NoReturn:
        self._done = True
        head = _wire.decode_head(response)
        self._report(head, out, final=True)
        error = bytes(head.error)
        if error in _NO_ERROR:
            raise ProviderError(
                f"the response has the status {head.status or 'failed'} and gives no reason",
                kind="server",
                request_id=self._response.request_id,
                body=data,
            )
        self._raise(b'{"error":%b}' % error)

    def _output(self, final: list[bytes], out: list[Event]) -> list[bytes]:
        """Return the items of the whole response, in order. Content that was not emitted yet is emitted now.

        An item from `output_item.done` is final. A missing item is taken from the list in the terminal event,
        or is built from deltas. Items are matched by id, and also by their place, because some gateways
        change ids within a stream.
        """
        self._items.sort(key=lambda item: len(self._items) if item.index is None else item.index)
        matched = set[int]()  # some servers give several items one id
        for at, json in enumerate(final):
            head = _wire.read_item(json)
            by_id = self._by_call.get((head.type, head.call_id)) or self._by_id.get(head.id or "")
            if by_id is not None and id(by_id) in matched and by_id.call_id and by_id.done == json:
                continue  # a repeated call
            by_place = self._items[at] if at < len(self._items) else None
            for item in (by_id, by_place, self._unfinished(head.type)):
                if item is not None and item.kind == head.type and id(item) not in matched:
                    break
            else:
                item = ReceivedItem(head.type, None)
                self._items.insert(at, item)
            matched.add(id(item))
            if item.done is None:
                self._finish(item, json, head, out)
        for item in self._items:
            if item.done is None:
                # Text, reasoning and calls can be built from deltas. Other items may be incomplete.
                if item.kind not in _wire.ITEM_TYPES or b'"encrypted_content"' in item.added or self._extra:
                    self._inexact = self._inexact or f"{_turn.UNFINISHED}{item.kind} {item.id!r}"
                json = item.assembled()
                self._finish(item, json, _wire.read_item(json), out)
        return [item.done or b"" for item in self._items]

    def _unfinished(self, kind: str) -> ReceivedItem | None:
        return next((item for item in self._items if item.done is None and item.kind == kind), None)

    # --- items -----------------------------------------------------------------------------------

    def _find(self, kind: str, id: str | None, index: int | None, out: list[Event]) -> ReceivedItem:
        """Return the item that a piece belongs to. If the item is unknown, a new item is made."""
        item = self._by_id.get(id or "")
        if item is None and index is not None:
            item = self._by_index.get(index)
            if item is not None and item.done is not None:
                item = None  # some servers send the index of the first item with every item
        if item is None or item.kind != kind:
            item = ReceivedItem(kind, index)
            item.id = id or ""
            self._keep(item, out)
        return item

    def _keep(self, item: ReceivedItem, out: list[Event]) -> None:
        if not self._answer.started:
            self._start(_wire.ResponseHead(), out)
        self._items.append(item)
        if item.index is not None:
            self._by_index[item.index] = item
        self._register(item)

    def _register(self, item: ReceivedItem) -> None:
        if item.id:
            self._by_id[item.id] = item
        if item.call_id:
            self._by_call[item.kind, item.call_id] = item
        item.value = item.kind == "function_call" and item.name != "" and item.name == self._value_tool

    def _added(self, json: bytes, index: int | None, out: list[Event]) -> None:
        head = _wire.read_item(json)
        item = ReceivedItem(head.type, index, json)
        item.learn(head)
        self._keep(item, out)
        for place, text in places(head):
            if text and place[0] != "arguments":
                self._said(item, place, text, out)

    def _item_done(self, json: bytes, index: int | None, data: bytes, out: list[Event]) -> None:
        head = _wire.read_item(json)
        known = self._by_call.get((head.type, head.call_id)) if head.call_id else None
        if known is not None and known.done is not None and head.type == "function_call":
            # Gateways that translate may send the same call twice. These count as one call. Two different
            # calls with the same id are two calls (nanobot#4473), and `_finish` makes the second id unique.
            earlier, call = _turn.call_of(_wire.read_item(known.done)), _turn.call_of(head)
            if (earlier.name, earlier.arguments) == (call.name, call.arguments):
                return
            known = None
        known = known or self._by_id.get(head.id or "")
        if known is None and index is not None:
            known = self._by_index.get(index)
        if known is None and index is None:
            known = self._unfinished(head.type)
        if known is None or known.kind != head.type or known.done is not None:
            known = ReceivedItem(head.type, index)
            known.learn(head)
            self._keep(known, out)
        self._finish(known, json, head, out)

    def _finish(self, item: ReceivedItem, json: bytes, head: _wire.ItemHead, out: list[Event]) -> None:
        """Take a complete item. Emit the content that its deltas did not contain."""
        if head.type == "function_call":
            json, head = self._with_id(item, json, head)
        item.done = json
        item.learn(head)
        self._register(item)
        for place, text in places(head):
            self._whole(item, place, text, out)
        if item.kind == "function_call":
            self._call(item, head, out)
        elif item.kind not in ("message", "reasoning"):
            out.append(ProviderEvent(item.kind, json))

    def _with_id(self, item: ReceivedItem, json: bytes, head: _wire.ItemHead) -> tuple[bytes, _wire.ItemHead]:
        """Return a call with a unique id. A missing id, or the id of another call, is replaced."""
        taken = {other.call_id for other in self._items if other is not item and other.done is not None}
        given = head.call_id or head.id or f"call_{len(taken)}_{self._answer.id or 'answer'}"
        unique, number = given, 2
        while unique in taken:
            unique, number = f"{given}_{number}", number + 1
        if unique == (head.call_id or head.id):
            return json, head
        json = encode(decode_object(json) | {"call_id": Raw(encode(unique))})
        return json, _wire.read_item(json)

    def _call(self, item: ReceivedItem, head: _wire.ItemHead, out: list[Event]) -> None:
        call = _turn.call_of(head)
        if item.value or item.ready:
            return
        item.ready = True
        if is_object(call.arguments):
            out.append(ToolCallReady(call.id, call.name, call.arguments))
        else:
            out.append(ToolCallIssue(call.id, call.name, call.arguments, "malformed_arguments"))

    # --- pieces ----------------------------------------------------------------------------------

    def _whole(self, item: ReceivedItem, place: Place, text: str, out: list[Event]) -> None:
        """Take the final text of a place. It replaces the text of the deltas, but no emitted event."""
        streamed = item.text(place)
        if text.startswith(streamed):
            self._said(item, place, text[len(streamed) :], out)
        item.pieces[place] = [text]
        if place[0] == "arguments" and not item.emitted:
            self._emit_arguments(item, text, out)

    def _emit_arguments(self, item: ReceivedItem, text: str, out: list[Event]) -> None:
        """Emit arguments. They are held back while the call has no name."""
        if item.name and item.public_id:
            self._deltas += 1
            item.emitted = True
            out.append(
                StructuredDelta(text) if item.value else ToolCallDelta(item.public_id, item.name, text)
            )

    def _said(self, item: ReceivedItem, place: Place, text: str, out: list[Event]) -> None:
        pieces = item.pieces.get(place)
        if pieces is None:
            item.pieces[place] = pieces = []
        pieces.append(text)
        if not text:
            return
        kind = place[0]
        if kind == "text":
            self._deltas += 1
            # Commentary of the model is not part of a structured value.
            value = self._structured and item.phase != "commentary"
            out.append(StructuredDelta(text) if value else TextDelta(text, item.phase or ""))
        elif kind == "arguments":
            self._emit_arguments(item, "".join(pieces) if not item.emitted else text, out)
        elif kind == "refusal":
            self._deltas += 1
            out.append(RefusalDelta(text))
        else:
            self._deltas += 1
            out.append(ReasoningDelta(text))

    # --- the rest --------------------------------------------------------------------------------

    def _unknown(self, name: bytes, data: bytes, exc: Exception, out: list[Event]) -> None:
        """Take an event that differs from the API's documentation.

        - An event named `error`, and any JSON that contains an error, end the turn with the error's message.
        - Data without a type gets the event's name as its type, as in the SDKs.
        - Empty data is ignored; `[DONE]` without a terminal event ends the turn.
        - Ids and indices of a wrong type, and unknown members, are ignored. A delta with unknown members is
          also shown as a `ProviderEvent`.
        - An event of an unknown type is shown as a `ProviderEvent`.
        """
        stripped = data.strip()
        if name == b"error":
            self._raise(stripped or b'"the event has no data"')
        if stripped == _DONE and self._answer.started:
            self._raise_cut("the stream ended with [DONE] and without response.completed")
        if stripped in (b"", b"null", b'""', _DONE):
            return
        try:
            members = decode_object(stripped)
            kind = string(members.get("type")) or ""
        except FAULTS as problem:
            if is_error(stripped):
                self._raise(stripped)
            kind = name.decode(errors="replace")
            if is_word(stripped) and kind and kind not in _wire.EVENT_TYPES:
                out.append(ProviderEvent(kind, json_of(stripped)))  # a heartbeat
                return
            self._fail(data, str(problem))
        if kind == "error" or (not kind and is_error(stripped)):
            self._raise(stripped)
        if not kind and (kind := name.decode(errors="replace")):
            members["type"] = Raw(encode(kind))
        if kind not in _wire.EVENT_TYPES:
            if kind not in _wire.REPEATS:
                out.append(ProviderEvent(kind, stripped))
            return
        try:
            event = self._known(kind, members)
        except FAULTS:
            self._fail(data, str(exc))
        if members.keys() - _wire.MEMBERS[kind] and kind in _wire.DELTA_TYPES:
            self._extra = True
            out.append(ProviderEvent(kind, stripped))
        self._event(event, data, out)

    def _known(self, kind: str, members: dict[str, Raw]) -> _wire.StreamEvent:
        """Read the known members of an event. Members of a wrong type are dropped."""
        kept = {name: raw for name, raw in members.items() if name in _wire.MEMBERS[kind]}
        for name in _wire.IDENTIFYING & kept.keys():
            if not starts_with(kept[name], b'"'):
                del kept[name]
        for name in _wire.INDICES & kept.keys():
            if count(kept[name]) is None:
                del kept[name]
        for name in _wire.PLAIN & kept.keys():
            del kept[name]
        return _wire.decode_event(encode(kept))
