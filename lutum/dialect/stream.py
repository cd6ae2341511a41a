"""The base class of decoders of event streams. A decoder converts the bytes of one response to events.

`StreamDecoder` feeds the bytes to an `AnswerReader`, passes each event to the subclass, and checks at the end
whether the answer is complete. No I/O.
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
      _count: the number of received events, for error messages.
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
          ProviderError: there is an error event, or the data violates the protocol. Earlier events are in
            `out`.
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
        """End the response. A last event without a blank line after it counts if it is complete.

        Raises:
          ProviderError: the last event is an error. Or the answer is an error or an HTML page instead of a
            stream.
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
        """Append lutum's events for one event of the stream to `out`."""

    @abstractmethod
    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        """Append the events of an answer that is one JSON value. Servers and gateways that do not stream send
        it.

        For a body that is not an answer, call `_refuse_body`, which raises the error.
        """

    def _end_of_stream(self, out: list[Event], *, clean: bool) -> None:  # noqa: B027  # the default does nothing
        """Complete the answer if the protocol's streams have no terminal event.

        Args:
          clean: the last line of the stream is not cut.
        """

    def _take_all(self, events: Iterable[tuple[bytes, bytes]], out: list[Event]) -> None:
        """Call `_take` with each event until the answer is done."""
        for name, data in events:
            self._count += 1
            self._take(name, data, out)
            if self._done:
                return

    @property
    def _repaired(self) -> str | None:
        """The reason why the turn cannot be replayed exactly, if half of a surrogate pair was replaced. None
        otherwise."""
        return REPAIRED if self._reader.repaired else None

    def _error(self, data: bytes) -> ProviderError:
        """Return the error of an error event."""
        return stream_error(data, self._response, self._table)

    def _raise(self, data: bytes) -> NoReturn:
        """Raise the error of an error event."""
        self._done = True
        raise self._error(data)

    def _fail(self, data: bytes, problem: str) -> NoReturn:
        """Raise the error of an event that violates the protocol."""
        self._done = True
        raise ProviderError(
            f"event {self._count} of the stream: {problem}",
            kind="malformed",
            request_id=self._response.request_id,
            body=data,
        )

    def _raise_cut(self, problem: str) -> NoReturn:
        """Raise the error of an answer that ended, although nothing shows that it is complete."""
        self._done = True
        raise ProviderError(
            f"{problem}, so it may be cut", kind="server", request_id=self._response.request_id
        )

    def _refuse_body(self, body: bytes) -> None:
        """Raise the error of a body that is not an answer. If the body is cut, return."""
        self._done = True
        if (error := body_error(body, self._response, self._table)) is not None:
            raise error
