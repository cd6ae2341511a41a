"""HTTP/1.1 on the server's side. It turns bytes into requests, and plans into steps. No I/O."""

import http
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, final

import h11
import httpx

from lutum.testing.wire._plan import AnswerHead, Burst, Ending, Repeat, Wait, WirePlan
from lutum.testing.wire._request import WireRequest

__all__ = ["ParsedRequest", "RequestParser", "Step", "steps"]


class ParsedRequest(NamedTuple):
    """A complete request, and whether its connection can be used for another request."""

    method: str
    target: str
    headers: httpx.Headers
    body: bytes
    keep: bool


@final
class RequestParser:
    """The requests of one connection, one after the other. h11 parses them."""

    def __init__(self) -> None:
        self._begin(b"")

    def _begin(self, early: bytes) -> None:
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body: list[bytes] = []
        self._early = early

    @property
    def wants_100(self) -> bool:
        """Return whether the client waits for `100 Continue`."""
        return self._http.they_are_waiting_for_100_continue

    def feed(self, data: bytes) -> ParsedRequest | None:
        """Add bytes, and return the request if it is complete. Bytes after the request are kept for `again`.

        Raises:
          EOFError: the client has left (`data` was empty), or does not use HTTP.
        """
        try:
            self._http.receive_data(self._early + data)
            self._early = b""
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.Request):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    return self._end()
                else:
                    raise EOFError
        except h11.RemoteProtocolError as exc:
            raise EOFError from exc

    def again(self) -> ParsedRequest | None:
        """Return the next request if its bytes arrived together with the last request."""
        return self.feed(b"") if self._early else None

    def _end(self) -> ParsedRequest:
        head = self._head
        assert head is not None
        headers = httpx.Headers([(bytes(name), bytes(value)) for name, value in head.headers])
        keep = head.http_version == b"1.1" and headers.get("connection", "").lower() != "close"
        found = ParsedRequest(head.method.decode(), head.target.decode(), headers, b"".join(self._body), keep)
        self._begin(self._http.trailing_data[0])
        return found


Step: TypeAlias = bytes | Wait | Ending
"""Bytes to write, or a time to wait. The last step is the way in which the answer ends."""


def steps(plan: WirePlan, request: WireRequest) -> Iterator[Step]:
    """Yield the steps of a plan after its request was read. It also calls `request.begin` at the head."""
    if plan.connect is not None:
        yield "reset"
        return
    yield from plan.before
    chunked = False
    if isinstance(plan.head, bytes):
        yield plan.head
    elif plan.head is not None:
        chunked = plan.head.chunked
        if plan.head.status < 400:
            request.begin()
        yield _head(plan.head)
    ended = plan.ending == "end"
    last = plan.body[-1] if plan.body else None
    for item in plan.body:
        match item:
            case Wait():
                yield item
            case Repeat(chunk, delay):
                while True:
                    yield _frame(chunk)
                    yield Wait(delay)
            case Burst(chunks):
                data = b"".join(map(_frame, chunks) if chunked else chunks)
                # The end of the body is written together with the last events, so that a client that leaves
                # after these events has received everything.
                yield data + b"0\r\n\r\n" if chunked and ended and item is last else data
    if ended and chunked and not isinstance(last, Burst):
        yield b"0\r\n\r\n"
    yield plan.ending


def _frame(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


def _head(head: AnswerHead) -> bytes:
    try:
        phrase = http.HTTPStatus(head.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {head.status} {phrase}", *(f"{name}: {value}" for name, value in head.headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
