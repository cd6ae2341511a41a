"""Traces as bytes: what is dumped is loaded, whatever it was; what was cut is read as far as it goes."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import STARTED, VIRTUAL, WHOLE, FakeAdapter, House, Text, Wait
from hypothesis import given, strategies as st

import lutum
from lutum import trace

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.text(max_size=5), JSON, max_size=2)


def shape(t: trace.Trace) -> Any:
    """Everything a trace holds that a file keeps."""

    def of(span: trace.Span) -> Any:
        return (
            span.name,
            span.started,
            span.ended,
            span.fields,
            notes(span.notes),
            list(map(of, span.children)),
        )

    def notes(them: list[trace.Note]) -> Any:
        return [(note.name, note.at, note.fields) for note in them]

    raw = [(entry.kind, entry.at, entry.data, entry.span and entry.span.name) for entry in t.raw]
    return t.wall, t.started, t.ended, notes(t.notes), [of(root) for root in t.roots], raw


async def collect(house: House) -> None:
    async with house.stream() as stream:
        async for _ in stream:
            pass


@VIRTUAL
async def test_a_captured_trace(tmp_path: Path) -> None:
    """A trace that was dumped, and the file that was written as it happened, load as what was seen."""
    house = House(FakeAdapter([lutum.ProviderError("x", kind="server", body=b"\xff")], WHOLE), retry=POLICY)
    path = tmp_path / "t.jsonl"
    async with trace.capture(raw=True, content=True, to=path) as t:
        with trace.span("mine", cost=Decimal("0.1"), what={"a"}):
            trace.event("half", of=1)
            await collect(house)
        trace.event("loose")
    data = t.dump()
    loaded, written = trace.load(data), trace.Trace.load(path.read_bytes())
    assert loaded.dump() == data
    assert shape(loaded) == shape(written)
    assert (loaded.open_reason, written.open_reason) == ("", "")
    assert loaded.span("mine").fields == {"cost": "0.1", "what": ["a"]}
    assert [entry.kind for entry in t.raw] == [
        "request",
        "error",
        "request",
        "frame",
        "frame",
        "frame",
        "frame",
    ]
    assert loaded.raw[1].data["body"] == b"\xff"
    assert loaded.raw[0].span is loaded.find("request")[0]
    assert [len(lutum.decode_frame(entry.data["frame"])) for entry in written.raw[3:]] == [1, 1, 1, 1]


POLICY = lutum.RetryPolicy(initial=1, jitter=0)


SPANS = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.text(max_size=5), FIELDS, FIELDS, inner), max_size=3),
    max_leaves=5,
)


@given(SPANS)
async def test_the_law_of_dumps(spans: Any) -> None:
    """Whatever is recorded, dump(load(dump)) is dump, and nothing of it is lost."""

    def record(spans: Any) -> None:
        for name, fields, late, inner in spans:
            with trace.span(name, **fields) as span:
                assert span is not None
                trace.event(name, **late)
                record(inner)
                span.set(**late)

    async with trace.capture() as t:
        record(spans)
    dumped = t.dump()
    loaded = trace.load(dumped)
    assert loaded.dump() == dumped
    assert shape(loaded) == shape(t)


@VIRTUAL
async def test_every_prefix_of_a_written_file(tmp_path: Path) -> None:
    """A file cut anywhere, as by a kill, loads as far as it goes; what was open then says why."""
    house = House(FakeAdapter((STARTED, Wait(1), Text("a"), *WHOLE[1:])))
    path = tmp_path / "t.jsonl"
    async with trace.capture(to=path) as t:
        with trace.span("mine"):
            await collect(house)
    data = path.read_bytes()
    header = data.index(b"\n")
    spans = [len(list(trace.load(data[:end]).walk())) for end in range(header, len(data))]
    assert spans == sorted(spans)
    assert spans[-1] == len(list(t.walk()))
    half = trace.load(data[: data.index(b'"close"')])
    assert [span.status for span in half.walk()] == ["open"] * 4
    assert half.open_reason == "the capture had not ended when this was written"


@VIRTUAL
async def test_dumped_while_it_runs() -> None:
    """A trace can be dumped at any time; its open spans are open when it is loaded."""
    async with trace.capture() as t:
        with trace.span("mine"):
            early = t.dump()
    assert trace.load(early).span("mine").status == "open"
    assert trace.load(early).open_reason == "the capture had not ended when this was written"


def test_a_killed_process(tmp_path: Path) -> None:
    """What a process recorded until it was killed is in its file."""
    path = tmp_path / "t.jsonl"
    program = f"""
