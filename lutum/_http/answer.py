"""The parser of one HTTP/1.1 response. No I/O, no clock, no tasks.

httptools (llhttp) does the parsing. This module adds stricter rules for bytes that two parsers could read in
different ways, because such an answer could be cut in the wrong place:

- One framing header: one `Content-Length`, or `Transfer-Encoding: chunked`. The latter may be on several
  lines, because some proxies add it a second time.
- HTTP/1.0 and 1.1 only.
- At most 64 KiB in a row that are not part of the body (heads, trailers, chunk extensions, informational
  responses). llhttp has no limit.
- The end of the connection before the end of the framed body is an error.
- A connection can be used again only if the response was complete and no byte followed it.
"""

from __future__ import annotations

from typing import Final, final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_BYTES: Final = 64 * 1024
"""The largest number of bytes in a row that are not part of the body."""

_FRAMING: Final = (b"transfer-encoding", b"content-length")


class MalformedAnswer(Exception):
    """The bytes are not a response, or could be read in more than one way."""


@final
class HttpAnswer:
    """One response that is being received. After `feed` raised `MalformedAnswer`, do not call it again.

    Args:
      bodiless: the response has no body, even if its head has a length: the request was a HEAD or a CONNECT.

    Attributes:
      status: the status; 0 before the head.
      headers: the headers by lower-case name, with repeated ones joined; None before the head.
      lines: the headers as received, for clients that need each line.
      pieces: bytes of the body that the reader has not taken yet.
      failure: the exception that the next `feed` or `eof` raises. The pieces before the fault can still be
        read.
      whole: the response is complete.
      reusable: the connection can carry another request.
    """

    __slots__ = (
        "_bodiless",
        "_parser",
        "_until_close",
        "_without_body",
        "failure",
        "headers",
        "lines",
        "pieces",
        "reusable",
        "status",
        "whole",
    )

    def __init__(self, *, bodiless: bool = False) -> None:
        self._bodiless = bodiless
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._until_close = False
        self._without_body = 0
        self.failure: MalformedAnswer | None = None
        self.headers: dict[str, str] | None = None
        self.lines: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.reusable: bool = False
        self.status: int = 0
        self.whole: bool = False

    def feed(self, data: bytes) -> None:
        """Parse bytes from the connection.

        Raises:
          MalformedAnswer: the bytes are not a response. If `data` also contains bytes of the body before the
            fault, the next call raises it instead.
        """
        if self.failure is not None:
            raise self.failure
        if self._parser is None:
            self.reusable = False
            return
        before = len(self.pieces)
        try:
            # The last byte is parsed separately, because llhttp skips line ends after a response. If the
            # response is complete before the last byte, other data followed it.
            self._parser.feed_data(data[:-1])
            if self.whole:
                self.reusable = False
            else:
                self._parser.feed_data(data[-1:])
        except HttpParserUpgrade:
            self.failure = MalformedAnswer("the server switches to another protocol")
        except HttpParserError as exc:
            if self.whole:
                self.reusable = False
            else:
                self.failure = MalformedAnswer(str(exc.__context__ or exc))
        self._without_body = 0 if len(self.pieces) > before else self._without_body + len(data)
        if self._without_body > HEAD_BYTES and not self.whole:
            self.failure = MalformedAnswer(f"the server sent {HEAD_BYTES} bytes without any of the body")
        if self.whole or self.failure is not None:
            self.close()
        if self.failure is not None and len(self.pieces) == before:
            raise self.failure

    def eof(self) -> None:
        """Note the end of the connection.

        Raises:
          MalformedAnswer: the response is not complete.
        """
        if self.failure is not None:
            raise self.failure
        self.close()
        if self._until_close:
            self.whole = True
        if not self.whole:
            raise MalformedAnswer("the server closed the connection")

    def close(self) -> None:
        """Drop the parser. The parser and this object refer to each other, so otherwise only the garbage
        collector would free them."""
        self._parser = None

    # httptools calls the methods below. If they raise, `feed` gets an httptools error with that exception as
    # its context.

    def on_message_begin(self) -> None:
        if self.whole:
            raise MalformedAnswer("the server sent a second response")
        self.lines = []

    def on_header(self, name: bytes, value: bytes | None) -> None:
        if self.headers is None:  # trailers are not used
            key, text = name.lower(), value or b""
            # llhttp does not accept `chunked` with a tab after it, so the tab stays and the value is refused.
            self.lines.append((key, text.rstrip(b" " if key == _FRAMING[0] else b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if parser.get_http_version() not in ("1.1", "1.0"):
            raise MalformedAnswer(f"the server answers in HTTP/{parser.get_http_version()}")
        if status < 200:
            if status < 100 or status == 101:
                raise MalformedAnswer(f"the server answers with status {status}")
            return
        framing = [line for line in self.lines if line[0] in _FRAMING]
        if framing:
            name = framing[0][0]
            if name == _FRAMING[0]:
                if any(other != name or text.lower() != b"chunked" for other, text in framing):
                    raise MalformedAnswer("the Transfer-Encoding of the response is not just `chunked`")
            elif len(framing) > 1:
                raise MalformedAnswer("the response states the length of its body more than once")
        self.status = status
        headers = dict[str, str]()
        for raw_name, raw_value in self.lines:
            key, text = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self.headers = headers
        if self._bodiless:
            self.whole = True
        else:
            self._until_close = not framing and status not in (204, 304)

    def on_body(self, data: bytes) -> None:
        if self._bodiless:
            raise MalformedAnswer("the server sent a body after a response without one")
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self.headers is None or parser is None or self._bodiless:
            return
        self.whole = True
        self.reusable = (
            not self._until_close and parser.get_http_version() == "1.1" and parser.should_keep_alive()
        )
