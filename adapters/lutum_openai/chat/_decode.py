"""Decode one response's bytes to events. No I/O, no clock, no tasks.

A turn is complete in these cases:

- `[DONE]` is received after a `finish_reason` that is not empty.
- `[DONE]` is received after the usage of the whole answer, which is in a chunk without choices. Some servers
  leave every reason empty.
- The response ends without `[DONE]` after a `finish_reason`, and no partial event follows. If the reason is
  `tool_calls`, the usage is required too, because Together sends this reason after each of several calls.
- The response is one JSON body, from a server that does not stream.

Any other end is a cut stream. It has no `Completed` event.
"""

from __future__ import annotations

from typing import final

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
)
from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_array,
    decode_object,
    is_null,
    is_object,
    starts_with,
)
from lutum.dialect.logprobs import SampledTokens
from lutum.dialect.usage import Mode, Reported, UsageReports, member
from lutum_openai._chunks import NOTHING, ChunkDecoder
from lutum_openai._citations import citation_of
from lutum_openai._usage import rates_of, read_timings, read_usage
from lutum_openai.chat import _turn, _wire
from lutum_openai.chat._assemble import ReceivedMessage
from lutum_openai.chat._received_call import ReceivedCall
from lutum_openai.chat._think import Piece, TagSplitter

PATIENCE = 8
"""The number of failed tries in a row after which the fast path is not tried again, because a failed try
costs time."""


# Members of a chunk that have their own events, or whose content is in another event.
_PLAIN = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})
_PADDING = frozenset({"obfuscation", "p"})  # against traffic analysis: OpenAI, Mistral