import os, signal, lutum
from lutum import trace
from lutum.testing import ScriptedAdapter

async def main():
    llm = lutum.Lutum(ScriptedAdapter([["one"], ["two"]]))
    async with trace.capture(to={str(path)!r}):
        await llm.text_turn("hello").collect()
        async with llm.text_turn("hello").stream() as turn:
            async for event in turn:
                os.kill(os.getpid(), signal.SIGKILL)

lutum.run(main, backend="asyncio")
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode < 0
    loaded = trace.load(path.read_bytes())
    assert [span.status for span in loaded.find("turn")] == ["ok", "open"]
    assert loaded.open_reason


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"no json\n", "line 1"),
        (b'{"type":"end","ended":1}\n', "is not the header of a trace"),
        (b'{"type":"trace","version":9,"wall":0,"started":0}\n', "is 9; this version of lutum reads only 1"),
        (b'HEAD{"type":"close","span":7,"ended":1,"fields":{}}\n', "line 2: there is no span 7"),
        (b'HEAD{"type":"span","id":2,"parent":2,"name":"a","started":0}\n', "line 2: there is no span 2"),
        (b'HEAD{"type":"what"}\n', "line 2"),
        (b'HEAD{"type":"span","id":1}\n{"type":"end","ended":1}\n', "line 2"),
        (b"HEADHEAD", "second header"),
        (b'HEAD{"type":"raw","kind":"x","at":0,"data":{"body":{"base64":"?"}}}\n', "base64"),
        (b"HEAD" + b"[" * 100_000 + b"\n", "line 2"),
    ],
)
def test_no_trace(data: bytes, what: str) -> None:
    """A file that is something else is refused, and the line is named."""
    head = b'{"type":"trace","version":1,"wall":0,"started":0}\n'
    with pytest.raises(lutum.BadValue, match=what):
        trace.load(data.replace(b"HEAD", head))


def test_deep() -> None:
    """A trace deeper than the stack loads, is walked, dumped, drawn and dropped."""
    lines = ['{"type":"trace","version":1,"wall":0,"started":0,"ended":1}']
    for number in range(1, 20_001):
        span: dict[str, Any] = {"type": "span", "id": number, "name": "a", "started": 0, "ended": 1}
        lines.append(json.dumps(span | ({"parent": number - 1} if number > 1 else {})))
    t = trace.load("\n".join(lines).encode())
    assert sum(1 for _ in t.walk()) == 20_000
    assert len(trace.load(t.dump()).find("a")) == 20_000
    assert t.open_reason == ""
    del t


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
async def test_a_full_disk_in_trace(caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be written ends there, with a word in the log; what is traced goes on."""
    async with trace.capture(to="/dev/full", raw=True) as t:
        with trace.span("a"):
            await collect(House(FakeAdapter(WHOLE)))
    assert len(t.find("turn")) == 1
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1


async def test_what_json_does_not_know() -> None:
    """Whatever a field holds, the dump loads."""
    circle: list[Any] = []
    circle.append(circle)
    odd = [object(), {1: b"\xff"}, "\ud800", 2**80, circle, anyio.Event, float("nan"), {("a",): 1}]
    async with trace.capture() as t:
        for value in odd:
            with trace.span("odd", value=value):
                pass
    values = [span.fields["value"] for span in trace.load(t.dump()).find("odd")]
    assert values[0] == "<object>"
    assert values[2] == "?"
    assert len(values) == len(odd)
