"""`lutum.sse` against the WHATWG text: cases by hand, and a reference written differently."""

import re
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, strategies as st

from lutum import sse
from lutum.sse import SSEDecoder, SSEError

Event = tuple[bytes, bytes]
# What feeding returned, what flush added, and whether an event was over the cap.
Outcome = tuple[list[Event], list[Event], bool]

BOM = b"\xef\xbb\xbf"
NO_CAP = 2**20


def decode(chunks: Iterable[bytes], cap: int = NO_CAP) -> Outcome:
    """Feed all chunks and flush; the decoder under test."""
    decoder = SSEDecoder(max_event_bytes=cap)
    fed: list[Event] = []
    try:
        for chunk in chunks:
            fed += decoder.feed(chunk)
        return fed, decoder.flush(), False
    except SSEError:
        return fed, [], True


def reference(stream: bytes, cap: int = NO_CAP) -> Outcome:
    """The specification's buffers, over the lines of a stream that is all there."""
    *lines, rest = re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM))
    fed: list[Event] = []
    name = data = b""
    size = 0
    for number, line in enumerate([*lines, rest]):
        finished = number < len(lines)
        if line == b"" and finished:
            if data != b"":
                fed.append((name, data[:-1]))
            name = data = b""
            size = 0
            continue
        size += len(line) + finished
        if size > cap:
            return fed, [], True
        match = re.fullmatch(rb"(?s)([^:]*)(?:: ?(.*))?", line)
        assert match is not None
        value = match[2] or b""
        if match[1] == b"data":
            data += value + b"\n"
        elif match[1] == b"event":
            name = value
    return fed, [(name, data[:-1])] if data[:-1] else [], False


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream in pieces; equal places and those at an end give empty ones."""
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def each_way(stream: bytes) -> Iterable[list[bytes]]:
    """The stream whole, byte by byte, with empty chunks between bytes, and in two at every place."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    yield [piece for at in range(len(stream)) for piece in (b"", stream[at : at + 1], b"")]
    for at in range(len(stream) + 1):
        yield [stream[:at], stream[at:]]


