"""The base class of decoders of event streams: one response's bytes to events.

`StreamDecoder` feeds the bytes to an `AnswerReader`, passes each event to the subclass, and checks at the end
whether the answer is whole. It does no I/O.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NoReturn

from lutum._values.errors import ProviderError
from lutum._values.events import Event
from lutum._values.results import Response
from lutum.dialect.answer import AnswerReader
from lutum.dialect.errors import ErrorTable, body_error, stream_error
from lutum.dialect.surrogates import REPAIRED

__all__ = ["StreamDecoder"]


class StreamDecoder(ABC):
    """A decoder of one response. Subclasses provide `_take` and `_whole_body`, and set `_done` at the end.

    Attributes:
      _response: the head of the response.
      _reader: the body of the response.
      _count: how many events came, for error messages.
      _done: the answer is complete or has failed. Later bytes are ignored.

    Args:
      response: the head of the response.
      table: the provider's error words.
    """

    def __init__(self, response: Response, table: ErrorTable) -> None:
        self._reader = AnswerReader(response, table)
        self._response = response
        self._table = table
        self._count = 0
        self._done = False

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Append to `out` the events that `data` completes.

        Raises:
          ProviderError: an error event, or data that is not the protocol. Earlier events are in `out`.
        """
        if self._done:
            return
        try:
            events = self._reader.feed(data)
        except ProviderError:
            self._done = True
            raise
        self._take_all(events, out)

    def eof(self, out: list[Event]) -> None:
        """End the response. An event without its blank line counts if it is whole.

        Raises:
          ProviderError: the last event is an error, or the answer is an error or a page instead of a stream.
        """
        if self._done:
            return
        events = self._reader.eof()
        self._take_all(events, out)
        if self._done:
            return
        if (body := self._reader.body()) is not None:
            self._whole_body(body, out)
            return
        self._end_of_stream(out, clean=bool(events) or not self._reader.in_line)
        if not self._done:
            self._reader.check_strays()

    @abstractmethod
    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        """Append the events of one event of the stream to `out`."""

    @abstractmethod
    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        """Take an answer that is one JSON value, from a server or gateway that does not stream.

        `_refuse_body` raises the error of a body that is not an answer.
        """

    def _end_of_stream(self, out: list[Event], *, clean: bool) -> None:  # noqa: B027  # the default does nothing
        """Complete the answer, in a protocol whose streams have no terminal event.

        Args:
          clean: no line of the stream is cut.
        """

    def _take_all(self, events: Iterable[tuple[bytes, bytes]], out: list[Event]) -> None:
        """Take events until the answer is done."""
        for name, data in events:
            self._count += 1
            self._take(name, data, out)
            if self._done:
                return

    @property
    def _repaired(self) -> str | None:
        """The reason why the turn is inexact: half of a surrogate pair was replaced. None otherwise."""
        return REPAIRED if self._reader.repaired else None

    def _error(self, data: bytes) -> ProviderError:
        """Return the error of an error event."""
        return stream_error(data, self._response, self._table)

    def _raise(self, data: bytes) -> NoReturn:
        """Raise the error of an error event."""
        self._done = True
        raise self._error(data)

    def _fail(self, data: bytes, problem: str) -> NoReturn:
        """Raise the error of an event that is not the protocol."""
        self._done = True
        raise ProviderError(
            f"event {self._count} of the stream: {problem}",
            kind="malformed",
            request_id=self._response.request_id,
            body=data,
        )

    def _raise_cut(self, problem: str) -> NoReturn:
        """Raise the error of an answer that ended without a sign that it is whole."""
        self._done = True
        raise ProviderError(
            f"{problem}, so it may be cut", kind="server", request_id=self._response.request_id
        )

    def _refuse_body(self, body: bytes) -> None:
        """Raise the error of a body that is not an answer; return if the body is cut."""
        self._done = True
        if (error := body_error(body, self._response, self._table)) is not None:
            raise error
