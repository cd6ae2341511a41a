"""`lutum show`: a transcript and a tree of branches, as a person reads them in 80 columns."""

from pathlib import Path

import msgspec
import pytest

import lutum
from lutum.cli import _history, main

TURN = lutum.CommittedTurn(
    adapter="claude",
    scope="api.anthropic.com",
    model="claude-sonnet-4-5",
    wire=b'{"usage":{"input_tokens":20,"cache_read_input_tokens":1000,"output_tokens":5}}',
    items=(lutum.ReasoningItem("Let me look."), lutum.ToolCallItem("call_1", "weather", '{"city":"Oslo"}')),
)
SAID = msgspec.structs.replace(
    TURN,
    wire=b"{}",
    items=(lutum.TextItem("Three degrees."), lutum.RefusalItem("No more.")),
    inexact_reason="why",
)


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


def show(path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """What is printed, which is no wider than a terminal."""
    assert main(["show", str(path), *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_a_transcript(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Roles, thinking, calls with their results, media, exactness with its reason, usage where known."""
    path = tmp_path / "t.jsonl"
    image = lutum.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    document = lutum.Document.from_text("hello", title="A title")
    items = (
        lutum.ModelInput()
        .system("You are concise.")
        .user([lutum.Text("How cold is it? " + "Tell me. " * 20), image, document])
        .turn(TURN)
        .tool_result("call_1", "no such city", is_error=True)
        .turn(SAID)
        .developer("Go on.")
        .assistant("My words.")
        .raw("claude", '{"role":"user","content":"raw"}')
    )
    path.write_bytes(items.transcript.dump())
    out = show(path, capsys)
    assert max(map(len, out.replace(str(path), "").split("\n"))) < 80
    heads = [line for line in out.split("\n") if line[:1].isdigit()]
    assert heads == [
        "1. system",
        "2. user",
        "3. claude-sonnet-4-5 (claude at api.anthropic.com), 1,020 + 5 tokens",
        "4. result of call_1, an error",
        "5. claude-sonnet-4-5 (claude at api.anthropic.com)",
        "6. developer",
        "7. assistant, not generated",
        "8. JSON of claude",
    ]
    for said in (
        ": 8 items\n",
        "  [image: image/png, 24 bytes]\n  [document 'A title': text/plain, 5 bytes]\n",
        "  (thinking) Let me look.\n",
        '  calls weather, call_1:\n    {"city":"Oslo"}\n  exact: sent back as it was received\n',
        "  no such city\n",
        "  Three degrees.\n  (refusal) No more.\n  inexact: why\n",
    ):
        assert said in out


def test_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What branches share is shown once, then what each has alone, under where it begins."""
    path = tmp_path / "t.jsonl"
    with _history.History(path) as history:
        empty = lutum.Transcript()
        first = lutum.ModelInput().user("One.").turn(SAID).transcript
        history.append(empty, first)
        history.mark("other", first)
        second = lutum.ModelInput(first).user("Two.").turn(SAID).transcript
        history.append(first, second)
        history.mark("deep", second)
        history.append(second, lutum.ModelInput(second).user("Three.").turn(SAID).transcript)
        history.mark("again", first)
        history.append(first, lutum.ModelInput(first).user("Four.").turn(SAID).transcript)
        history.mark("again", first)
        history.mark("main", first)
    out = show(path, capsys)
    marks = [line for line in out.split("\n") if line.startswith(("  *", "  -", "--"))]
    assert "4 branches, main is current; 2 items were removed" in " ".join(out.split())
    assert marks == [
        "  * main   2 items",
        "  - other  4 items",
        "  - deep   6 items",
        "  - again  2 items",
        "-- after item 2: end of main, again",
        "-- after item 2: other, deep",
        "-- after item 4: end of other",
        "-- after item 4: deep",
    ]
    assert [out.count(f"  {word}.\n") for word in ("One", "Two", "Three", "Four")] == [1, 1, 1, 0]


@pytest.mark.parametrize("data", [b"", b'{"lutum":"trace"}\n', b"\xff\n", None])
def test_no_transcript(data: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is none is an error in three lines; an empty file is a chat that has not begun."""
    path = tmp_path / "t.jsonl"
    if data is not None:
        path.write_bytes(data)
    if data == b"":
        assert ": 0 items" in show(path, capsys)
        return
    assert main(["show", str(path)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 3)
    assert str(path) in err


def test_long_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments without end are cut, and say how long they were; --raw has all of them."""
    call = lutum.ToolCallItem("c", "f", '{"a":"' + "x" * 5_000 + '"}')
    path = tmp_path / "t.jsonl"
    turn = msgspec.structs.replace(TURN, items=(call,))
    path.write_bytes(lutum.ModelInput().user("Go.").turn(turn).tool_result("c", "ok").transcript.dump())
    assert "(5,008 characters)" in show(path, capsys)
    assert call.arguments in show(path, capsys, "--raw")
