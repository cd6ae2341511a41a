"""Answers to one request, well formed and mutated, and what each parser makes of them."""

from __future__ import annotations

import random
from typing import NamedTuple

import h11

from lutum._http.answer import HttpAnswer, MalformedAnswer

INTERESTING = [bytes([code]) for code in b"\r\n\0 \t:;,05f-+\x7f\xe9"]

VERSIONS = [b"HTTP/1.1"] * 12
VERSIONS += [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"ICY"]
STATUSES = [b"200"] * 8
STATUSES += [b"201", b"204", b"304", b"404", b"429", b"500", b"599", b"099", b"1000", b"2x0", b"100", b"101"]
REASONS = [b" OK"] * 6 + [b"", b" ", b" Too Many Requests", b" \x01", b" \xe9", b"  OK"]
HEADERS = [
    b"Content-Type: text/event-stream",
    b"X-Empty:",
    b"X-Spaces:   a b \t ",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Keep-Alive: timeout=5",
    b"Set-Cookie: a=b",
    b"X-Twice: a\r\nX-Twice: b",
    b"X-Odd: \x01",
    b"X Space: a",
    b"X-Fold: a\r\n b",
    b" X-Indented: a",
    b": no name",
    b"Upgrade: h2c",
    b"X-Latin: \xe9",
]
CODINGS = [b"chunked"] * 10
CODINGS += [
    b"Chunked",
    b"chunked ",
    b"gzip, chunked",
    b"chunked, chunked",
    b"identity",
    b"gzip",
    b"xchunked",
    b"",
]
SIZES = [b"%x"] * 12
SIZES += [b"0%x", b"%x ", b"%x;a=b", b'%x;a="b"', b" %x", b"+%x", b"-%x", b"0x%x", b"%x\t", b"%X"]
TRAILERS = [b"X-Trailer: a\r\n", b"Content-Length: 3\r\n", b"bad\r\n"]


def _some(rng: random.Random, choices: list[bytes]) -> bytes:
    return rng.choice(choices)


def _chunks(rng: random.Random, body: bytes) -> bytes:
    out = b""
    at = 0
    while at < len(body):
        size = rng.randint(1, 9)
        piece = body[at : at + size]
        at += size
        out += _some(rng, SIZES if rng.random() < 0.1 else SIZES[:1]) % len(piece) + b"\r\n" + piece + b"\r\n"
    last = _some(rng, [b"0", b"00", b"0;x", b"0 "]) if rng.random() < 0.1 else b"0"
    trailers = _some(rng, TRAILERS) if rng.random() < 0.1 else b""
    return out + last + b"\r\n" + trailers + b"\r\n"


def made(rng: random.Random) -> bytes:
    """Make an answer that is often good and sometimes odd in one or two places."""
    odd = rng.random() < 0.7
    body = bytes(rng.choice(b"abc\r\n0:{}") for _ in range(rng.randint(0, 30)))
    data = b""
    if rng.random() < 0.1:
        data += _some(rng, [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
    line = b"HTTP/1.1 200 OK"
    if odd:
        line = _some(rng, VERSIONS) + b" " + _some(rng, STATUSES) + _some(rng, REASONS)
    headers = [_some(rng, HEADERS) for _ in range(rng.randint(0, 3))] if odd else [HEADERS[0]]
    kind = rng.random()
    if kind < 0.5:
        headers.append(b"Transfer-Encoding: " + (_some(rng, CODINGS) if odd else b"chunked"))
        framed = _chunks(rng, body)
    elif kind < 0.85:
        length = len(body) + (rng.choice([-1, 1, 5]) if odd and rng.random() < 0.2 else 0)
        text = b"%d" % max(length, 0)
        if odd and rng.random() < 0.2:
            text = _some(rng, [b"+%b", b"0%b", b"%b, %b", b"%bx", b" %b", b"", b"-%b"]).replace(b"%b", text)
        headers.append(b"Content-Length: " + text)
        framed = body
    else:
        framed = body
    if odd and rng.random() < 0.1:
        headers.append(rng.choice([*headers[-1:], b"Content-Length: 3", b"Transfer-Encoding: chunked"]))
    rng.shuffle(headers)
    data += b"\r\n".join([line, *headers, b"", b""]) + framed
    if rng.random() < 0.1:
        data += _some(rng, [b"x", b"\r\n", b"\n", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"])
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        at = rng.randint(0, len(data))
        change = rng.random()
        if change < 0.4:
            data = data[:at] + _some(rng, INTERESTING) + data[at:]
        elif change < 0.7:
            data = data[:at] + _some(rng, INTERESTING) + data[at + 1 :]
        elif change < 0.9:
            data = data[:at] + data[at + 1 :]
        else:
            data = data[:at]
    return data


def reads(rng: random.Random, data: bytes) -> list[bytes]:
    """Cut the bytes as reads of a socket may."""
    if rng.random() < 0.3:
        return [data] if data else []
    pieces: list[bytes] = []
    at = 0
    most = rng.choice([1, 3, 20, 100])
    while at < len(data):
        size = rng.randint(1, most)
        pieces.append(data[at : at + size])
        at += size
    return pieces


class Outcome(NamedTuple):
    """What a parser made of one answer and the end of its connection."""

    whole: bool
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reusable: bool
    """Whether another request could be sent before the end came."""
    error: str


def ours(pieces: list[bytes]) -> Outcome:
    answer = HttpAnswer()
    error = ""
    reusable = False
    try:
        for piece in pieces:
            answer.feed(piece)
        reusable = answer.reusable
        answer.eof()
    except MalformedAnswer as exc:
        error = str(exc) or "malformed"
    finally:
        answer.close()
    # h11 writes the framing in small letters.
    headers = tuple(
        (name, value.lower() if name == "transfer-encoding" else value)
        for name, value in sorted((answer.headers or {}).items())
    )
    body = b"".join(answer.pieces)
    return Outcome(answer.whole and not error, answer.status, headers, body, reusable, error)


def theirs(pieces: list[bytes]) -> Outcome:
    """h11, as a client that sent a POST."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    status, headers, body, whole, reusable, error = 0, dict[str, str](), b"", False, False, ""
    waiting = [*pieces, b""]
    try:
        while not whole:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(waiting.pop(0))
            elif isinstance(event, h11.Response):
                status = event.status_code
                for name, value in event.headers:
                    key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                    headers[key] = f"{headers[key]}, {text}" if key in headers else text
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                whole = True
                left = b"".join([connection.trailing_data[0], *waiting])
                reusable = connection.their_state is h11.DONE and not left
            elif not isinstance(event, h11.InformationalResponse):
                error = f"{event!r}"
                break
    except h11.RemoteProtocolError as exc:
        error = str(exc) or "malformed"
    return Outcome(whole and not error, status, tuple(sorted(headers.items())), body, reusable, error)
