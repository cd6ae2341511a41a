"""The chunks of one read become one, and h11 sees the same body."""

from __future__ import annotations

from collections.abc import Iterable

import h11
import pytest
from hypothesis import example, given, strategies as st

from lutum._chunks import HEAD_BYTES, ChunkMerger

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def waiting() -> ChunkMerger:
    merger = ChunkMerger()
    merger.sent()
    return merger


def read_by_h11(reads: Iterable[bytes]) -> tuple[object, ...]:
    """What a client makes of a response: its status, its body, its trailers, and how it ends."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    body = bytearray()
    seen: list[object] = []
    try:
        for data in [*reads, b""]:
            if client.their_state in (h11.DONE, h11.CLOSED):
                break
            client.receive_data(data)
            while (event := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                match event:
                    case h11.Data(data=piece):
                        body += piece
                    case h11.EndOfMessage(headers=headers):
                        seen.append(("end", tuple(headers)))
                        break
                    case h11.ConnectionClosed():
                        break
                    case h11.Response() | h11.InformationalResponse():
                        seen.append((event.status_code, tuple(event.headers)))
    except h11.RemoteProtocolError:
        seen.append("refused")
        body = bytearray()  # how much came before is timing
    return (bytes(body), *seen)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    at = sorted({place % len(data) for place in places} - {0})
    return [data[begin:end] for begin, end in zip([0, *at], [*at, len(data)], strict=True)]


def test_chunks_of_one_read_become_one() -> None:
    """Whole chunks come out as one chunk that holds the same bytes."""
    merger = waiting()
    assert merger.feed(HEAD + chunk(b"ab") + chunk(b"c")) == HEAD + chunk(b"abc")
    assert merger.feed(chunk(b"d") + chunk(b"e") + b"0\r\n\r\n") == chunk(b"de") + b"0\r\n\r\n"


def test_a_chunk_that_is_alone_is_untouched() -> None:
    """Where there is nothing to merge, the bytes are those that came."""
    merger = waiting()
    assert merger.feed(HEAD) == HEAD
    for body in (b"a", b"b" * 300):
        assert merger.feed(chunk(body)) == chunk(body)


def test_nothing_is_held_back_but_a_cut_size() -> None:
    """The data of a chunk that has not ended is passed on; the cut first line of one is not data yet."""
    merger = waiting()
    merger.feed(HEAD)
    assert merger.feed(b"5\r\nab") == b"5\r\nab"
    assert merger.feed(b"cde\r\n1\r\nx\r\n1\r\ny\r\n1") == b"cde\r\n" + chunk(b"xy")
    assert merger.feed(b"\r") == b""
    assert merger.feed(b"\nz\r\n") == b"1\r\nz\r\n"


def test_the_next_response_of_a_connection_is_merged_too() -> None:
    """After the last chunk the next request begins anew, with whatever head answers it."""
    merger = waiting()
    assert merger.feed(HEAD + chunk(b"a") + chunk(b"b") + b"0\r\n\r\n") == HEAD + chunk(b"ab") + b"0\r\n\r\n"
    merger.sent()
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n" + chunk(b"a") + chunk(b"b")
    assert merger.feed(plain) == plain
    merger.sent()
    assert merger.feed(HEAD + chunk(b"a") + chunk(b"b")) == HEAD + chunk(b"ab")


def test_a_request_that_is_still_written_changes_nothing() -> None:
    """A response may begin before the request has been written to its end."""
    merger = waiting()
    merger.feed(HEAD + b"2\r\na")
    merger.sent()
    assert merger.feed(b"b\r\n" + chunk(b"c") + chunk(b"d")) == b"b\r\n" + chunk(b"cd")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * HEAD_BYTES + b"\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_other_responses_are_untouched(head: bytes) -> None:
    """Only the body of a plain 200 in chunks is looked at."""
    merger = waiting()
    body = chunk(b"a") + chunk(b"b")
    assert b"".join(merger.feed(piece) for piece in (head[:-2], head[-2:], body)) == head + body


LINES = st.sampled_from(
    [b"1", b"2", b"02", b"A", b"1;x=y", b"1 ", b"0", b"-1", b"0x1", b"1_0", b"", b"fffffffff", b"\xb2"]
)
BODIES = st.lists(st.binary(min_size=1, max_size=40).map(chunk), max_size=8).map(b"".join)
ODD = st.builds(
    lambda line, data: line + b"\r\n" + data, LINES, st.sampled_from([b"a\r\n", b"ab\r\n", b"a\n", b""])
)
ENDS = st.sampled_from([b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n", b"00\r\n\r\n", b"0\n\n", b""])
HEADS = st.sampled_from(
    [
        HEAD,
        HEAD,
        HEAD,
        HEAD.replace(b"\r\n", b"\n"),
        HEAD[:-2] + b"\n",
        HEAD[:-4] + b"\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + HEAD,
        HEAD.replace(b"200", b"204"),
        HEAD.replace(b"1.1", b"1.0"),
        HEAD.replace(b"chunked", b"chunked\r\n , x"),
        HEAD.replace(b"chunked\r\n", b"chunked\r\ncontent-length: 3\r\n"),
        HEAD.replace(b"chunked\r\n", b"chunked\r\ntransfer-encoding: identity\r\n"),
    ]
)
RESPONSES = st.builds(
    lambda *parts: b"".join(parts), HEADS, BODIES, st.one_of(st.just(b""), ODD), BODIES, ENDS
)


@given(RESPONSES, st.lists(st.integers(0, 10_000), max_size=12))
@example(HEAD + chunk(b"a") * 3 + b"2\r\nabX\r\n1\r\na\r\n0\r\n\r\n", [])
@example(HEAD + b"1\r\na\r\n\r\n1\r\na\r\n0\r\n\r\n", [])
def test_h11_reads_the_same(response: bytes, places: list[int]) -> None:
    """Whatever a server sends, and however it is cut, h11 makes the same of what is merged."""
    merger = waiting()
    reads = cut(response, places)
    merged = [data for data in map(merger.feed, reads) if data]
    assert read_by_h11(merged) == read_by_h11([response])
    assert sum(map(len, merged)) <= len(response)
