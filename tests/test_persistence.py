"""Saved transcripts: JSON lines that load as what was saved, grow by a line, and say which line is bad."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies as st

import lutum
from lutum import (
    CommittedTurn,
    Document,
    Image,
    Item,
    Message,
    Raw,
    ReasoningItem,
    RefusalItem,
    Text,
    TextItem,
    TokenChoice,
    Tokens,
    ToolCallItem,
    ToolDef,
    ToolResult,
    Transcript,
    TranscriptError,
)
from lutum.testing import strategies

GOLDEN = Path(__file__).parent / "golden" / "transcripts"

# Every kind of item and part, and what breaks hand-written JSON and line-based files.
ITEMS: list[Item] = [
    Message("system", (Text("You are concise."),)),
    Message("developer", (Text('Say "yes"\\no.'),)),
    Message(
        "user",
        (
            Text("line\nline\r\nsep\u2028par\u2029nul\x00 é 🦀"),
            Image("image/png", b"\x89PNG\r\n\x1a\n\x00"),
            Image(url="https://example.com/a.png"),
            Image(file_id="file_1"),
            Document("application/pdf", b"%PDF-1.7\n", title="a.pdf", context="why", citations=True),
            Document("text/plain", b"plain"),
            Raw("claude", '{"type":"text","text":"raw  part"}'),
        ),
    ),
    CommittedTurn(
        adapter="claude",
        scope="api.anthropic.com",
        model="claude-sonnet-4-5",
        wire=b'{"content":[{"type":"thinking","thinking":"","signature":"c2ln"}, {"n":1e2,\n"z":-0.10}]}',
        items=(
            ReasoningItem(""),
            TextItem("Adding."),
            RefusalItem("No."),
            ToolCallItem("call_1", "add", '{"a": 1e2}'),
            ToolCallItem("call_2", "add", "{}"),
        ),
        prefix="00112233445566778899aabbccddeeff",
        preface=b'[{"role":"system","content":"now"}]',
        tools=(
            ToolDef("add", '{"type":"object","properties":{}}', "Adds."),
            ToolDef("sub", '{"type":"object"}'),
        ),
    ),
    ToolResult("call_2", (Text("it failed"),), is_error=True),
    ToolResult("call_1", (Text("3"), Image("image/gif", b"GIF89a"))),
    Message("assistant", (Text("words put into its mouth"),)),
    ToolResult("call_9", (Text("5"),), name="add", arguments='{"a":2}'),
    Raw("openai", '{"type":"item_reference","id":"rs_1"}'),
    CommittedTurn(
        "scripted", "scripted", "scripted-1", b"[]", (TextItem("Done."),), "an unknown delta was left out"
    ),
]


def test_golden_files_load_for_ever() -> None:
    """A file of version 1 loads as what it was written from, and is written again byte for byte."""
    data = (GOLDEN / "v1.jsonl").read_bytes()
    transcript = Transcript.load(data, digest="673b43e5a4c9619c565f606bbc3b6ed3")
    assert list(transcript) == ITEMS
    assert transcript.digest == "673b43e5a4c9619c565f606bbc3b6ed3"
    assert transcript.dump() == data == Transcript(ITEMS).dump()


def test_a_golden_file_with_tokens_loads_for_ever() -> None:
    """Token ids and log probabilities are members of a turn; files without them have none."""
    data = (GOLDEN / "v1-tokens.jsonl").read_bytes()
    transcript = Transcript.load(data, digest="0ad3b217d302e47eef709884785746f7")
    first, second = (item for item in transcript if isinstance(item, CommittedTurn))
    top = ((TokenChoice(-0.25, "Hi", 7), TokenChoice(-1.5, "He")), ())
    assert first.tokens == Tokens((7, 2), (-0.25, -0.001), ("Hi", ""), top, (1, 5, 3))
    assert second.tokens == Tokens((8, 2), prompt=(6,), shared=5, parent="aa681e4d28b203e4", missing=1)
    assert transcript.dump() == data
    plain = Transcript.load((GOLDEN / "v1.jsonl").read_bytes())
    assert not any(item.tokens for item in plain if isinstance(item, CommittedTurn))


def test_the_golden_file_covers_everything() -> None:
    """Whoever adds a kind of item, part or view item, or a field, adds a golden file that has it."""
    text = "".join(path.read_text("utf-8") for path in GOLDEN.glob("v1*.jsonl"))
    for kind in (Message, ToolResult, Raw, CommittedTurn, Text, Image, Document):
        assert f'"type":"{kind.__struct_config__.tag}"' in text
        for field in set(kind.__struct_fields__) - {"exception"}:  # which no transcript keeps
            assert f'"{field}":' in text, f"{kind.__name__}.{field} is in no golden file"
    for view in (TextItem, ReasoningItem, RefusalItem, ToolCallItem):
        assert f'"type":"{view.__struct_config__.tag}"' in text


@given(strategies.transcripts())
def test_what_is_saved_is_what_is_loaded(transcript: Transcript) -> None:
    """Every item and part, whatever characters and lexemes are in it."""
    strategies.check_replay(transcript)


@given(strategies.transcripts())
def test_reading_without_lutum(transcript: Transcript) -> None:
    """A dump is a header and one JSON object a line; any JSON reader sees the items."""
    lines = transcript.dump().split(b"\n")
    assert lines.pop() == b""
    assert msgspec.json.decode(lines[0]) == {"lutum": "transcript", "version": 1}
    read = [msgspec.json.decode(line) for line in lines[1:]]
    assert [set(line) for line in read] == [{"item", "digest"}] * len(transcript)
    if read:
        assert read[-1]["digest"] == transcript.digest
    for line, item in zip(read, transcript, strict=True):
        assert line["item"]["type"] == type(item).__struct_config__.tag
        if isinstance(item, CommittedTurn):
            assert line["item"]["wire"].encode() == item.wire


@given(strategies.transcripts(), st.data())
def test_a_file_grows(transcript: Transcript, data: st.DataObject) -> None:
    """The file of any beginning, and what was added since, is the file of the whole."""
    at = data.draw(st.integers(0, len(transcript)))
    before = transcript[: max(cut for cut in transcript.cuts() if cut <= at)]
    assert before.dump() + transcript.dump(since=before) == transcript.dump()


def test_appending_to_a_long_file_writes_one_line() -> None:
    """One more item in 10,000 is one line more, and nothing if nothing was added."""
    saved = Transcript(Message("user", (Text(str(i)),)) for i in range(10_000))
    longer = saved.append(ITEMS[0])
    added = longer.dump(since=saved)
    assert added.count(b"\n") == 1
    assert added.endswith(b"\n")
    assert longer.dump(since=longer) == b""
    assert Transcript.load(saved.dump() + added) == longer


def test_growing_something_else() -> None:
    """Lines for a file that holds another conversation would corrupt it, so there are none."""
    a, b = Transcript(ITEMS[:2]), Transcript(ITEMS[1:2])
    for since in (b, a.append(ITEMS[2])):
        with pytest.raises(TranscriptError, match="does not begin with `since`"):
            a.dump(since=since)


SMALL = Transcript(
    [ITEMS[0], ITEMS[9], ITEMS[7], Message("user", (Text("é"), Image("image/png", b"\x89PNG")))]
)
LINES = SMALL.dump().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "line 1: not a lutum transcript"),
        (b"hello", "line 1: not a lutum transcript"),
        (b"hello\n", "line 1: not a lutum transcript"),
        (b"\xff\xfe\n", "line 1: not a lutum transcript"),
        (b"[]\n", "line 1: not a lutum transcript"),
        (b'{"lutum":"recording","version":1}\n', "line 1: not a lutum transcript"),
        (b'{"version":1}\n', "line 1: not a lutum transcript"),
        (
            b'{"lutum":"transcript","version":2,"new":[]}\nwhatever\n',
            "line 1: the version is 2; this lutum",
        ),
        (b'{"lutum":"transcript","version":0}\n', "line 1: the version is 0; this lutum reads version 1"),
        (LINES[0][:-1], "line 1: the line has no line end, so it is cut"),
        (b"".join(LINES)[:-1], "line 5: the line has no line end, so it is cut"),
        (b"".join(LINES)[:-9], "line 5: the line has no line end, so it is cut"),
        (b"".join(LINES[:2]) + LINES[2][:20] + b"\n", "line 3: "),
        (b"".join(LINES[1:]), "line 1: not a lutum transcript"),
        (b"".join([*LINES[:2], *LINES[3:]]), "line 3: the line was altered or is out of"),
        (
            b"".join([LINES[0], LINES[2], LINES[1], *LINES[3:]]),
            "line 2: the line was altered or is out of",
        ),
        (b"".join([*LINES[:2], LINES[1], *LINES[2:]]), "line 3: the line was altered or is out of"),
        (b"".join([*LINES, LINES[-1]]), "line 6: the line was altered or is out of"),
        (b"".join([*LINES, *LINES]), "line 6: "),
        (b"".join([*LINES, b"\n"]), "line 6: "),
        (b"".join(LINES).replace(b"concise", b"verbose"), "line 2: the line was altered or is out of"),
        (
            b"".join(LINES).replace(b'"role":"system"', b'"role":"robot"'),
            "line 2: Invalid enum value 'robot'",
        ),
        (b"".join(LINES).replace(b'"message"', b'"mess"'), "line 2: Invalid value 'mess'"),
        (
            b"".join(LINES).replace(b'"digest"', b'"extra":1,"digest"'),
            "line 2: Object contains unknown field",
        ),
    ],
    ids=str,
)
def test_bad_files(data: bytes, problem: str) -> None:
    """Not ours, too new, cut, reordered, doubled, altered: refused by line, and nothing is half loaded."""
    with pytest.raises(TranscriptError) as caught:
        Transcript.load(data)
    assert str(caught.value).startswith(problem)
    assert isinstance(caught.value, lutum.UsageError)


def test_every_flipped_bit() -> None:
    """Each bit of a small file flipped: it is refused, by line, or it still means the same."""
    data = SMALL.dump()
    same = 0
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                loaded = Transcript.load(bytes(flipped))
            except TranscriptError as exc:
                assert str(exc).startswith("line ")  # noqa: PT017
            else:
                same += 1
                assert loaded == SMALL
                assert loaded.dump() == data
    assert same < 20  # letters of a name where the header is not strict, case of an escape


def test_every_cut() -> None:
    """A file cut anywhere is refused, but for whole lines missing at its end, which `digest` finds."""
    data = SMALL.dump()
    for at in range(len(data)):
        if at and data[at - 1 : at] == b"\n":
            shorter = Transcript.load(data[:at])
            assert shorter == SMALL[: len(shorter)]
            assert len(shorter) < len(SMALL)
            with pytest.raises(TranscriptError, match=f"ends after {len(shorter)} items"):
                Transcript.load(data[:at], digest=SMALL.digest)
        else:
            with pytest.raises(TranscriptError, match=r"line \d: "):
                Transcript.load(data[:at])


def test_rounds_are_checked_on_loading() -> None:
    """A file cannot smuggle in what could not be built: a result without its call is refused by line."""
    good = Transcript([ITEMS[3], ITEMS[4], ITEMS[5]]).dump().splitlines(keepends=True)
    with pytest.raises(TranscriptError, match=r"line 2: item 0: result 'call_2' has no call before it"):
        Transcript.load(b"".join([good[0], good[2]]))


def test_an_open_round_is_saved() -> None:
    """A program that stops before its tools have run goes on where it was."""
    loaded = Transcript.load(Transcript(ITEMS[:4]).dump())
    assert loaded.open_calls == ("call_1", "call_2")


@given(strategies.transcripts())
def test_a_law_that_fails_says_where(transcript: Transcript) -> None:
    """`check_replay` finds storage that loses, adds or changes anything."""
    if not len(transcript):
        return
    with pytest.raises(AssertionError, match=r"items were saved, \d+ loaded"):
        strategies.check_replay(transcript, load=lambda data: Transcript.load(data)[: transcript.cuts()[-2]])
    with pytest.raises(AssertionError, match="items were saved"):
        strategies.check_replay(transcript, save=lambda t: t.append(ITEMS[0]).dump())

    def lossy(data: bytes) -> Transcript:
        items = list(Transcript.load(data))
        for i, item in enumerate(items):
            if isinstance(item, CommittedTurn):
                items[i] = msgspec.structs.replace(item, wire=item.wire + b" ")
        return Transcript(items)

    if any(isinstance(item, CommittedTurn) for item in transcript):
        with pytest.raises(AssertionError, match=r"item \d+: wire was"):
            strategies.check_replay(transcript, load=lossy)
