"""`lutum.dialect.stream`: what every decoder of a stream does, on one that only collects."""

from __future__ import annotations

import pytest

from lutum import CommittedTurn, Event, ProviderError, ProviderEvent, Response
from lutum.abc import ReplayForm
from lutum.dialect.errors import ErrorTable
from lutum.dialect.prefix import changed_at, changed_path, differs_at
from lutum.dialect.replay import origin_form
from lutum.dialect.stream import StreamDecoder


class Collector(StreamDecoder):
    """Shows each event, and is done at `end`."""

    def __init__(self) -> None:
        super().__init__(Response(request_id="req_1"), ErrorTable(types={"busy": ("overloaded", 503)}))
        self.clean: bool | None = None

    def _take(self, name: bytes, data: bytes, out: list[Event]) -> None:
        if name == b"bad":
            self._fail(data, "it is bad")
        if name == b"error":
            self._raise(data)
        if name == b"stop":
            self._raise_cut("the stream stopped")
        self._done = name == b"end"
        out.append(ProviderEvent(name.decode(), data))

    def _whole_body(self, body: bytes, out: list[Event]) -> None:
        if b"answer" not in body:
            self._refuse_body(body)
        out.append(ProviderEvent("body", body))

    def _end_of_stream(self, out: list[Event], *, clean: bool) -> None:
        self.clean = clean


def run(data: bytes) -> tuple[Collector, list[str]]:
    decoder, out = Collector(), list[Event]()
    decoder.feed(data, out)
    decoder.eof(out)
    return decoder, [event.name for event in out if isinstance(event, ProviderEvent)]


@pytest.mark.parametrize(
    ("data", "kinds", "clean"),
    [
        (b"event: a\ndata: 1\n\nevent: end\ndata: 2\n\nevent: late\ndata: 3\n\n", ["a", "end"], None),
        (b"event: a\ndata: 1\n\n", ["a"], True),
        (b"event: a\ndata: 1\n\nevent: b\ndata: 2", ["a", "b"], True),
        (b'event: a\ndata: 1\n\nevent: b\ndata: {"x', ["a"], False),
        (b'{"answer":1}', ["body"], None),
    ],
)
def test_where_an_answer_ends(data: bytes, kinds: list[str], clean: bool | None) -> None:
    decoder, found = run(data)
    assert found == kinds
    assert decoder.clean is clean


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"event: a\ndata: 1\n\nevent: bad\ndata: 2\n\n", "malformed", "event 2 of the stream: it is bad"),
        (b'event: error\ndata: {"error":{"type":"busy","message":"later"}}\n\n', "overloaded", "later"),
        (b"event: stop\ndata: 1\n\n", "server", "the stream stopped, so it may be cut"),
        (b'{"error":{"type":"busy","message":"later"}}', "overloaded", "later"),
        (b'{"other":1}', "malformed", "is not an answer of this API"),
        (b"<html>no</html>", "malformed", "is not an answer of this API"),
        (b"event: a\ndata: 1\n\n<html>no</html>\n", "malformed", "is not an answer of this API"),
    ],
)
def test_an_error_ends_the_answer(data: bytes, kind: str, words: str) -> None:
    decoder, out = Collector(), list[Event]()
    with pytest.raises(ProviderError, match=words) as caught:
        decoder.feed(data, out)
        decoder.eof(out)
    assert caught.value.kind == kind
    assert caught.value.request_id == "req_1"
    decoder.feed(b"event: a\ndata: 1\n\n", [])  # ignored


def test_lists_of_requests_are_compared() -> None:
    assert differs_at("abc", "abc") is None
    assert differs_at("abc", "abd") == 2
    assert differs_at("ab", "abc") == differs_at("abc", "ab") == 2
    assert changed_at("ab", "abc") is None
    assert changed_at("abc", "ab") == 2
    assert changed_at("abc", "xbc") == 0
    flat = [("user", 1, "$.a"), ("user", 2, "$.b")]
    assert changed_path(flat, [*flat, ("user", 3, "$.c")], "$.all") is None
    assert changed_path(flat, [flat[0], ("model", 2, "$.x")], "$.all") == "$.x"
    assert changed_path(flat, flat[:1], "$.all") == "$.all"


def test_a_turn_from_elsewhere_goes_back_as_what_it_says() -> None:
    turn = CommittedTurn("a", "host", "m", b"{}")
    assert origin_form(turn, "a", "host").exact
    assert origin_form(turn, "b", "host").reason == "it was made by the adapter 'a'"
    assert origin_form(turn, "a", "other").reason == "it was made at 'host', and this request goes to 'other'"
    cut = CommittedTurn("a", "host", "m", b"{}", inexact_reason="a part is missing")
    assert origin_form(cut, "a", "host") == ReplayForm(False, "a part is missing")
