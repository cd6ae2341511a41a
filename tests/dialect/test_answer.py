"""`lutum.dialect.answer`: a body is a stream, one JSON value, or a page."""

import tracemalloc

import pytest

import lutum
from lutum.dialect import answer
from lutum.dialect.answer import AnswerReader
from lutum.dialect.errors import ErrorTable
from lutum.dialect.finish import FinishTable


def reader(**headers: str) -> AnswerReader:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return AnswerReader(lutum.Response(200, headers=named), ErrorTable())


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    ("data", "events", "body"),
    [
        (b'data: {"a":1}\n\ndata: {"b":2}', [(b"", b'{"a":1}'), (b"", b'{"b":2}')], None),
        (b": hello\n\nevent: x\ndata: 1\n\n", [(b"x", b"1")], None),
        (b"\xef\xbb\xbfdata: 1\n\n", [(b"", b"1")], None),
        (b'data: {"a":1}\n\ndata: {"b":', [(b"", b'{"a":1}')], None),
        (b' \r\n\n{"a":1}', [], b'{"a":1}'),
        (b'[{"error":1}]', [], b'[{"error":1}]'),
        (b'{"a":', [], None),
        (b"", [], None),
    ],
)
def test_what_a_body_is(
    data: bytes, events: list[tuple[bytes, bytes]], body: bytes | None, size: int
) -> None:
    """However it is cut into pieces."""
    reading, found = reader(), list[tuple[bytes, bytes]]()
    for at in range(0, len(data), size):
        found += reading.feed(data[at : at + size])
    found += reading.eof()
    assert found == events
    assert reading.body() == body


@pytest.mark.parametrize("data", [b"<html><title>Sign in</title>", b"upstream connect error", b""])
def test_a_page(data: bytes) -> None:
    """HTML, text and an empty answer of another type are errors that name the type."""
    reading = reader(content_type="text/html; charset=utf-8")
    reading.feed(data)
    assert reading.eof() == []
    with pytest.raises(lutum.ProviderError, match="text/html") as caught:
        reading.body()
    assert caught.value.kind == "malformed"


def test_an_error_between_events() -> None:
    """A proxy's JSON behind the events is read when the stream had no end."""
    reading = reader()
    reading.feed(b'data: {"a":1}\n\n{\n  "error": {\n    "message": "quota used up"\n  }\n}\n')
    reading.eof()
    with pytest.raises(lutum.ProviderError, match="quota used up"):
        reading.check_strays()
    quiet = reader()
    quiet.feed(b'data: {"a":1}\n\n')
    quiet.check_strays()


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("MAX_TOKENS", "length"),
        ("maxTokens", "length"),
        ("max-tokens", "length"),
        ("odd", "odd"),
        ("model_context_window_exceeded", "length"),
        ("toolUse", "tool_calls"),
        ("sensitive", "content_filter"),
    ],
)
def test_dialect_finish_reasons(reason: str, word: str) -> None:
    assert FinishTable().read(reason) == word


@pytest.mark.parametrize(
    "reason", ["abort", "insufficient_system_resource", "network_error", "error", "Cancelled"]
)
def test_dialect_broken_off(reason: str) -> None:
    error = FinishTable().broken(reason, lutum.Response(200), b"")
    assert error is not None
    assert error.kind == "server"
    assert FinishTable().broken("stop", lutum.Response(200), b"") is None


def test_the_longest_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that has the longest length is an answer, one byte more is an error."""
    monkeypatch.setattr(answer, "BODY_BYTES", 100)
    whole = b'{"x":"' + b"y" * 92 + b'"}'
    assert len(whole) == 100
    reading = reader()
    for at in range(0, 100, 7):
        reading.feed(whole[at : at + 7])
    assert reading.body() == whole
    with pytest.raises(lutum.ProviderError, match="longer than 100 bytes"):
        reading.feed(b" ")


def test_what_stands_between_events_is_kept_up_to_a_bound() -> None:
    """A stream without end that is full of strays costs two bounds of memory at most."""
    reading = reader()
    reading.feed(b"data: {}\n\n")
    tracemalloc.start()
    try:
        for _ in range(6):
            reading.feed(b"<p>\n\n" * 50_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * answer.TEXT_BYTES
    with pytest.raises(lutum.ProviderError, match="not an answer"):
        reading.check_strays()


def test_a_stray_page_is_seen_however_the_reads_are_cut() -> None:
    """The first read may end in the middle of an event, whose rest is not a stray line."""
    body = b'data: {"a":1}\n\n<html>502</html>\n'
    for at in range(1, len(body)):
        reading = reader()
        reading.feed(body[:at])
        reading.feed(body[at:])
        with pytest.raises(lutum.ProviderError, match="not an answer of this API: 502"):
            reading.check_strays()


def test_a_stray_page_is_seen_behind_a_long_stream() -> None:
    """The lines of events before it do not count against the bound of what is kept."""
    reading = reader()
    reading.feed(b"data: {}\n\n")
    for _ in range(20):
        reading.feed(b'data: {"a":"%b"}\n\n' % (b"x" * 10_000))
    reading.feed(b"<html>502</html>\n")
    with pytest.raises(lutum.ProviderError, match="not an answer of this API: 502"):
        reading.check_strays()
