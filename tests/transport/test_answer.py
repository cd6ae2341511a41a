"""The laws of the response parser, and its differences from h11, each with its reason."""

from __future__ import annotations

import random

import pytest
from http_answers import Outcome, made, ours, reads, theirs

from lutum._http.answer import HEAD_BYTES, HttpAnswer, MalformedAnswer

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n"
)
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + SIZED
EMPTY = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
CLOSED = b"HTTP/1.1 200 OK\r\n\r\nabcde"
GOOD = [CHUNKED, SIZED, CONTINUED, EMPTY]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("data", GOOD)
def test_a_prefix_is_never_whole(data: bytes) -> None:
    """An answer that was cut anywhere is an error, and its connection is not used again."""
    for end in range(len(data)):
        for pieces in ([data[:end]], bytewise(data[:end])):
            outcome = ours([piece for piece in pieces if piece])
            assert not outcome.whole
            assert not outcome.reusable
            assert outcome.error
    assert ours([data]).reusable


def test_an_answer_that_ends_with_its_connection() -> None:
    """It is whole at the end, and the connection is gone."""
    assert ours(bytewise(CLOSED))[:4] == (True, 200, (), b"abcde")
    assert not ours([CLOSED]).reusable


@pytest.mark.parametrize(
    "data", [*GOOD, CLOSED, SIZED + b"x", CHUNKED + b"\r\n", CHUNKED.replace(b"2;", b"Z;")]
)
def test_every_split_gives_the_same(data: bytes) -> None:
    """However the reads cut an answer, its body, its headers and its end are the same."""
    whole = ours([data])
    for at in range(1, len(data)):
        assert same(ours([data[:at], data[at:]]), whole)
    assert same(ours(bytewise(data)), whole)


def same(split: Outcome, whole: Outcome) -> bool:
    # A byte after the answer is seen in the same read, or by the next look at the idle connection.
    return split[:4] == whole[:4] and (split.error == whole.error)


@pytest.mark.parametrize("stray", [b"x", b"\n", b"\r", b"\r\n", b"\r\n\r\n", SIZED, b"0\r\n\r\n"])
@pytest.mark.parametrize("data", GOOD)
def test_a_byte_after_the_answer(data: bytes, stray: bytes) -> None:
    """The answer counts, and the connection is not used again; llhttp would skip line ends."""
    outcome = ours([data + stray])
    assert outcome.whole
    assert not outcome.reusable
    assert outcome.body == ours([data]).body


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\t",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length: -3",
        b"Content-Length:",
        b"Content-Length : 3",
        b"Content-Length: 3\n",
    ],
)
@pytest.mark.parametrize("status", [200, 204, 304])
def test_two_ways_to_read_the_length(head: bytes, status: int) -> None:
    """It is refused, also where a status has no body."""
    data = b"HTTP/1.1 %d X\r\n%b\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % (status, head)
    with pytest.raises(MalformedAnswer):
        HttpAnswer().feed(data)


@pytest.mark.parametrize("line", [b"chunked", b"Chunked", b"chunked  "])
def test_chunked_said_twice(line: bytes) -> None:
    """Some proxies add the line a second time; it has one meaning."""
    twice = b"Transfer-Encoding: %b\r\n" % line * 2
    outcome = ours([b"HTTP/1.1 200 OK\r\n" + twice + b"\r\n3\r\nabc\r\n0\r\n\r\n"])
    assert (outcome.whole, outcome.body, outcome.reusable) == (True, b"abc", True)


@pytest.mark.parametrize(
    "line", [b"HTTP/0.9 200 OK", b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"ICY 200 OK", b"SSH-2.0"]
)
def test_another_version(line: bytes) -> None:
    """HTTP/1.0 and 1.1 only."""
    with pytest.raises(MalformedAnswer):
        HttpAnswer().feed(line + b"\r\nContent-Length: 0\r\n\r\n")


def test_http_1_0_is_not_kept() -> None:
    outcome = ours(
        [SIZED.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")]
    )
    assert (outcome.whole, outcome.reusable) == (True, False)


@pytest.mark.parametrize("status", [0, 99, 101])
def test_a_status_that_is_no_answer(status: int) -> None:
    with pytest.raises(MalformedAnswer):
        HttpAnswer().feed(
            b"HTTP/1.1 %03d X\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n" % status
        )


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 100),
        (b"HTTP/1.1 200 ", b"x" * 1000),
    ],
)
def test_nothing_but_heads(begin: bytes, more: bytes) -> None:
    """An answer without any of its body is refused at 64 KiB."""
    answer = HttpAnswer()
    if begin:
        answer.feed(begin)
    fed = len(begin)
    with pytest.raises(MalformedAnswer, match="65536 bytes"):
        while fed < 3 * HEAD_BYTES:
            answer.feed(more)
            fed += len(more)
    assert HEAD_BYTES - 1000 < fed < HEAD_BYTES + 1000


