"""Decode one response's bytes to events.

Streams of this API have no final event. A turn is complete if the body ended cleanly, its last frame is
whole, and one of two conditions holds: the last frame with a candidate has a finish reason, or the prompt was
blocked. A finish reason alone is not the end: with code execution, gemini-2.5-flash sends a finish reason in
the middle and continues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import msgspec
from msgspec import UNSET, Raw

from lutum import (
    CitationAdded,
    Completed,
    ErrorKind,
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
    Usage,
    UsageUpdate,
)
from lutum.abc import Prepared
from lutum.dialect.errors import is_error, not_an_answer
from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_array,
    decode_object,
    encode,
    is_null,
    is_object,
    starts_with,
    string,
)
from lutum.dialect.stream import StreamDecoder
from lutum.dialect.usage import UsageReports
from lutum_gemini.generate import _turn, _usage, _wire
from lutum_gemini.generate._errors import ERRORS, refined
from lutum_gemini.generate._parts import PartialCall, PartList, is_plain, members_of_part, text_of

_TAIL_BYTES: Final = 8 * 1024
_AT_ONCE: Final = ("groundingMetadata", "citationMetadata", "urlContextMetadata", "logprobsResult")
"""Members of a candidate that become separate events."""
_KNOWN: Final = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"})
"""Each frame of an answer has at least one of these members."""
_LISTS: Final = ("topCandidates", "chosenCandidates")


@final
class GeminiDecoder(StreamDecoder):
    """Decodes one answer.

    Args:
      response: the status, request id and headers of the HTTP response.
      prepared: the request.
      scope: the replay scope that the committed turn records.
      value_tool: the forced tool whose arguments are the structured value.
    """

    def __init__(
        self,
        response: Response,
        prepared: Prepared,
        *,
        scope: str,
        value_tool: str | None = None,
    ) -> None:
        super().__init__(response, ERRORS)
        self._prepared = prepared
        self._scope = scope
        self._value_tool = value_tool
        structured = prepared.request.output is not None and value_tool is None
        self._text = StructuredDelta if structured else TextDelta
        self._streamed = True
        self._inexact = prepared.inexact_reason
        self._parts = PartList()
        self._top = dict[str, bytes]()
        self._candidate = dict[str, bytes]()
        self._content = dict[str, bytes]()
        self._report: bytes | None = None
        self._shown: Usage | None = None  # a report that was shown and is not in `_reports`
        self._reports = UsageReports(prepared.estimate, hidden=prepared.hidden_reasoning, mode="latest")
        self._started = False
        self._id_base = ""
        self._finish = False
        self._blocked = False
        self._calls = 0
        self._counted = 0
        self._last_kind = ""
        self._has_code = False
        self._recent = b""

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Append the events that `data` completes to `out`.

        Raises:
          ProviderError: an error frame, or data that violates the protocol. Earlier events are in `out`.
        """
        self._recent = (self._recent + data if len(data) < _TAIL_BYTES else data)[-_TAIL_BYTES:]
        super().feed(data, out)

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        self.take_body(body, out)

    def _end_of_stream(self, out: list[Event], *, clean: bool) -> None:
        self._raise_bare_error()
        # A finish reason after code is not the end: the model continues after its code has run.
        if not (self._finish and self._last_kind in _wire.CODE_PARTS):
            self._complete(out)

    def take_body(self, body: bytes, out: list[Event]) -> None:
        """Decode an answer received in one piece: a response object, or an array of a stream's frames.

        Raises:
          ProviderError: the body is an error, or has another form.
        """
        if is_error(body):
            self._raise(body)
        is_whole = not body.strip().startswith(b"[")
        self._streamed = not is_whole
        frames = [Raw(body)] if is_whole else decode_array(body)
        self._take_all(((b"", bytes(frame)) for frame in frames), out)
        if not self._started:
            self._done = True
            raise not_an_answer(body, self._response)
        # Some models leave out the finish reason. A whole object with content is complete without one.
        self._finish = self._finish or (is_whole and bool(self._last_kind))
        self._complete(out)

    # --- frames --------------------------------------------------------------------------------

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        try:
            frame = _wire.decode_text_frame(data)
        except FAULTS:
            frame = None
        try:
            if frame is None or not self._take_text(frame, out):
                self._take_any(data, out)
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _take_text(self, frame: _wire.TextFrame, out: list[Event]) -> bool:
        """Take a frame that contains only text. Return False if the frame must be read member by member."""
        if not self._started or not self._streamed or len(frame.candidates) != 1:
            return False
        candidate = frame.candidates[0]
        parts = candidate.content.parts
        if len(parts) != 1 or candidate.index or self._parts.partial is not None:
            return False
        text, thought = parts[0].text, parts[0].thought
        if thought is False:
            return False
        self._finish = False
        is_thought = thought is not UNSET
        self._parts.text(text, is_thought=is_thought, joins=True)
        if text:
            self._counted += 1
            self._last_kind = "text"
            out.append(ReasoningDelta(text) if is_thought else self._text(text))
        if report := bytes(frame.usageMetadata):
            usage = _usage.plain(frame.usageMetadata, self._counted)
            if usage is None:
                self._usage(report, out, final=False)
            elif usage != self._shown:
                self._report, self._shown = report, usage
                out.append(UsageUpdate(usage, False))
        return True

    def _take_any(self, data: bytes, out: list[Event]) -> None:
        if data.strip() in (b"", b"[DONE]"):  # added by gateways
            return
        members = decode_object(data)
        if "error" in members and "candidates" not in members:
            self._raise(data)
        if not _KNOWN & members.keys():
            out.append(ProviderEvent("frame", data.strip()))
            return
        for name, value in members.items():
            if name not in ("candidates", "usageMetadata") and not (name == "responseId" and self._started):
                self._top[name] = copied(value)
        self._start(out)
        feedback = members.get("promptFeedback")
        if feedback is not None and starts_with(feedback, b"{"):
            self._feedback(copied(feedback), out)
        found = members.get("candidates")
        candidates = decode_array(found) if found is not None and starts_with(found, b"[") else []
        is_last = False
        for i, raw in enumerate(candidates):
            candidate = decode_object(raw)
            if i or bytes(candidate.get("index", b"0")) not in (b"0", b"null"):
                out.append(ProviderEvent("candidate", copied(raw)))
                continue
            self._take_candidate(candidate, out)
            is_last = self._finish and not self._has_code
        usage = members.get("usageMetadata")
        if usage is not None and not is_null(usage):
            self._usage(copied(usage), out, final=is_last or self._blocked)

    def _start(self, out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        id = string(self._top.get("responseId")) or None
        model = string(self._top.get("modelVersion")) or self._prepared.model
        self._id_base = _turn.id_base(id)
        out.append(TurnStarted(model, msgspec.structs.replace(self._response, id=id)))

    def _feedback(self, feedback: bytes, out: list[Event]) -> None:
        blocked = decode_object(feedback).get("blockReason")
        self._blocked = self._blocked or (blocked is not None and not is_null(blocked))
        out.append(ProviderEvent("promptFeedback", feedback))

    def _take_candidate(self, candidate: Mapping[str, Raw], out: list[Event]) -> None:
        for name, value in candidate.items():
            if name == "content" or is_null(value):
                continue
            json = copied(value)
            if name in _AT_ONCE:
                out.append(ProviderEvent(name, json))
            if name == "logprobsResult" and name in self._candidate:
                json = _more_logprobs(self._candidate[name], json)
            self._candidate[name] = json
        content = candidate.get("content")
        if content is not None and starts_with(content, b"{"):
            members = decode_object(content)
            for name, value in members.items():
                if name != "parts":
                    self._content[name] = copied(value)
            parts = members.get("parts")
            if parts is not None and starts_with(parts, b"["):
                for i, raw in enumerate(decode_array(parts)):
                    self._take_part(copied(raw), out, joins=i == 0 and self._streamed)
        self._finish = _turn.word(candidate.get("finishReason")) is not None

    # --- parts ---------------------------------------------------------------------------------

    def _take_part(self, part: bytes, out: list[Event], *, joins: bool) -> None:
        members = members_of_part(part)
        if (said := text_of(members)) is not None:
            text, is_thought = said
            if is_plain(members):
                self._parts.text(text, is_thought=is_thought, joins=joins, raw=part)
            else:
                self._parts.add(part)
            if text:
                self._counted += 1
                self._last_kind = "text"
                out.append(ReasoningDelta(text) if is_thought else self._text(text))
            return
        if starts_with(members.get("functionCall"), b"{"):
            self._last_kind = "functionCall"
            self._take_call(part, members, out)
            return
        kind = next((name for name in members if not name.startswith("thought")), "part")
        self._last_kind = kind
        self._has_code = self._has_code or kind in _wire.CODE_PARTS
        self._parts.add(part)
        out.append(ProviderEvent(kind, part))

    def _take_call(self, part: bytes, members: Mapping[str, Raw], out: list[Event]) -> None:
        call = decode_object(members["functionCall"])
        goes_on = bytes(call.get("willContinue", b"")) == b"true"
        partial = self._parts.partial
        if partial is None and not goes_on and "partialArgs" not in call:
            self._parts.add(part)
            self._call(members, out)
            return
        if partial is None:
            self._parts.close()
            copies = {name: Raw(copied(value)) for name, value in members.items() if name != "functionCall"}
            partial = PartialCall(copies, {name: Raw(copied(value)) for name, value in call.items()})
            self._parts.partial = partial
        partial.add(call)
        if not goes_on:
            self._end_partial(partial, out)

    def _end_partial(self, partial: PartialCall, out: list[Event]) -> None:
        whole = partial.json()
        self._parts.partial = None
        self._parts.add(whole)
        if partial.is_broken:
            self._inexact = self._inexact or f"{_turn.UNFINISHED}an argument has an unknown path"
        self._call(members_of_part(whole), out)

    def _call(self, members: Mapping[str, Raw], out: list[Event]) -> None:
        call = _turn.call_of(members)
        assert call is not None
        id = call.id or _turn.made_id(self._id_base, self._calls)
        self._calls += 1
        self._counted += 1
        if call.name == self._value_tool:
            out.append(StructuredDelta(call.arguments))
            return
        out.append(ToolCallDelta(id, call.name, call.arguments))
        if is_object(call.arguments):
            out.append(ToolCallReady(id, call.name, call.arguments))
        else:
            out.append(ToolCallIssue(id, call.name, call.arguments, "malformed_arguments"))

    # --- usage and the end ---------------------------------------------------------------------

    def _usage(self, report: bytes, out: list[Event], *, final: bool) -> None:
        """Take a usage report. A report without a count does not replace an earlier one."""
        reported = _usage.reported(report)
        if reported is None:
            if self._report is None:
                self._report = report
            return
        if not reported.empty:
            self._report, self._shown = report, None
        self._reports.take(reported, report, out, counted=self._counted, final=final)

    def _complete(self, out: list[Event]) -> None:
        """Append `Completed` if the answer is whole.

        Raises:
          ProviderError: the model wrote an unreadable call.
        """
        if not self._finish and not self._blocked:
            return
        self._done = True
        if self._parts.partial is not None:
            self._inexact = self._inexact or f"{_turn.UNFINISHED}the answer ended within its arguments"
            self._end_partial(self._parts.partial, out)
        wire = self._wire()
        candidate = _turn.candidate_of(wire)
        reason = candidate.finish or ""
        if reason == _wire.UNSIGNED or (reason in _wire.FAILED and not self._calls):
            text = candidate.finish_message or f"the model's answer failed ({reason})"
            kind: ErrorKind = "invalid_request" if reason == _wire.UNSIGNED else "server"
            raise ProviderError(text, kind=kind, type=reason, body=wire)
        turn = _turn.turn_from_response(
            wire,
            scope=self._scope,
            model=self._prepared.model,
            id_base=self._id_base,
            inexact_reason=self._inexact or self._repaired,
            value_tool=self._value_tool,
        )
        if turn.refusal:
            out.append(RefusalDelta(turn.refusal))
        reason = reason or ("SAFETY" if self._blocked else "STOP")
        if (broken := _wire.FINISH.broken(reason, self._response, wire)) is not None:
            raise broken
        finish = _wire.FINISH.read(reason)
        if turn.tool_calls and (finish == "stop" or reason in _wire.FAILED):
            finish = "tool_calls"
        if finish == "paused" and candidate.continuation is None:
            finish = "length"
        out += map(CitationAdded, turn.citations)
        if self._shown is not None and self._report is not None:
            last = _usage.reported(self._report)
            self._reports.take(last, self._report, [], counted=self._counted, final=True)
        self._reports.mark_final()
        usage = self._reports.settle(self._counted)
        tokens = _turn.tokens_of(candidate.members.get("logprobsResult"), usage)
        out.append(Completed(finish, usage, msgspec.structs.replace(turn, tokens=tokens)))

    def _wire(self) -> bytes:
        """Return the answer as one response object."""
        content = {name: Raw(value) for name, value in self._content.items()}
        if parts := self._parts.finish():
            content = {"parts": Raw(_turn.joined(parts)), **content}
        candidate: dict[str, object] = {"content": content} if content else {}
        candidate |= {name: Raw(value) for name, value in self._candidate.items()}
        wire: dict[str, object] = {"candidates": [candidate]} if candidate else {}
        wire |= {name: Raw(value) for name, value in self._top.items()}
        if self._report is not None and _is_utf8(self._report):
            wire["usageMetadata"] = Raw(self._report)
        return encode(wire)

    def _raise_bare_error(self) -> None:
        """Raise if the stream ends with a JSON error outside of a frame, as front ends write it."""
        if b'"error"' not in self._recent:
            return
        for opening in (b"\n{", b"\n["):
            at = self._recent.find(opening)
            if at >= 0 and is_error(self._recent[at:]):
                self._raise(self._recent[at:].strip())

    def _error(self, data: bytes) -> ProviderError:
        return refined(super()._error(data))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _more_logprobs(earlier: bytes, later: bytes) -> bytes:
    """Join the log probabilities of two frames. Each frame contains those of its own tokens."""
    before, after = decode_object(earlier), decode_object(later)
    for name in _LISTS:
        a, b = before.get(name), after.get(name)
        if a is not None and b is not None and starts_with(a, b"[") and starts_with(b, b"["):
            after[name] = Raw(encode([*decode_array(a), *decode_array(b)]))
    return encode({**before, **after})
