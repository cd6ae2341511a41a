"""Decode the bytes of one response to events. No I/O.

Each block is assembled to the JSON value that the non-stream answer would contain. Members that no delta
changes keep their bytes. So numbers in unknown members keep their digits, and equal streams give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import msgspec
from msgspec import Raw

from lutum import (
    CitationAdded,
    Completed,
    Estimate,
    Event,
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
    decode_array,
    decode_object,
    encode,
    is_null,
    is_object,
    is_word,
    json_of,
    starts_with,
    string,
)
from lutum.dialect.stream import StreamDecoder
from lutum.dialect.usage import UsageReports, count
from lutum_claude import _messages, _turn, _wire
from lutum_claude._citations import citation_of
from lutum_claude._errors import ERRORS
from lutum_claude._received import CALLS, ReceivedBlock
from lutum_claude._usage import COUNTS, has_odd_count, read_usage, with_requested

_SILENT = frozenset({"text", "thinking", "tool_use"})  # blocks that have event classes of their own
_NOTHING = frozenset({b"", b"null", b'""', b"{}", b"[]"})
_PING: Final = len(b'{"type": "ping"}')  # nearly every ping has this length

_NO_MESSAGE = b'{"type":"message","role":"assistant","model":%b,"content":[]}'


@final
class ClaudeDecoder(StreamDecoder):
    """Decodes one stream. Data after `message_stop` is ignored.

    Args:
      response: the status, request id and headers of the HTTP response.
      model: the requested model, used if the stream does not name the model that answers.
      scope, inexact_reason, prefix, preface: fields of the committed turn.
      structured: whether the text is the JSON of the structured value.
      value_tool: the forced tool whose input is the structured value.
      estimate: the request's estimate, used for figures that the stream does not report.
      hidden_reasoning: the stream does not show all reasoning, so its counts are lower bounds.
      rates: the rates that the request selected.
    """

    def __init__(
        self,
        response: Response,
        *,
        model: str,
        scope: str,
        inexact_reason: str | None = None,
        prefix: str | None = None,
        preface: bytes = b"",
        structured: bool = False,
        value_tool: str | None = None,
        estimate: Estimate = Estimate(),
        hidden_reasoning: bool = False,
        rates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(response, ERRORS)
        self._model = model
        self._scope = scope
        self._inexact = inexact_reason
        self._prefix = prefix
        self._preface = preface
        self._text = StructuredDelta if structured else TextDelta
        self._value_tool = value_tool
        self._message: dict[str, Raw] | None = None
        self._usage = dict[str, Raw]()
        self._reports = UsageReports(estimate, hidden=hidden_reasoning, mode="latest")
        self._rates = rates
        self._deltas = 0
        self._open = dict[int, ReceivedBlock]()
        self._whole = dict[tuple[int, int], bytes]()  # by index, and by number among the blocks of that index
        self._calls = set[str]()
        self._malformed = dict[str, str]()
        self._spoke = False

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        """Take a message received in one piece, from a server or gateway that does not stream."""
        if _messages.is_message(body):
            self._take_all(((b"", payload) for payload in _messages.events_of(body)), out)
        else:
            self._refuse_body(body)

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        try:
            event = _wire.decode_event(data)
        except FAULTS as exc:
            self._unknown(name, data, exc, out)
            return
        self._event(event, data, out)

    def _event(self, event: _wire.StreamEvent, data: bytes, out: list[Event]) -> None:
        if type(event) is _wire.BlockDelta:
            block = self._open.get(event.index)
            delta = event.delta
            if block is None:
                self._fail(data, f"a delta arrived for block {event.index}, which is not open")
            kind = block.kind
            if type(delta) is _wire.ClaudeTextDelta and kind == "text":
                block.went_on = True
                block.streamed.write(delta.text)
                if delta.text:
                    self._spoke = True
                    self._deltas += 1
                    out.append(self._text(delta.text))
            elif type(delta) is _wire.JsonDelta and kind in CALLS:
                piece = delta.partial_json
                block.streamed.write(piece)
                if piece and kind == "tool_use":
                    self._spoke = True
                    self._deltas += 1
                    out.append(
                        StructuredDelta(piece) if block.value else ToolCallDelta(block.id, block.name, piece)
                    )
            elif type(delta) is _wire.ThinkingDelta and kind == "thinking":
                block.went_on = True
                block.streamed.write(delta.thinking)
                if delta.thinking:
                    self._deltas += 1
                    out.append(ReasoningDelta(delta.thinking))
            else:
                try:
                    self._rare_delta(block, delta, data, out)
                except UnicodeError as exc:  # msgspec does not check the UTF-8 of raw members
                    self._fail(data, str(exc))
            return
        try:
            self._rare(event, data, out)
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _rare_delta(self, block: ReceivedBlock, delta: _wire.Delta, data: bytes, out: list[Event]) -> None:
        match delta:
            case _wire.SignatureDelta(signature=signature) if block.kind == "thinking":
                if (signed := string(copied(signature))) is None:
                    self._left_out("signature_delta", block, data, out)
                else:
                    block.signature = signed
            case _wire.CitationsDelta(citation=citation) if block.kind == "text":
                block.citations.append(copied(citation))
                found = citation_of(block.citations[-1])
                raw = ProviderEvent("citations_delta", block.citations[-1])
                out.append(raw if found is None else CitationAdded(found))
            case _wire.CompactionDelta() if block.kind == "compaction":
                for name in ("content", "encrypted_content"):
                    if value := copied(getattr(delta, name)):
                        block.members[name] = Raw(value)
            case _:
                self._left_out(delta.__struct_config__.tag, block, data, out)

    def _left_out(self, delta: object, block: ReceivedBlock, data: bytes, out: list[Event]) -> None:
        self._inexact = f"{_turn.INCOMPLETE}{delta} of a block of type {block.kind}"
        out.append(ProviderEvent(f"content_block_delta.{delta}", data.strip()))

    def _rare(self, event: _wire.StreamEvent, data: bytes, out: list[Event]) -> None:
        match event:
            case _wire.Ping():
                if len(data) > _PING and decode_object(data).keys() - _wire.MEMBERS["ping"]:
                    out.append(ProviderEvent("ping", data.strip()))
            case _wire.MessageStart(message=message):
                self._begin_once(copied(message), data, out)
            case _wire.BlockStart(index=index, content_block=start):
                self._started(out)
                # Ollama starts a block at the index of a block that it has not ended (ollama#17101).
                if index in self._open:
                    self._inexact = self._inexact or f"block {index} started again before its end"
                    self._stop(index, out)
                self._start(index, copied(start), out)
            case _wire.BlockStop(index=index):
                if index not in self._open:
                    self._fail(data, f"block {index} ended, but it is not open")
                self._stop(index, out)
            case _wire.MessageDelta():
                self._message_delta(event, data, out)
            case _wire.MessageStop():
                self._complete(out)
            case _wire.ClaudeErrorEvent():
                self._raise(data.strip())
            case _wire.BlockDelta():
                raise AssertionError("taken before")

    def _started(self, out: list[Event]) -> dict[str, Raw]:
        """Return the message. If a proxy sent no message_start, begin an empty message first."""
        if self._message is None:
            self._begin(_NO_MESSAGE % encode(self._model), out)
        assert self._message is not None
        return self._message

    def _begin_once(self, message: bytes, data: bytes, out: list[Event]) -> None:
        """Take a message_start.

        Bridges repeat this event (litellm#32478, NemoClaw#6289, Kimi-K2.5#33). Only the first one is used. If
        a later one has another id or model and follows content, it begins a second answer, which is an error.
        """
        if self._message is None:
            self._begin(message, out)
            return
        told = decode_object(message)
        other = any(
            string(told.get(name)) not in (None, string(self._message.get(name))) for name in ("id", "model")
        )
        if other and (self._open or self._whole):
            self._fail(data, "a second message_start arrived, for another message")
        if other:
            out.append(ProviderEvent("message_start", message))
        if starts_with(usage := told.get("usage"), b"{"):
            self._report(decode_object(usage), out)

    def _begin(self, message: bytes, out: list[Event]) -> None:
        self._message = members = decode_object(message)
        model = string(members.get("model")) or self._model
        id = string(members.get("id")) or None
        members.setdefault("content", Raw(b"[]"))
        out.append(TurnStarted(model, msgspec.structs.replace(self._response, id=id)))
        _report_dropped(members.get("input_transformations"), out)
        content = members["content"]
        for index, block in enumerate(decode_array(content) if starts_with(content, b"[") else ()):
            self._start(index, bytes(block), out)
            self._stop(index, out)
        if starts_with(usage := members.get("usage"), b"{"):
            self._report(decode_object(usage), out)

    def _start(self, index: int, start: bytes, out: list[Event]) -> None:
        fallback = f"call_{len(self._calls)}_{string((self._message or {}).get('id')) or 'answer'}"
        block = ReceivedBlock(start, self._value_tool, self._calls, fallback)
        if block.kind == "tool_use":
            self._calls.add(block.id)
        self._open[index] = block
        for name in _turn.STRINGS.get(block.kind, ()):
            if string(value := block.members.get(name, Raw(b'""'))) is None and bytes(value) != b"null":
                self._left_out(f"{name} that is not a string", block, start, out)
        if block.kind == "text" and (text := string(block.members.get("text"))):
            self._spoke = True
            self._deltas += 1
            out.append(self._text(text))
        elif block.kind == "thinking" and (text := string(block.members.get("thinking"))):
            self._deltas += 1
            out.append(ReasoningDelta(text))

    def _stop(self, index: int, out: list[Event]) -> None:
        block = self._open.pop(index)
        again = sum(1 for of, _ in self._whole if of == index)
        self._whole[index, again] = whole = block.assembled()
        if block.kind == "tool_use":
            self._call(block, out)
        elif block.kind not in _SILENT:
            if block.kind in CALLS and not is_object(block.arguments):
                self._inexact = (
                    self._inexact or f"the input of {block.kind} {block.id!r} is not a JSON object"
                )
            out.append(ProviderEvent(block.kind, whole))
        if block.kind == "fallback" and self._message is not None:
            # As in a non-stream answer, `model` becomes the model that took over. It signs the later blocks.
            taker = decode_object(to) if starts_with(to := block.members.get("to"), b"{") else {}
            self._message["model"] = taker.get("model", self._message.get("model", Raw(b'""')))

    def _call(self, block: ReceivedBlock, out: list[Event]) -> None:
        self._spoke = True
        arguments = block.arguments
        if not block.streamed.tell():
            self._deltas += 1
            out.append(
                StructuredDelta(arguments) if block.value else ToolCallDelta(block.id, block.name, arguments)
            )
        if block.value:
            self._inexact = self._inexact or f"the value came as a call of the forced tool {block.name!r}"
        elif is_object(arguments):
            out.append(ToolCallReady(block.id, block.name, arguments))
        else:
            self._malformed[block.id] = arguments
            self._inexact = self._inexact or f"the arguments of call {block.id!r} are not a JSON object"
            out.append(ToolCallIssue(block.id, block.name, arguments, "malformed_arguments"))

    def _message_delta(self, event: _wire.MessageDelta, data: bytes, out: list[Event]) -> None:
        message = self._started(out)
        if delta := bytes(event.delta):
            message.update(decode_object(copied(event.delta)))
        for name, value in decode_object(data).items():
            if name not in ("type", "delta", "usage"):
                message[name] = Raw(copied(value))
                if name == "input_transformations":
                    _report_dropped(value, out)
        if starts_with(event.usage, b"{"):
            self._report(decode_object(copied(event.usage)), out)
            message["usage"] = Raw(encode(self._usage))
        elif not is_null(event.usage):
            out.append(ProviderEvent("usage", copied(event.usage)))
        reason = self._stop_reason
        if reason and (error := _wire.FINISH.broken(reason, self._response, data)) is not None:
            self._done = True
            raise error
        if delta and reason == "refusal" and not self._spoke:
            self._spoke = True
            self._deltas += 1
            out.append(RefusalDelta(_turn.refusal_words(bytes(message.get("stop_details", b"")))))

    @property
    def _free(self) -> bool:
        """True if all blocks are calls by a program that the model wrote in an earlier response.

        The tokens of that program were billed with the earlier response.
        """
        return bool(self._whole) and all(map(_turn.is_by_program, self._whole.values()))

    @property
    def _stop_reason(self) -> str | None:
        return string((self._message or {}).get("stop_reason")) or None

    def _complete(self, out: list[Event]) -> None:
        message = self._started(out)
        for index in sorted(self._open):
            self._stop(index, out)
        content = b",".join(self._whole[index] for index in sorted(self._whole))
        message["content"] = Raw(b"[" + content + b"]")
        if not string(message.get("model")):
            message["model"] = Raw(encode(self._model))
        turn = _turn.turn_from_message(
            encode(message),
            scope=self._scope,
            inexact_reason=self._inexact or self._repaired,
            prefix=self._prefix,
            preface=self._preface,
            malformed=self._malformed,
            value_tool=self._value_tool,
        )
        finish = _wire.FINISH.read(self._stop_reason or "")
        if finish == "tool_calls" and self._value_tool and not turn.tool_calls:
            finish = "stop"
        self._done = True
        out.append(Completed(finish, self._reports.settle(self._deltas, free=self._free), turn))

    def _report(self, reported: dict[str, Raw], out: list[Event]) -> None:
        """Merge a usage report over the earlier ones. An unreadable count does not replace an earlier one."""
        usage = self._usage
        first = not usage
        for name, value in () if first else reported.items():
            before = usage.get(name)
            if before is not None and before != value:
                known, figure = count(before) is not None, count(value)
                odd = figure is None and name in COUNTS
                # LiteLLM's bridges end with a report whose counts are 0, although they reported them before.
                zeroed = known and not figure and name in COUNTS[:2] and not _cached(reported)
                if bytes(value) == b"null" or (known and odd) or zeroed:
                    continue
            usage[name] = value
        if first:
            self._usage = usage = dict(reported)
        final = self._stop_reason is not None and count(reported.get("output_tokens")) is not None
        found = with_requested(read_usage(usage), usage, self._rates)
        if not first and has_odd_count(reported):
            found = msgspec.structs.replace(found, odd=True)
        raw = encode(reported) if found.odd else b""
        self._reports.take(found, raw, out, counted=self._deltas, final=final, free=self._free)

    def _unknown(self, name: bytes, data: bytes, exc: Exception, out: list[Event]) -> None:
        """Take an event that differs from the API's documentation.

        - An event named `error`, or JSON that contains an error, ends the turn with a `ProviderError` that
          has the received text (LiteLLM's `data: {"error": ...}`, anthropic-sdk-typescript#998; plain text
          of proxies).
        - Data without a type gets its type from the event's name, as in the SDKs.
        - Blank data, `null` and `""` are skipped. A heartbeat's word becomes a `ProviderEvent`.
        - `[DONE]` without a message_stop (Reasonix#8756, opencode#43617) does not end an answer of this API.
          It raises an error if an answer has begun.
        - A delta with unknown members is read by its known members. A delta without an index belongs to the
          last open block.
        - An event or a delta of an unknown type becomes a `ProviderEvent`.
        """
        stripped = data.strip()
        if name == b"error":
            self._raise(stripped or b'"the event has no data"')
        if stripped == b"[DONE]":
            self._end_early()
            return
        if stripped in (b"", b"null", b'""'):
            if name != b"message_stop":
                return
            stripped = b"{}"
        try:
            members = decode_object(stripped)
            kind = string(members.get("type")) or ""
        except FAULTS as problem:
            if is_error(stripped):
                self._raise(stripped)
            kind = name.decode(errors="replace")
            if is_word(stripped) and kind and (kind == "ping" or kind not in _wire.EVENT_TYPES):
                out.append(ProviderEvent(kind, json_of(stripped)))  # a heartbeat
                return
            self._fail(data, str(problem))
        if not kind and "error" in members and is_error(stripped):
            self._raise(stripped)
        if not kind and (kind := name.decode(errors="replace")):
            members["type"] = Raw(encode(kind))
        if not kind:
            if is_error(stripped):
                self._raise(stripped)
            self._fail(data, str(exc))
        if kind not in _wire.EVENT_TYPES:
            out.append(ProviderEvent(kind, stripped))
            return
        try:
            event = self._known(kind, members, data, out)
        except FAULTS:
            self._fail(data, str(exc))
        if event is not None:
            self._event(event, data, out)

    def _known(
        self, kind: str, members: dict[str, Raw], data: bytes, out: list[Event]
    ) -> _wire.StreamEvent | None:
        """Read the known members of an event of a known type. Other members become a `ProviderEvent`."""
        more = members.keys() - _wire.MEMBERS[kind]
        if "index" in _wire.MEMBERS[kind] and count(members.get("index")) is None:
            last = max(self._open, default=-1)
            members["index"] = Raw(encode(last + 1 if kind == "content_block_start" else last))
        if kind == "content_block_delta":
            delta = decode_object(members["delta"]) if starts_with(members.get("delta"), b"{") else {}
            of = string(delta.get("type")) or ""
            if of and of not in _wire.DELTA_TYPES:
                block = self._open.get(count(members["index"]) or 0)
                if block is None:
                    self._fail(data, f"a delta arrived for block {members['index']!r}, which is not open")
                self._left_out(of, block, data, out)
                return None
            extra = delta.keys() - _wire.MEMBERS.get(of, delta.keys())
            said = {name for name in extra if bytes(delta[name]) not in _NOTHING}
            if said:
                out.append(ProviderEvent(f"content_block_delta.{of}", data.strip()))
            if told := said - _wire.RESPONSE_ONLY_DELTA_MEMBERS:
                self._inexact = self._inexact or f"{_turn.INCOMPLETE}{min(told)} of {of}"
            members["delta"] = Raw(encode({n: raw for n, raw in delta.items() if n not in extra}))
        if any(bytes(members[name]) not in _NOTHING for name in more):
            out.append(ProviderEvent(kind, data.strip()))
        known = {name: raw for name, raw in members.items() if name not in more}
        return _wire.decode_event(encode(known))

    def _end_early(self) -> None:
        if self._message is None:
            return
        told = "" if self._stop_reason is None else f", but with stop_reason {self._stop_reason!r}"
        self._raise_cut(f"the stream ended with [DONE] and without message_stop{told}")


def _cached(reported: Mapping[str, Raw]) -> bool:
    return any(count(reported.get(name)) for name in COUNTS[2:])


def _report_dropped(entries: Raw | None, out: list[Event]) -> None:
    """Append an event for each block of the request that the API did not show to the model."""
    if entries is not None and bytes(entries).startswith(b"["):
        out += [ProviderEvent("input_transformations", bytes(entry)) for entry in decode_array(entries)]