CASES: dict[str, tuple[bytes, list[Event]]] = {
    "nothing": (b"", []),
    "data only": (b"data: a\n\n", [(b"", b"a")]),
    "named": (b"event: e\ndata: a\n\n", [(b"e", b"a")]),
    "several": (b"event: e\ndata: a\n\nevent: f\ndata: b\n\n", [(b"e", b"a"), (b"f", b"b")]),
    "named and not": (b"event: e\ndata: a\n\ndata: b\n\n", [(b"e", b"a"), (b"", b"b")]),
    "name after data": (b"data: a\nevent: e\n\n", [(b"e", b"a")]),
    "last name wins": (b"event: e\nevent: f\ndata: a\n\n", [(b"f", b"a")]),
    "empty name unsets": (b"event: e\nevent:\ndata: a\n\n", [(b"", b"a")]),
    "empty name": (b"event: \ndata: a\n\n", [(b"", b"a")]),
    "name without data is forgotten": (b"event: e\n\ndata: a\n\n", [(b"", b"a")]),
    "many lines": (b"data: a\ndata: b\ndata: c\n\n", [(b"", b"a\nb\nc")]),
    "lines with others between": (b"data: a\nid: 1\n: c\ndata: b\n\n", [(b"", b"a\nb")]),
    "no space": (b"event:e\ndata:a\n\n", [(b"e", b"a")]),
    "one space of several": (b"event:  e\ndata:   a\n\n", [(b" e", b"  a")]),
    "one space of several, each line": (b"data:  a\ndata:   b\n\n", [(b"", b" a\n  b")]),
    "a tab is no space": (b"data:\ta\n\n", [(b"", b"\ta")]),
    "trailing spaces stay": (b'event: e\ndata: {"a":1}    \n\n', [(b"e", b'{"a":1}    ')]),
    "colons in the value": (b"data: a: b:c\n\n", [(b"", b"a: b:c")]),
    "LF": (b"event: e\ndata: a\ndata: b\n\n", [(b"e", b"a\nb")]),
    "CR": (b"event: e\rdata: a\rdata: b\r\r", [(b"e", b"a\nb")]),
    "CRLF": (b"event: e\r\ndata: a\r\ndata: b\r\n\r\n", [(b"e", b"a\nb")]),
    "mixed ends": (b"data: a\rdata: b\n\r\ndata: c\r\n\n\r", [(b"", b"a\nb"), (b"", b"c")]),
    "CRLF is one end": (b"data: a\r\ndata: b\r\n\r\n", [(b"", b"a\nb")]),
    "CR before LF LF": (b"data: a\rdata: b\n\nevent: e\rdata: c\r\n\n", [(b"", b"a\nb"), (b"e", b"c")]),
    "LF CR is two": (b"data: a\n\rdata: b\n\r", [(b"", b"a"), (b"", b"b")]),
    "blank lines dispatch nothing": (b"\n\r\n\r\n\ndata: a\n\n\n\n\r\r\n\n", [(b"", b"a")]),
    "BOM": (BOM + b"data: a\n\n", [(b"", b"a")]),
    "one BOM only": (BOM + BOM + b"data: a\n\ndata: b\n\n", [(b"", b"b")]),
    "a later BOM is a name": (b"\n" + BOM + b"data: a\n\ndata: b\n\n", [(b"", b"b")]),
    "half a BOM": (b"\xef\xbbdata: a\n\ndata: b\n\n", [(b"", b"b")]),
    "BOM, then a blank line": (BOM + b"\ndata: a\n\n", [(b"", b"a")]),
    "BOM, then CRLF": (BOM + b"\r\ndata: a\r\n\r\n", [(b"", b"a")]),
    "comment": (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [(b"", b"a")]),
    "comments about": (b":\ndata: a\n:data: b\n: event: e\n\n", [(b"", b"a")]),
    "comment that ends like an event": (b": event: e\ndata: a\n\n", [(b"", b"a")]),
    "id and retry alone": (b"id: 1\n\nretry: 10\n\nid\n\ndata: a\n\n", [(b"", b"a")]),
    "three blank lines after an id": (b"id: 1\ndata: a\n\n\n\n", [(b"", b"a")]),
    "id between": (b"event: e\nid: 1\ndata: a\n\n", [(b"e", b"a")]),
    "id with NUL": (b"id: \x00\ndata: a\n\n", [(b"", b"a")]),
    "NUL in data": (b"data: \x00\n\n", [(b"", b"\x00")]),
    "unknown fields": (b"dat: 1\ndatas: 2\nfoo\ndata: a\n\n", [(b"", b"a")]),
    "names are exact": (b"Data: 1\n data: 2\ndata : 3\nEVENT: e\ndata: a\n\n", [(b"", b"a")]),
    "data without colon": (b"data\n\n", [(b"", b"")]),
    "empty data": (b"data:\n\ndata: \n\n", [(b"", b""), (b"", b"")]),
    "named, empty data": (b"event: e\ndata: \n\nevent: f\ndata: a\n\n", [(b"e", b""), (b"f", b"a")]),
    "empty lines of data": (b"data\ndata:\ndata: \n\n", [(b"", b"\n\n")]),
    "event without colon": (b"event: e\nevent\ndata: a\n\n", [(b"", b"a")]),
    "no line ends but CR and LF": (
        "data: \u2028\u2029\x85\v\f\x1c\x1d\x1e.\n\n".encode(),
        [(b"", "\u2028\u2029\x85\v\f\x1c\x1d\x1e.".encode())],
    ),
    "the same, CRLF": (
        "data: \u2028\u2029\x85\v\f\x1c\x1d\x1e.\r\n\r\n".encode(),
        [(b"", "\u2028\u2029\x85\v\f\x1c\x1d\x1e.".encode())],
    ),
    "UTF-8": ("event: é\ndata: 日本🙂\n\n".encode(), [("é".encode(), "日本🙂".encode())]),
    "not UTF-8": (b"data: \xff\xc3\n\n", [(b"", b"\xff\xc3")]),
    "regular, then not": (
        b"event: e\ndata: a\n\nevent: f\ndata: b\ndata: c\n\nevent: g\ndata: d\n\n",
        [(b"e", b"a"), (b"f", b"b\nc"), (b"g", b"d")],
    ),
    "a name's block without data, between": (
        b"event: e\ndata: a\n\nevent: f\n\nevent: g\ndata: c\n\n",
        [(b"e", b"a"), (b"g", b"c")],
    ),
}


@pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES.keys())
def test_cases(stream: bytes, events: list[Event]) -> None:
    """Each stream gives its events, however it is cut in two or into bytes."""
    assert reference(stream) == (events, [], False)
    for chunks in each_way(stream):
        assert decode(chunks) == (events, [], False), chunks


UNMARKED = {name: case for name, case in CASES.items() if not case[0].startswith(BOM)}


@pytest.mark.parametrize(("stream", "events"), UNMARKED.values(), ids=UNMARKED.keys())
def test_cases_in_mid_stream(stream: bytes, events: list[Event]) -> None:
    """Each stream without a BOM gives the same events between others."""
    other, event = b"event: x\ndata: 1\n\n", (b"x", b"1")
    for chunks in each_way(stream):
        assert decode([other, *chunks, other]) == ([event, *events, event], [], False), chunks


