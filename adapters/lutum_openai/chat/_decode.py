"""One response's bytes to events. PURE.

A turn is complete
  - at `[DONE]`, after a `finish_reason` that is not empty; or, from servers that leave every reason empty,
    after the usage of the whole answer (a chunk without choices);
  - at the end of a response without `[DONE]`, after a `finish_reason`, with no part of a further event.
    After `tool_calls` the usage must have come too: Together ends each call of several with a reason.
  - at the end of a JSON body, from servers that do not stream.
Everything else is a cut stream, and gives no `Completed`.
"""

from __future__ import annotations

from typing import NoReturn, final

import msgspec
from msgspec import Raw

from lutum import (
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
from lutum.dialect.errors import stream_error
from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_array,
    decode_object,
    is_null,
    is_object,
    string,
)
from lutum.dialect.usage import UsageReports
from lutum.sse import SSEDecoder, SSEError
from lutum_openai._errors import ERRORS
from lutum_openai._usage import read_usage
from lutum_openai.chat import _turn, _wire
from lutum_openai.chat._assemble import ReceivedCall, ReceivedMessage

BODY_BYTES = 16 * 2**20
"""The longest JSON body: as long as the longest event of a stream."""

PATIENCE = 8
"""So many chunks in a row that are not plain, and none is tried any more: a failed try is not free."""

# Members of a chunk that have events of their own, or say nothing that is not in one.
_PLAIN = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})
_PADDING = frozenset({"obfuscation", "p"})  # against traffic analysis: OpenAI, Mistral


