"""One response's bytes to events. PURE.

A completion is whole at `[DONE]`, or at the end of a response without it, after a `finish_reason`. Usage
comes in the last chunk, which has no choices, in any other, or not at all. A stream without a
`finish_reason` never completes.
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
from lutum.dialect.errors import stream_error
from lutum.dialect.json import FAULTS, copied, decode_array, decode_object, encode, string
from lutum.dialect.usage import UsageReports
from lutum.sse import SSEDecoder, SSEError
from lutum_openai._errors import ERRORS
from lutum_openai._usage import read_usage
from lutum_openai.completions._encode import NAME, NO_REPLAY

DONE = b"[DONE]"
FINISH: dict[str, str] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "content_filter": "content_filter",
}
"""`finish_reason` in lutum's words; others keep the server's."""

_SILENT = frozenset({"id", "object", "created", "model", "choices", "usage", "error", "obfuscation"})
_NOTHING = (b"", b"null", b'""', b"[]", b"{}", b"false")


class _Choice(Struct):
    """One choice of a chunk."""

    text: str | None = None
    index: int = 0
    finish_reason: str | None = None
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
        self._sse = SSEDecoder()
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
            events = self._sse.feed(data)
        except SSEError as exc:
            self._fail(b"", str(exc))
        for name, payload in events:
            self._take(name, payload.strip(), out)
            if self._done:
                return

    def eof(self, out: list[Event]) -> None:
        """The response ended; an event whose blank line is missing counts, if it is whole.

        Raises:
          ProviderError: that last event is an error.
        """
        if self._done:
            return
        try:
            events = self._sse.flush()
        except SSEError:
            return
        for name, payload in events:
            if payload.strip() != DONE:
                try:
                    decode_object(payload)
                except FAULTS:
                    return  # cut, which is the connection's fault
            self._take(name, payload.strip(), out)
        if self._finish and not self._done:
            self._complete(out)

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        self._count += 1
        if not data:
            return
        if data == DONE:
            self._done = True
            if self._finish:
                self._complete(out)
            return
        try:
            self._chunk(name, data, decode_object(data), out)
        except FAULTS as exc:
            if name == b"error":
                self._raise(data)
            self._fail(data, str(exc))

    def _chunk(self, name: bytes, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        if name == b"error" or bytes(members.get("error", b"")) not in _NOTHING:
            self._raise(data)
        if "choices" not in members and "usage" not in members:
            out.append(ProviderEvent(name.decode(errors="replace") or "chunk", data))
            return
        choices = members.get("choices", Raw(b"null"))
        read = _decode_choices(choices)
        if read:
            self._start(members, out)
        for key, raw in members.items():
            if key not in _SILENT and (value := copied(raw)) not in (*_NOTHING, self._seen.get(key)):
                self._seen[key] = value
                out.append(ProviderEvent(key, value))
        for at, choice in enumerate(read or ()):
            if choice.index:
                other = decode_array(choices)[at]
                out.append(ProviderEvent(f"choice.{choice.index}", copied(other)))
                continue
            if choice.text:
                self._pieces.append(choice.text)
                out.append(TextDelta(choice.text))
            if bytes(choice.logprobs) not in _NOTHING:
                out.append(ProviderEvent("logprobs", copied(choice.logprobs)))
            if reason := choice.finish_reason or "":
                self._finish = FINISH.get(reason) or reason
        if (reported := members.get("usage")) is not None:
            counted, final = len(self._pieces), bool(self._finish)
            self._usage.take(read_usage(reported), copied(reported), out, counted=counted, final=final)

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