FLUSHED: dict[str, tuple[bytes, list[Event]]] = {
    "nothing": (b"", []),
    "blank lines": (b"\n\r\n", []),
    "no blank line": (b"event: e\ndata: a\n", [(b"e", b"a")]),
    "no blank line, CR": (b"event: e\rdata: a\r", [(b"e", b"a")]),
    "no blank line, CRLF": (b"event: e\r\ndata: a\r\n", [(b"e", b"a")]),
    "no line end": (b"data: [DONE]", [(b"", b"[DONE]")]),
    "many lines": (b"data: a\ndata: b", [(b"", b"a\nb")]),
    "cut data": (b'event: e\ndata: {"a', [(b"e", b'{"a')]),
    "cut UTF-8": (b"data: \xe6\x97", [(b"", b"\xe6\x97")]),
    "cut field": (b"data: a\nda", [(b"", b"a")]),
    "no data": (b"event: e\nid: 1\n", []),
    "data not begun": (b"event: e\ndata: ", []),
    "comment": (b": keep-alive", []),
    "half a BOM": (b"\xef\xbb", []),
    "only a BOM": (BOM, []),
    "BOM": (BOM + b"data: a", [(b"", b"a")]),
}


@pytest.mark.parametrize(("stream", "events"), FLUSHED.values(), ids=FLUSHED.keys())
def test_flush(stream: bytes, events: list[Event]) -> None:
    """The end of the stream gives the unterminated event, if it has data."""
    assert reference(stream) == ([], events, False)
    for chunks in each_way(stream):
        assert decode(chunks) == ([], events, False), chunks


def test_flush_after_events() -> None:
    """An event is returned once: by the call that completed it, or by one flush."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n\ndata: b\n") == [(b"", b"a")]
    assert decoder.flush() == [(b"", b"b")]
    assert decoder.flush() == []


def test_cr_does_not_wait() -> None:
    """A blank line ended by CR dispatches at once, and the LF that follows is no second line."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\r") == [(b"", b"a")]
    assert decoder.feed(b"\ndata: b\r\n") == []
    assert decoder.feed(b"\r") == [(b"", b"b")]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == []
    assert decoder.flush() == []


def test_lf_after_the_blank_line_does_not_wait() -> None:
    """An event is returned with the byte that completes it, at the start of a stream and later."""
    decoder = SSEDecoder()
    for _ in range(3):
        assert decoder.feed(b"event: e\ndata: a\n") == []
        assert decoder.feed(b"\n") == [(b"e", b"a")]
        assert decoder.feed(b"event: e\ndata: a\n\n") == [(b"e", b"a")]


def test_position() -> None:
    """The position counts the bytes that were fed, also those that are dropped."""
    decoder = SSEDecoder()
    assert decoder.position == 0
    decoder.feed(BOM + b"data: a\r\n\r")
    assert decoder.position == 13
    decoder.feed(b"")
    decoder.feed(b"\n: c\n")
    assert decoder.position == 18
    decoder.flush()
    assert decoder.position == 18


BLOCK = b"event: e\n: c\ndata: 123\n"  # the lines that count towards the cap


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_cap(end: bytes) -> None:
    """An event as long as the cap passes, a byte more fails, wherever the chunks are cut."""
    small = b"\n\ndata: a\n\n\n"
    stream = (small + BLOCK + b"\n" + small).replace(b"\n", end)
    for chunks in each_way(stream):
        assert decode(chunks, len(BLOCK)) == ([(b"", b"a"), (b"e", b"123"), (b"", b"a")], [], False), chunks
        assert decode(chunks, len(BLOCK) - 1) == ([(b"", b"a")], [], True), chunks


@pytest.mark.parametrize("line", [b"data: ", b"event: ", b": ", b"x"])
def test_cap_holds_before_the_line_ends(line: bytes) -> None:
    """No more than the cap is held, even of a line that is never to be used."""
    decoder = SSEDecoder(max_event_bytes=10)
    assert decoder.feed(line.ljust(10, b"x")) == []
    with pytest.raises(SSEError, match="longer than 10 bytes"):
        decoder.feed(b"x")


@pytest.mark.parametrize("too_long", [b"data: 1234\n\n", b"data: 1234\n", b"data: 12345", b"x\n" * 6])
def test_cap_keeps_what_came_before(too_long: bytes) -> None:
    """Events before the one that is too long are returned; then, or without any, every call raises."""
    at_once, later = SSEDecoder(max_event_bytes=10), SSEDecoder(max_event_bytes=10)
    assert at_once.feed(b"data: a\n\n") == [(b"", b"a")]
    with pytest.raises(SSEError):
        at_once.feed(too_long)
    assert later.feed(b"data: a\n\n" + too_long) == [(b"", b"a")]
    for decoder in (at_once, later):
        for chunk in (b"data: b\n\n", b"\n\ndata: b\n\n", b""):
            with pytest.raises(SSEError):
                decoder.feed(chunk)
            with pytest.raises(SSEError):
                decoder.flush()