def test_a_long_body_is_no_head() -> None:
    answer = HttpAnswer()
    answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(1000):
        answer.feed(b"x" * 1000)
    assert answer.whole
    assert answer.reusable


def test_pieces_before_a_fault_come_first() -> None:
    """The read that holds them succeeds; the next one raises."""
    answer = HttpAnswer()
    answer.feed(CHUNKED.replace(b"2;", b"Z;"))
    assert b"".join(answer.pieces) == b"abc"
    for again in (lambda: answer.feed(b"x"), answer.eof):
        with pytest.raises(MalformedAnswer, match="chunk size"):
            again()


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
)
def test_the_answer_to_a_head(data: bytes) -> None:
    """It has no body whatever it says, and its connection is not used again."""
    answer = HttpAnswer(bodiless=True)
    answer.feed(data)
    assert (answer.whole, answer.reusable, answer.status) == (True, False, 200)


# What h11 refuses and we read. None changes where an answer ends.
WE_READ = {
    "multiple Transfer-Encoding headers": "`chunked` said twice has one meaning",
    "illegal status line": "the reason phrase is neither kept nor shown",
    "illegal request line": "an empty line before the answer is skipped",
    "no response line received": "an empty line before the answer is skipped",
    "Receive buffer too long": "our limit counts the bytes of a head otherwise",
    "illegal header line": "trailers are not kept or shown",
    "bad trailer": "trailers are not kept or shown",
}
# What h11 reads and we refuse: each could end elsewhere for another parser, or is no HTTP/1.1.
WE_REFUSE = {
    "Unexpected whitespace after header value": "a folded header (RFC 9112, 5.2: obsolete)",
    "Invalid header value char": "a control character in a value",
    "Invalid header field char": "a space before a name",
    "Invalid HTTP version": "neither 1.0 nor 1.1",
    "the server answers in HTTP/": "neither 1.0 nor 1.1",
    "Invalid character in chunk size": "a space after a size",
    "Invalid character in chunk extensions": "a control character in an extension",
    "Content-Length can't be present with Transfer-Encoding": "two lengths; also in trailers",
    "Transfer-Encoding can't be present with Content-Length": "two lengths",
    "the Transfer-Encoding of the response": "a tab behind it; and on a 204 or 304 h11 does not look",
    "Duplicate Content-Length": "two lengths, though equal",
    "Invalid character in Content-Length": "a list of equal lengths",
    "Missing expected CR after header value": "a bare LF as a line end",
    "Missing expected CR after response line": "a bare LF as a line end",
    "Missing expected LF after": "a bare CR",
    "Invalid response status": "a bare CR or LF in the status line",
    "Expected LF after": "a bare CR",
    "Invalid status code": "more or fewer digits than three",
    "Empty Content-Length": "h11 does not look at it on a 204 or 304",
    "Invalid header token": "a bad name",
    "the server answers with status": "h11 takes 1xx apart from 100 as informational",
    "Data after `Connection: close`": "an answer behind an informational one of HTTP/1.0",
    "the response states the length": "two lengths",
    "Invalid line folding": "a folded header",
}


def compare(seed: int) -> str:
    """Return what is wrong, or nothing."""
    rng = random.Random(seed)
    data = made(rng)
    pieces = reads(rng, data)
    mine, other = ours(pieces), theirs(pieces)
    if mine.whole and other.whole:
        if mine[1:4] != other[1:4]:
            return f"{data!r}: {mine} is not {other}"
        if mine.reusable and not other.reusable:
            return f"{data!r}: kept, but not by h11"
    elif mine.whole and not any(other.error.startswith(words) for words in WE_READ):
        return f"{data!r}: read, though h11 says {other.error}"
    elif other.whole and not any(mine.error.startswith(words) for words in WE_REFUSE):
        return f"{data!r}: refused, though h11 reads it: {mine.error}"
    return ""


def test_against_h11() -> None:
    """Where both accept an answer they agree; where one refuses, the reason is listed above."""
    wrong = [found for seed in range(1500) if (found := compare(seed))]
    assert wrong == []


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our rule for framing it finds answers that two parsers read differently."""
    monkeypatch.setattr("lutum._http.answer._FRAMING", (b"-", b"-"))
    assert any(compare(seed) for seed in range(1500))
