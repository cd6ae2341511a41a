"""One response's bytes to events. PURE.

A completion is whole at `[DONE]`, or at the end of a response without it, after a `finish_reason`; from
servers that send no reason, at `[DONE]` after the usage of the whole answer. Usage comes in the last chunk,
which has no choices, in any other, or not at all. An answer that is one JSON body is read too.
"""

from __future__ import annotations

from typing import NoReturn, final

import msgspec
from msgspec import Raw, Struct

from lutum import (
    CommittedTurn,
    Completed,
    Estimate,
    Event,
    ProviderError,
    ProviderEvent,
    Response,
    TextDelta,
    TextItem,
    TurnStarted,
)
from lutum.dialect.answer import AnswerReader
from lutum.dialect.errors import body_error, is_error, stream_error
from lutum.dialect.finish import FinishTable
from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_array,
    decode_object,
    encode,
    is_null,
    is_word,
    json_of,
    string,
)
from lutum.dialect.usage import UsageReports, count
from lutum_openai._errors import ERRORS
from lutum_openai._usage import read_timings, read_usage
from lutum_openai.completions._encode import NAME, NO_REPLAY

DONE = b"[DONE]"
FINISH = FinishTable()
"""`finish_reason`: every word is in the shared table."""

_SILENT = frozenset({"id", "object", "created", "model", "choices", "usage", "error", "obfuscation"})
_NOTHING = (b"", b"null", b'""', b"[]", b"{}", b"false")


class _Choice(Struct):
    """One choice of a chunk."""

    text: Raw = Raw()
    index: Raw = Raw()
    finish_reason: Raw = Raw()
    logprobs: Raw = Raw()


_decode_choices = msgspec.json.Decoder(list[_Choice] | None).decode


@final
class CompletionsDecoder:
    """Decode one stream; nothing after `[DONE]` is looked at.

    Args:
      response: the head of the answer.
      model: the model asked for, in case the stream does not say which one answers.
      scope: goes into the turn of `Completed`.
      estimate: what is taken for the input where the server never says.
    """

    def __init__(self, response: Response, *, model: str, scope: str, estimate: Estimate) -> None:
        self._reader = AnswerReader(response, ERRORS)
        self._response = response
        self._model = model
        self._scope = scope
        self._pieces = list[str]()
        self._seen = dict[str, bytes]()
        self._started = False
        self._finish = ""
        self._usage = UsageReports(estimate)
        self._count = 0
        self._done = False

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Append to `out` what `data` completes.

        Raises:
          ProviderError: an error event, or data that is not the protocol; the events before it are in `out`.
        """
        if self._done:
            return
        try:
            events = self._reader.feed(data)
        except ProviderError:
            self._done = True
            raise
        for name, payload in events:
            self._take(name, payload.strip(), out)
            if self._done:
                return

    def eof(self, out: list[Event]) -> None:
        """The response ended; an event whose blank line is missing counts, if it is whole.

        Raises:
          ProviderError: that last event, or the body, is an error; or the body is not an answer, or has
            no reason to finish.
        """
        if self._done:
            return
        events = self._reader.eof()
        for name, payload in events:
            self._take(name, payload.strip(), out)
            if self._done:
                return
        if (body := self._reader.body()) is not None:
            self._whole_body(body, out)
        elif self._finish and (events or not self._reader.in_line):
            self._complete(out)
        else:
            self._reader.check_strays()

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        """Take a completion that came whole, from a server that does not stream."""
        members = decode_object(body) if body.startswith(b"{") else {}
        if is_null(members.get("choices")):
            self._done = True
            if (error := body_error(body, self._response, ERRORS)) is not None:
                raise error
        self._take(b"", body, out)
        if not self._done:
            self._usage.mark_final()
            self._end(out, "the answer has neither a finish_reason nor a usage")

    def _end(self, out: list[Event], problem: str) -> None:
        """Complete the turn, unless nothing says that the answer is whole."""
        if self._finish or (self._started and self._usage.final):
            self._complete(out)
            return
        self._done = True
        raise ProviderError(
            f"{problem}, so it may be cut", kind="server", request_id=self._response.request_id
        )

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        self._count += 1
        if data in (b"", b"null", b'""', b"{}"):
            return
        if data == DONE:
            self._end(out, "the stream ended with [DONE] and without a finish_reason")
            return
        try:
            members = decode_object(data)
        except FAULTS as exc:
            if name == b"error" or is_error(data):
                self._raise(data)
            if name and is_word(data):
                out.append(ProviderEvent(name.decode(errors="replace"), json_of(data)))  # a heartbeat
                return
            self._fail(data, str(exc))
        try:
            self._chunk(name, data, members, out)
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _chunk(self, name: bytes, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        if name == b"error" or bytes(members.get("error", b"")) not in _NOTHING:
            self._raise(data)
        if is_null(members.get("choices")) and is_null(members.get("usage")):
            if is_error(data):
                self._raise(data)
            out.append(ProviderEvent(name.decode(errors="replace") or "chunk", data))
            return
        choices = members.get("choices", Raw(b"null"))
        read = _decode_choices(choices) or ()
        if read:
            self._start(members, out)
        for key, raw in members.items():
            if key not in _SILENT and (value := copied(raw)) not in (*_NOTHING, self._seen.get(key)):
                self._seen[key] = value
                out.append(ProviderEvent(key, value))
        for at, choice in enumerate(read):
            if number := count(choice.index):
                other = decode_array(choices)[at]
                out.append(ProviderEvent(f"choice.{number}", copied(other)))
                continue
            if text := string(choice.text):
                self._pieces.append(text)
                out.append(TextDelta(text))
            elif bytes(choice.text) not in _NOTHING:
                self._fail(data, "the text is not a string")
            if bytes(choice.logprobs) not in _NOTHING:
                out.append(ProviderEvent("logprobs", copied(choice.logprobs)))
            if reason := string(choice.finish_reason):
                if (error := FINISH.broken(reason, self._response, data)) is not None:
                    self._done = True
                    raise error
                self._finish = FINISH.read(reason)
        usage, timings = members.get("usage"), members.get("timings")
        reported = timings if usage is None or is_null(usage) else usage
        if reported is not None:
            found = read_timings(reported) if reported is timings else read_usage(reported)
            final = bool(self._finish) or (not read and self._started)
            self._usage.take(found, copied(reported), out, counted=len(self._pieces), final=final)

    def _start(self, members: dict[str, Raw], out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        self._model = string(members.get("model")) or self._model
        self._response = msgspec.structs.replace(self._response, id=string(members.get("id")) or None)
        out.append(TurnStarted(self._model, self._response))

    def _complete(self, out: list[Event]) -> None:
        self._done = True
        text = "".join(self._pieces)
        turn = CommittedTurn(
            adapter=NAME,
            scope=self._scope,
            model=self._model,
            wire=encode({"text": text, "finish_reason": self._finish}),
            items=(TextItem(text),) if text else (),
            inexact_reason=NO_REPLAY,
        )
        out.append(Completed(self._finish, self._usage.settle(len(self._pieces)), turn))

    def _raise(self, data: bytes) -> NoReturn:
        self._done = True
        raise stream_error(data, self._response, ERRORS)

    def _fail(self, data: bytes, problem: str) -> NoReturn:
        self._done = True
        raise ProviderError(f"event {self._count} of the stream: {problem}", kind="malformed", body=data)