@final
class ChatDecoder:
    """Decode one answer; nothing after `[DONE]` is looked at.

    Args:
      response: the head of the answer.
      model: the model asked for, in case the stream does not say which one answers.
      scope, inexact_reason: go into the committed turn.
      structured: the text is the JSON of a value.
      value_tool: the forced tool whose arguments are the value.
      estimate: what is taken for the input where the server never says.
      hidden_reasoning: counts are lower bounds.
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
    ) -> None:
        self._response = response
        self._model = model
        self._scope = scope
        self._inexact = inexact_reason
        self._text = StructuredDelta if structured else TextDelta
        self._value_tool = value_tool

        self._sse = SSEDecoder()
        self._body: bytearray | None = bytearray()  # None once it is known to be a stream
        self._is_body = False  # a JSON body, which begins with a brace
        self._tail = b""  # the first byte of a line that has not ended
        self._message = ReceivedMessage()
        self._plain = PATIENCE  # what is left of it
        self._fingerprint: tuple[str | None, str | None, str | None] | None = None
        self._seen = dict[str, bytes]()
        self._started = False
        self._finish = ""
        self._usage = UsageReports(estimate, hidden=hidden_reasoning)
        self._deltas = 0
        self._count = 0
        self._done = False

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Append to `out` what `data` completes.

        Raises:
          ProviderError: an error event, or data that is not the protocol; the events before it are in `out`.
        """
        if self._done:
            return
        if self._body is not None:
            body = self._body
            body += data
            if not self._is_body:
                start = bytes(data).lstrip()[:1]
                if not start:
                    return
                self._is_body = start == b"{"
            if self._is_body:
                if len(body) > BODY_BYTES:
                    self._fail(b"", f"a body longer than {BODY_BYTES} bytes")
                return
            self._body, data = None, bytes(body)
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        if end >= 0:
            self._tail = data[end + 1 : end + 2]
        elif not self._tail:
            self._tail = data[:1]
        try:
            events = self._sse.feed(data)
        except SSEError as exc:
            self._fail(b"", str(exc))
        for name, payload in events:
            self._take(name, payload, out)
            if self._done:
                return

    def eof(self, out: list[Event]) -> None:
        """The response ended; an event whose blank line is missing counts, if it is whole.

        Raises:
          ProviderError: that last event, or the body, is an error.
        """
        if self._done:
            return
        if self._body is not None:
            self._whole_body(bytes(self._body), out)
            return
        try:
            events = self._sse.flush()
        except SSEError:
            return
        for name, payload in events:
            if payload.strip() != _wire.DONE:
                try:
                    decode_object(payload)
                except FAULTS:
                    return  # cut, which is the connection's fault
            self._take(name, payload, out)
        whole = events or self._tail in (b"", b":")
        if self._finish and whole and not self._done and (self._usage.final or self._finish != "tool_calls"):
            self._complete(out)

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        try:
            members = decode_object(body)
        except FAULTS:
            return  # cut, as a stream would be
        self._chunk(b"", body, members, out)
        if self._started:
            self._usage.mark_final()
            self._complete(out)

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        self._count += 1
        if self._plain > 0 and not name and self._take_plain(data, out):
            return
        stripped = data.strip()
        if not stripped:
            return
        if stripped == _wire.DONE:
            self._done = True
            if self._finish or (self._started and self._usage.final):
                self._complete(out)
            return
        try:
            members = decode_object(data)
        except FAULTS as exc:
            if name == b"error":
                self._raise(stripped)
            self._fail(data, str(exc))
        self._chunk(name, stripped, members, out)

    def _take_plain(self, data: bytes, out: list[Event]) -> bool:
        """Take a chunk that goes on with what the chunk before said; False where it does anything else.

        A member that is null or empty adds nothing, so what came here before is whole without it.
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
            self._fingerprint = fingerprint  # the slow way tells whoever watches, once
            return False
        delta = choice.delta
        text, content, words = delta.content, delta.reasoning_content, delta.reasoning
        if text:
            if content or words or not self._message.goes_on("content", text):
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

    def _chunk(self, name: bytes, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        error = members.get("error")
        if name == b"error" or (error is not None and bytes(error) not in (b"null", b'""', b"{}", b"false")):
            self._raise(data)
        raw_choices = members.get("choices")
        if raw_choices is None and "usage" not in members:
            kinds = (bytes(members.get("object", b"")), bytes(members.get("type", b"")))
            if self._body or b'"error"' in kinds or "detail" in members:
                self._raise(data)
            out.append(ProviderEvent(name.decode(errors="replace") or "chunk", data))
            return
        try:
            choices = None if raw_choices is None else _wire.decode_choices(raw_choices)
            if choices:
                self._start(members, out)
            if not members.keys() <= _PLAIN:
                self._extras(members, out)
            for at, choice in enumerate(choices or ()):
                if choice.index:
                    assert raw_choices is not None
                    other = copied(decode_array(raw_choices)[at])
                    out.append(ProviderEvent(f"choice.{choice.index}", other))
                else:
                    self._choice(choice, data, out)
            if not is_null(members.get("usage")):
                self._report(members["usage"], out, alone=not choices)
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _start(self, members: dict[str, Raw], out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        self._model = string(members.get("model")) or self._model
        self._response = msgspec.structs.replace(self._response, id=string(members.get("id")) or None)
        out.append(TurnStarted(self._model, self._response))

    def _extras(self, members: dict[str, Raw], out: list[Event]) -> None:
        """What servers add to a chunk, once for each new value."""
        for name, raw in members.items():
            if name in _PLAIN or name in _PADDING:
                continue
            value = copied(raw)
            if value in (b"null", b'""', b"[]", b"{}") or self._seen.get(name) == value:
                continue
            self._seen[name] = value
            out.append(ProviderEvent(name, value))
            if name == "x_groq" and "usage" not in members and b'"usage"' in value:
                inner = decode_object(value).get("usage")
                if inner is not None and not is_null(inner):
                    self._report(inner, out, alone=False)

    def _choice(self, choice: _wire.Choice, data: bytes, out: list[Event]) -> None:
        if bytes(choice.error) not in (b"", b"null"):
            self._raise(b'{"error":' + copied(choice.error) + b"}")
        # Perplexity sends both: a delta, and in `message` the whole so far; in its bodies the delta is empty.
        whole = self._is_body or is_null(choice.delta)
        delta = choice.message if whole and not is_null(choice.message) else choice.delta
        if not is_null(delta):
            members = decode_object(delta)
            for kind, text, json in self._message.take(members):
                if kind == "other":
                    out.append(ProviderEvent(text, json))
                    continue
                self._deltas += 1
                if kind == "text":
                    out.append(self._text(text))
                elif kind == "reasoning":
                    out.append(ReasoningDelta(text))
                else:
                    out.append(RefusalDelta(text))
            if not is_null(calls := members.get("tool_calls")) and calls is not None:
                for raw in decode_array(calls):
                    self._call_delta(raw, out)
            legacy = members.get("function_call")
            if legacy is not None and not _turn.no_function(
                bytes(legacy), self._message.function is not None
            ):
                call, piece = self._message.legacy(legacy)
                if not self._message.calls:  # llama-cpp-python says each call in both forms
                    self._show_piece(call, piece, out)
        if bytes(choice.logprobs) not in (b"", b"null", b"[]", b"{}"):
            logprobs = copied(choice.logprobs)
            if not set(map(bytes, decode_object(logprobs).values())) <= {b"null", b"[]"}:
                out.append(ProviderEvent("logprobs", logprobs))
        if choice.finish_reason == "error":  # OpenRouter, Mistral and vLLM: the model failed, this is no end
            self._done = True
            raise ProviderError(
                "the server ended the answer with finish_reason 'error'",
                kind="server",
                status=500,
                request_id=self._response.request_id,
                body=data,
            )
        if choice.finish_reason:
            self._finish = _wire.FINISH.get(choice.finish_reason, choice.finish_reason)
            self._finish_calls(out)
        if not is_null(choice.usage):
            self._report(choice.usage, out, alone=False)

    def _call_delta(self, raw: Raw, out: list[Event]) -> None:
        delta = _wire.decode_call(raw)
        number = len(self._message.calls)
        call = self._message.call_for(delta, f"call_{number}_{self._response.id or 'answer'}")
        self._show_piece(call, call.take(decode_object(raw)), out)

    def _show_piece(self, call: ReceivedCall, piece: str, out: list[Event]) -> None:
        if not piece or call.custom:
            return
        self._deltas += 1
        if call.name == self._value_tool:
            out.append(StructuredDelta(piece))
        else:
            out.append(ToolCallDelta(call.id, call.name, piece))

    def _finish_calls(self, out: list[Event]) -> None:
        """Give out the calls that are whole now."""
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

    def _report(self, reported: Raw, out: list[Event], *, alone: bool) -> None:
        final = bool(self._finish) or (alone and self._started)
        self._usage.take(read_usage(reported), copied(reported), out, counted=self._deltas, final=final)

    def _complete(self, out: list[Event]) -> None:
        self._done = True
        self._finish_calls(out)
        message = self._message.json()
        try:
            turn = _turn.turn_from_message(
                message,
                scope=self._scope,
                model=self._model,
                inexact_reason=self._inexact or self._message.inexact,
                value_tool=self._value_tool,
            )
        except FAULTS as exc:
            self._fail(message, str(exc))
        calls = bool(turn.tool_calls)
        finish = self._finish or ("tool_calls" if calls else "stop")
        if finish == "tool_calls" and self._value_tool and not calls:
            finish = "stop"
        custom = tuple(call.json() for call in self._message.calls if call.custom)
        out.append(Completed(finish, self._usage.settle(self._deltas), turn, custom))

    def _raise(self, data: bytes) -> NoReturn:
        self._done = True
        raise stream_error(data, self._response, ERRORS)

    def _fail(self, data: bytes, problem: str) -> NoReturn:
        self._done = True
        raise ProviderError(f"event {self._count} of the stream: {problem}", kind="malformed", body=data)