def test_cap_is_of_one_event() -> None:
    """A chunk, and a stream, may be much longer than the cap."""
    events = [(b"", b"%d" % number) for number in range(100)]
    stream = b"".join(b"data: %b\n\n" % data for _, data in events)
    assert decode([stream], 10) == (events, [], False)


def test_error_is_a_value_error() -> None:
    """A caller that knows nothing of this module can catch what it raises."""
    assert issubclass(SSEError, ValueError)


@pytest.mark.parametrize(
    "stream",
    [
        b"event: e\ndata: %b\n\n" % (b"x" * 2**20),
        b"data: %b\r\n\r\n" % (b"x" * 100_000),
        b"data: x\n" * 20_000 + b"\n",
        b": c\n" * 20_000 + b"data: a\n\n",
        b"event: e\ndata: a\n\n" * 5_000,
        b"id: 1\ndata: a\r\n\r\n" * 5_000,
        b"\n" * 50_000,
    ],
    ids=["one line", "CRLF", "many lines", "comments", "regular", "irregular", "blank"],
)
def test_dripping_is_linear(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte, each byte is decoded at most twice: the fast way, and where that fails the other."""
    looked_at = 0
    find_regular, parse = sse._find_regular, sse._parse

    def counting_find(data: bytes) -> list[Event]:
        nonlocal looked_at
        looked_at += len(data)
        return find_regular(data)

    def counting_parse(data: bytes) -> Event | None:
        nonlocal looked_at
        looked_at += len(data)
        return parse(data)

    expected = decode([stream])
    monkeypatch.setattr(sse, "_find_regular", counting_find)
    monkeypatch.setattr(sse, "_parse", counting_parse)
    assert decode(stream[at : at + 1] for at in range(len(stream))) == expected
    assert looked_at <= 2 * len(stream)


# Whole fields and single bytes, so that both sense and nonsense are likely.
PIECES = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b":", b" ", b": ", b"a", b"\x00"),
    *(BOM, BOM[:1], BOM[1:], "\u2028é".encode()),
    *(b"data", b"data: ", b"data:", b"event", b"event: ", b"event:", b"id: 1", b"retry: 9", b": c"),
    *(b"\nevent: e\ndata: a\n\n", b"event: f\r\ndata: b\r\n\r\n", b"data: c\n\n"),
]
# Mostly what the fast path takes, with few blocks that it must not take.
BLOCKS = [b"event: e\ndata: a \n\n", b"data: b\n\n", b"event: f\ndata: \n\n", b": c\n\n", b"id: 1\n"]
STREAMS = (
    st.lists(st.sampled_from(PIECES), max_size=40) | st.lists(st.sampled_from(BLOCKS), max_size=12)
).map(b"".join)
PLACES = st.lists(st.integers(0, 200), max_size=12)


@given(STREAMS, PLACES)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 10])
def test_agrees_with_the_reference(stream: bytes, places: list[int]) -> None:
    """Any stream, cut anywhere, gives what the specification's own steps give."""
    expected = reference(stream)
    assert decode([stream]) == expected
    assert decode(cut(stream, places)) == expected
    assert decode(stream[at : at + 1] for at in range(len(stream))) == expected


@given(STREAMS, PLACES, st.integers(3, 30))
def test_agrees_with_the_reference_under_a_cap(stream: bytes, places: list[int], cap: int) -> None:
    """The cap hits the same event, after the same events, wherever the stream is cut."""
    expected = reference(stream, cap)
    assert decode([stream], cap) == expected
    assert decode(cut(stream, places), cap) == expected
    assert decode((stream[at : at + 1] for at in range(len(stream))), cap) == expected


@given(STREAMS, PLACES)
def test_a_prefix_gives_a_prefix(stream: bytes, places: list[int]) -> None:
    """Events once returned do not depend on what comes later."""
    events, _, _ = decode([stream])
    for place in places:
        before, _, _ = decode([stream[:place]])
        assert before == events[: len(before)]


@given(st.binary(max_size=200), PLACES, st.integers(0, 60))
def test_any_bytes(stream: bytes, places: list[int], cap: int) -> None:
    """Bytes of any kind give events or the one documented error, never another."""
    decode(cut(stream, places), cap)
    assert decode(cut(stream, places)) == reference(stream)
