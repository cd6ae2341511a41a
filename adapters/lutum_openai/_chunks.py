"""The base class of the decoders of Chat Completions and Completions, whose streams consist of chunks.

Chunks have `choices`. A chunk near the end has a `finish_reason`, and any chunk may have the `usage`. The
last event is `[DONE]`. A server that does not stream returns one object of the same form.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

import msgspec
from msgspec import Raw

from lutum import Event, ProviderEvent, Response, TurnStarted
from lutum.dialect.errors import is_error
from lutum.dialect.finish import FinishTable
from lutum.dialect.json import FAULTS, decode_object, is_null, is_word, json_of, string
from lutum.dialect.stream import StreamDecoder
from lutum.dialect.usage import UsageReports
from lutum_openai._errors import ERRORS

DONE: Final = b"[DONE]"
NOTHING: Final = frozenset({b"", b"null", b'""', b"[]", b"{}", b"false"})
"""Values of a member that carry no information."""


class ChunkDecoder(StreamDecoder):
    """A decoder of chunks. Subclasses provide `_choices` and `_complete`.

    Args:
      response: the status, request id and headers of the HTTP response.
      model: the requested model, used if no chunk names a model.
      scope: the replay scope that the committed turn records (the URL's host, or `replay_scope=`).
      usage: collects the usage reports.
      finish: finish reasons of the dialect.
    """

    def __init__(
        self, response: Response, *, model: str, scope: str, usage: UsageReports, finish: FinishTable
    ) -> None:
        super().__init__(response, ERRORS)
        self._model = model
        self._scope = scope
        self._usage = usage
        self._reasons = finish
        self._started = False
        self._finish = ""
        self._is_body = False  # the answer is one JSON value

    @abstractmethod
    def _choices(self, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        """Take a chunk with choices or a usage."""

    @abstractmethod
    def _complete(self, out: list[Event]) -> None:
        """Append `Completed`."""

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        stripped = data.strip()
        if stripped in (b"", b"null", b'""', b"{}"):
            return
        if stripped == DONE:
            self._end(out, "the stream ended with [DONE] and without a finish_reason")
            return
        try:
            members = decode_object(data)
        except FAULTS as exc:
            if name == b"error" or is_error(stripped):  # an error that is not an object: Google sends a list
                self._raise(stripped)
            if name and is_word(data):
                out.append(ProviderEvent(name.decode(errors="replace"), json_of(stripped)))  # a heartbeat
                return
            self._fail(data, str(exc))
        self._chunk(name, stripped, members, out)

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        self._is_body = True
        members = decode_object(body) if body.startswith(b"{") else {}
        if is_null(members.get("choices")):
            self._refuse_body(body)
        self._chunk(b"", body, members, out)
        if not self._done:
            self._usage.mark_final()
            self._end(out, "the answer has neither a finish_reason nor a usage")

    def _end_of_stream(self, out: list[Event], *, clean: bool) -> None:
        if self._finish and clean:
            self._complete(out)

    def _end(self, out: list[Event], problem: str) -> None:
        """Complete the turn if a finish reason or a final usage shows that the answer is whole.

        Otherwise raise an error with `problem`.
        """
        if self._finish or (self._started and self._usage.final):
            self._complete(out)
            return
        self._raise_cut(problem)

    def _chunk(self, name: bytes, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        error = members.get("error")
        if name == b"error" or (error is not None and bytes(error) not in NOTHING):
            self._raise(data)
        if not is_null(members.get("base_resp")) and is_error(data):
            self._raise(data)  # MiniMax sends `base_resp` in each chunk, with or without an error
        if is_null(members.get("choices")) and is_null(members.get("usage")):
            if is_error(data):
                self._raise(data)
            out.append(ProviderEvent(name.decode(errors="replace") or "chunk", data))
            return
        try:
            self._choices(data, members, out)
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _start(self, members: dict[str, Raw], out: list[Event]) -> None:
        """Take the model and the id of the answer from the first chunk with a choice."""
        if self._started:
            return
        self._started = True
        self._model = string(members.get("model")) or self._model
        self._response = msgspec.structs.replace(self._response, id=string(members.get("id")) or None)
        out.append(TurnStarted(self._model, self._response))

    def _take_reason(self, reason: str, data: bytes) -> None:
        """Take a finish reason. Raise an error if it means that the server aborted the answer."""
        if (error := self._reasons.broken(reason, self._response, data)) is not None:
            self._done = True
            raise error
        self._finish = self._reasons.read(reason)
