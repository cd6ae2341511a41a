"""A body in chunks is read past h11, and h11 would make the same of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11
import pytest
from hypothesis import example, given, strategies as st

from lutum._http.answer import HEAD_BYTES, Chunks

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def waiting() -> Chunks:
    chunks = Chunks()
    chunks.sent(REQUEST)
    return chunks


def read_past_h11(chunks: Chunks, reads: Iterable[bytes]) -> tuple[bytes, list[bytes]]:
    """The body that was read here, and what is left for h11 to read."""
    body, left = bytearray(), list[bytes]()
    for data in reads:
        if chunks.plain:
            head, rest = b"", data
        else:
            head, rest = chunks.split(data)
        left.append(head)
        if rest:
            assert chunks.plain
            piece, after = chunks.body(rest)
            body += piece
            if chunks.bad:
                break
            assert chunks.plain is not bool(after)
            left.append(after)
    return bytes(body), [data for data in left if data]


def read_by_h11(reads: Iterable[bytes]) -> tuple[Any, ...]:
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
    return bytes(body), *seen


def stray_by_h11(response: bytes) -> bytes | None:
    """What h11 keeps behind a response for the next request; None where the response has not ended."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(response)
    while (event := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if type(event) is h11.EndOfMessage:
            return client.trailing_data[0]
    return None


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    at = sorted({place % len(data) for place in places} - {0})
    return [data[begin:end] for begin, end in zip([0, *at], [*at, len(data)], strict=True)]


def test_the_chunks_of_a_read_come_out_as_one_piece() -> None:
    """Whole chunks of one read are joined; h11 reads the head and the end."""
    chunks = waiting()
    assert chunks.split(HEAD + chunk(b"ab") + chunk(b"c")) == (HEAD, chunk(b"ab") + chunk(b"c"))
    assert chunks.body(chunk(b"ab") + chunk(b"c")) == (b"abc", b"")
    assert chunks.body(chunk(b"d") + chunk(b"e") + b"0\r\n\r\n") == (b"de", b"0\r\n\r\n")
    assert not chunks.plain


def test_nothing_is_held_back_but_a_cut_size() -> None:
    """The data of a chunk that has not ended is given out; the cut first line of one is not data yet."""
    chunks = waiting()
    chunks.split(HEAD)
    assert chunks.body(b"5\r\nab") == (b"ab", b"")
    assert chunks.body(b"cde\r") == (b"cde", b"")
    assert chunks.body(b"\n1\r\nx\r\n1\r\ny\r\n1") == (b"xy", b"")
    assert chunks.body(b"\r") == (b"", b"")
    assert chunks.body(b"\nz\r\n") == (b"z", b"")
    assert chunks.plain


def test_the_next_response_of_a_connection_is_read_so_too() -> None:
    """After the last chunk the next request begins anew, with whatever head answers it."""
    chunks = waiting()
    first = HEAD + chunk(b"a") + chunk(b"b") + b"0\r\n\r\n"
    assert read_past_h11(chunks, [first]) == (b"ab", [HEAD, b"0\r\n\r\n"])
    chunks.sent(REQUEST)
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n" + chunk(b"a") + chunk(b"b")
    assert read_past_h11(chunks, [plain]) == (b"", [plain])
    chunks.sent(REQUEST)
    assert read_past_h11(chunks, [first]) == (b"ab", [HEAD, b"0\r\n\r\n"])


def test_the_body_of_a_request_changes_nothing() -> None:
    """Only the first line of a request begins an exchange."""
    chunks = waiting()
    chunks.sent(b'{"a": 1}')
    assert read_past_h11(chunks, [HEAD, chunk(b"a")]) == (b"a", [HEAD])


def test_the_answer_to_a_head_request_has_no_body() -> None:
    """Its head may speak of chunks all the same."""
    chunks = Chunks()
    chunks.sent(REQUEST.replace(b"POST", b"HEAD"))
    assert chunks.split(HEAD) == (HEAD, b"")
    assert not chunks.plain


@pytest.mark.parametrize("cut", range(8))
def test_a_chunk_without_its_line_end_is_the_last(cut: int) -> None:
    """What stands there may look like the next chunk, which h11 could not know. What came before counts."""
    sent = chunk(b"x") + b"3\r\nabc" + chunk(b"d")
    at = len(chunk(b"x")) + cut
    chunks = waiting()
    body, left = read_past_h11(chunks, [HEAD, sent[:at], sent[at:]])
    assert body == b"x" + (b"abc"[: cut - 3] if 3 < cut < 7 else b"")  # and what was given out already
    assert left == [HEAD]
    assert chunks.bad
    assert not chunks.whole


LENGTH = b"HTTP/1.1 429 No\r\ncontent-length: 3\r\n\r\nabc"


@pytest.mark.parametrize(
    ("response", "whole"),
    [
        (HEAD + chunk(b"a") + b"0\r\n\r\n", True),
        (HEAD + b"0\r\n\r\n", True),
        (HEAD + chunk(b"a"), False),
        (HEAD + chunk(b"a") + b"0\r\n\r", False),
        (HEAD + chunk(b"a") + b"0\r\n\r\nH", False),
        (HEAD + chunk(b"a") + b"0\r\n\nH", False),
        (HEAD + chunk(b"a") + b"0\r\nx: 1\r\n\r\n", False),
        (LENGTH, True),
        (LENGTH[:-1], False),
        (LENGTH + b"H", False),
        (LENGTH.replace(b"429", b"204"), False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
    ],
)
def test_whole_is_one_answer_and_no_byte_more(response: bytes, whole: bool) -> None:
    """Anything else closes the connection: its next answer would not be its own."""
    for cuts in ([], range(len(response))):
        chunks = waiting()
        read_past_h11(chunks, cut(response, cuts))
        assert chunks.whole is whole


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 304 Oh\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Oh\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * HEAD_BYTES + b"\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_other_responses_are_for_h11(head: bytes) -> None:
    """Only a body that is plainly in chunks is looked at."""
    reads = [head[:-2], head[-2:], chunk(b"a") + chunk(b"b")]
    assert read_past_h11(waiting(), reads) == (b"", reads)


LINES = st.sampled_from(
    [b"1", b"2", b"02", b"A", b"1;x=y", b"1 ", b"0", b"-1", b"0x1", b"1_0", b"", b"fffffffff", b"\xb2"]
)
BODIES = st.lists(st.binary(min_size=1, max_size=40).map(chunk), max_size=8).map(b"".join)
ODD = st.builds(
    lambda line, data: line + b"\r\n" + data, LINES, st.sampled_from([b"a\r\n", b"ab\r\n", b"a\n", b""])
)
ENDS = st.sampled_from(
    [b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n", b"00\r\n\r\n", b"0\n\n", b"0\r\n\nH", b"0\r\n\r\nHTTP", b""]
)
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
        HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 9"),
        HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 9\r\ncontent-length: 9"),
    ]
)
RESPONSES = st.builds(
    lambda *parts: b"".join(parts), HEADS, BODIES, st.one_of(st.just(b""), ODD), BODIES, ENDS
)


@given(RESPONSES, st.lists(st.integers(0, 10_000), max_size=12))
@example(HEAD + chunk(b"a") * 3 + b"2\r\nabX\r\n1\r\na\r\n0\r\n\r\n", [])
@example(HEAD + b"1\r\na\r\n\r\n1\r\na\r\n0\r\n\r\n", [])
def test_h11_makes_the_same_of_it(response: bytes, places: list[int]) -> None:
    """Whatever a server sends, and however it is cut: h11, of all of it and of what is left for it."""
    whole, *seen = read_by_h11([response])
    chunks = waiting()
    body, left = read_past_h11(chunks, cut(response, places))
    if chunks.bad:
        assert seen[-1] == "refused"
        assert whole.startswith(body)
        return
    rest, *heads = read_by_h11(left)
    assert heads == seen
    if "refused" not in seen:  # how much came before is timing
        assert body + rest == whole
        assert not chunks.whole or stray_by_h11(response) == b""