@final
class ChatDecoder(ChunkDecoder):
    """Decodes one answer. Data after `[DONE]` is ignored.

    Args:
      response: the head of the answer.
      model: the requested model, used if the stream does not name a model.
      scope, inexact_reason: fields of the committed turn.
      structured: the text is the JSON of a value.
      value_tool: the forced tool whose arguments are the value.
      estimate: used as the input tokens if the server never reports them.
      hidden_reasoning: the model's reasoning is hidden, so counted tokens are a lower bound.
      rates: the rates that the request selected, used until the answer names one.
      increments: each usage report counts only the tokens since the previous report.
      think: names of tags that enclose reasoning at the start of the text.
    """

    def __init__(
        self,
        response: Response,
        *,
        model: str,
        scope: str,
        inexact_reason: str | None = None,
        structured: bool = False,
        value_tool: str | None = None,
        estimate: Estimate = Estimate(),
        hidden_reasoning: bool = False,
        rates: tuple[str, ...] = (),
        increments: bool = False,
        think: tuple[str, ...] = (),
    ) -> None:
        mode: Mode = "increments" if increments else "cumulative"
        reports = UsageReports(estimate, hidden=hidden_reasoning, mode=mode)
        super().__init__(response, model=model, scope=scope, usage=reports, finish=_wire.FINISH)
        self._inexact = inexact_reason
        self._text = StructuredDelta if structured else TextDelta
        self._value_tool = value_tool
        self._think = think
        self._tags = TagSplitter(think) if think else None

        self._message = ReceivedMessage()
        self._tokens = SampledTokens()
        self._plain = PATIENCE  # the number of failed tries that are left
        self._fingerprint: tuple[str | None, str | None, str | None] | None = None
        self._seen = dict[str, bytes]()
        self._rates = rates
        self._deltas = 0

    def _end_of_stream(self, out: list[Event], *, clean: bool) -> None:
        if self._finish and clean and (self._usage.final or self._finish != "tool_calls"):
            self._complete(out)

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        if self._plain > 0 and not name and self._take_plain(data, out):
            return
        super()._take(name, data, out)

    def _take_plain(self, data: bytes, out: list[Event]) -> bool:
        """Take a chunk that only continues the previous text or reasoning. Returns False for any other chunk.

        Members that are null or empty add nothing, so ignoring them here loses nothing.
        """
        if not self._started:
            return False
        try:
            chunk = _wire.decode_plain(data)
        except FAULTS:
            self._plain -= 1
            return False
        choice = chunk.choices[0]
        fingerprint = (chunk.system_fingerprint, chunk.service_tier, chunk.provider)
        if choice.index or fingerprint != self._fingerprint:
            self._fingerprint = fingerprint  # the slow path emits each new value once, as an event
            return False
        delta = choice.delta
        text, content, words = delta.content, delta.reasoning_content, delta.reasoning
        if text:
            if self._tags is not None or content or words or not self._message.goes_on("content", text):
                return False
            out.append(self._text(text))
        elif content:
            if words or not self._message.goes_on("reasoning_content", content):
                return False
            out.append(ReasoningDelta(content))
        elif words:
            if not self._message.goes_on("reasoning", words):
                return False
            out.append(ReasoningDelta(words))
        else:
            return False
        self._deltas += 1
        self._plain = PATIENCE
        return True

    def _choices(self, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        raw_choices = members.get("choices")
        choices = None if raw_choices is None else _wire.decode_choices(raw_choices)
        if choices:
            self._start(members, out)
        if not members.keys() <= _PLAIN:
            self._tokens.take_prompt(members.get("prompt_token_ids", b""))
            self._extras(members, out)
        for at, choice in enumerate(choices or ()):
            if choice.number:
                assert raw_choices is not None
                other = copied(decode_array(raw_choices)[at])
                out.append(ProviderEvent(f"choice.{choice.number}", other))
            else:
                self._choice(choice, data, out)
        self._reports(members, out, alone=not choices)

    def _reports(self, members: dict[str, Raw], out: list[Event], *, alone: bool) -> None:
        """Take the usage of a chunk from any of its places. Call this after the choices are read, because a
        finish reason in them makes the usage final."""
        usage = members.get("usage")
        if is_null(usage):
            usage = member(members, "x_groq", "usage")
        if usage is not None and not is_null(usage):
            self._report(read_usage(usage), usage, out, alone=alone)
        elif (timings := members.get("timings")) is not None:
            self._report(read_timings(timings), timings, out, alone=alone)

    def _extras(self, members: dict[str, Raw], out: list[Event]) -> None:
        """Emit members that servers add to a chunk, once for each new value."""
        for name, raw in members.items():
            if name in _PLAIN or name in _PADDING:
                continue
            value = copied(raw)
            if value in (b"null", b'""', b"[]", b"{}") or self._seen.get(name) == value:
                continue
            self._seen[name] = value
            out.append(ProviderEvent(name, value))
            if name == "x_groq" and not is_null(failed := member(members, "x_groq", "error")):
                assert failed is not None  # groq-python, types/chat/chat_completion_chunk.py
                self._raise(b'{"error":' + copied(failed) + b"}")
            if name == "service_tier":
                self._rates = rates_of(value)

    def _choice(self, choice: _wire.Choice, data: bytes, out: list[Event]) -> None:
        if bytes(choice.error) not in (b"", b"null"):
            self._raise(b'{"error":' + copied(choice.error) + b"}")
        # Perplexity's chunks have a `delta`, and a `message` with the whole text so far. In Perplexity's JSON
        # bodies the `delta` is empty.
        whole = self._is_body or is_null(choice.delta)
        delta = choice.message if whole and not is_null(choice.message) else choice.delta
        if starts_with(delta, b"{"):
            members = decode_object(delta)
            for kind, text, json in self._message.take(members):
                if kind == "other":
                    cited = citation_of(json) if text == "annotations" else None
                    out.append(ProviderEvent(text, json) if cited is None else CitationAdded(cited))
                    continue
                self._deltas += 1
                if kind == "text":
                    self._show_text(text, out)
                elif kind == "reasoning":
                    out.append(ReasoningDelta(text))
                else:
                    out.append(RefusalDelta(text))
            calls = members.get("tool_calls")
            if starts_with(calls, b"["):
                for raw in decode_array(calls):
                    self._call_delta(raw, out)
            elif starts_with(calls, b"{"):
                self._call_delta(Raw(calls), out)
            legacy = members.get("function_call")
            if legacy is not None and not _turn.no_function(
                bytes(legacy), self._message.function is not None
            ):
                call, piece = self._message.legacy(legacy)
                if not self._message.calls:  # llama-cpp-python sends each call in both forms
                    self._show_piece(call, piece, out)
        if bytes(choice.logprobs) not in NOTHING:
            logprobs = copied(choice.logprobs)
            parts = decode_object(logprobs) if logprobs.startswith(b"{") else {"": Raw(logprobs)}
            if not set(map(bytes, parts.values())) <= {b"null", b"[]"}:
                out.append(ProviderEvent("logprobs", logprobs))
                self._tokens.add_entries(parts.get("content", b""))
                self._tokens.add_entries(parts.get("refusal", b""))
        self._tokens.add_ids(choice.token_ids)
        self._tokens.take_prompt(choice.prompt_token_ids)
        if reason := choice.reason:
            self._take_reason(reason, data)
            self._finish_calls(out)
        elif bytes(choice.finish_reason) not in NOTHING:
            out.append(ProviderEvent("finish_reason", copied(choice.finish_reason)))
        if not is_null(choice.usage):
            self._report(read_usage(choice.usage), choice.usage, out, alone=False)

    def _show_text(self, text: str, out: list[Event]) -> None:
        if self._tags is None:
            out.append(self._text(text))
            return
        self._show_pieces(self._tags.feed(text), out)
        if self._tags.done:
            self._tags = None

    def _show_pieces(self, pieces: list[Piece], out: list[Event]) -> None:
        for kind, text in pieces:
            out.append(ReasoningDelta(text) if kind == "reasoning" else self._text(text))

    def _call_delta(self, raw: Raw, out: list[Event]) -> None:
        if not starts_with(raw, b"{"):
            if not is_null(raw):
                self._inexact = self._inexact or "an entry of tool_calls is not an object"
                out.append(ProviderEvent("tool_calls", copied(raw)))
            return
        members = decode_object(raw)
        number = len(self._message.calls)
        call = self._message.call_for(members, f"call_{number}_{self._response.id or 'answer'}")
        self._show_piece(call, call.take(members), out)

    def _show_piece(self, call: ReceivedCall, piece: str, out: list[Event]) -> None:
        if not piece or call.custom:
            return
        self._deltas += 1
        if call.name == self._value_tool:
            out.append(StructuredDelta(piece))
        else:
            out.append(ToolCallDelta(call.id, call.name, piece))

    def _finish_calls(self, out: list[Event]) -> None:
        """Emit the calls that are complete now."""
        self._message.settle_calls()
        calls = self._message.calls
        if self._message.function is not None and not calls:
            calls = [self._message.function]
        for call in calls:
            if call.ready:
                continue
            call.ready = True
            arguments = call.arguments
            if call.custom:
                out.append(ProviderEvent("custom_tool_call", call.json()))
            elif call.name == self._value_tool:
                self._inexact = self._inexact or f"the value came as a call of the forced tool {call.name!r}"
            elif is_object(arguments) and not (call.blank and self._finish == "length"):
                out.append(ToolCallReady(call.id, call.name, arguments))
            else:
                out.append(ToolCallIssue(call.id, call.name, arguments, "malformed_arguments"))

    def _report(self, read: Reported | None, reported: Raw, out: list[Event], *, alone: bool) -> None:
        final = bool(self._finish) or (alone and self._started)
        if read is not None and self._rates:
            read = msgspec.structs.replace(read, rates=self._rates)
        self._usage.take(read, copied(reported), out, counted=self._deltas, final=final)

    def _complete(self, out: list[Event]) -> None:
        self._done = True
        if self._tags is not None:
            self._show_pieces(self._tags.end(), out)
        self._finish_calls(out)
        message = self._message.json()
        try:
            turn = _turn.turn_from_message(
                message,
                scope=self._scope,
                model=self._model,
                inexact_reason=self._inexact or self._message.inexact or self._repaired,
                value_tool=self._value_tool,
                think=self._think,
            )
        except FAULTS as exc:
            self._fail(message, str(exc))
        usage = self._usage.settle(self._deltas)
        turn = msgspec.structs.replace(turn, tokens=self._tokens.finish(usage))
        calls = bool(turn.tool_calls)
        finish = self._finish
        if finish == "tool_calls" and self._value_tool and not calls:
            finish = "stop"
        custom = tuple(call.json() for call in self._message.calls if call.custom)
        out.append(Completed(finish, usage, turn, custom))
