"""Text that would steer a terminal, through every printer of the command line: none of it arrives."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from anyio.from_thread import start_blocking_portal

import lutum
from lutum import trace
from lutum.cli import _history, main
from lutum.testing.wire import Answer, Reply, Say, Status, Think, WireRequest, WireServer

BAD = "\x1b]52;c;cm0gLXJm\x07</script>\u202elive\u2066\x9b2J\x1b[31mred\x1b]8;;http://x\x1b\\"
SEEN = "</script>livered"  # what is left of it
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without colour, so that every escape that is seen came from outside."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("COLUMNS", "80")


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> Iterator[WireServer]:
    """A provider that answers so, the last one again and again."""
    left = list(answers)

    def answer(_: WireRequest) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    with start_blocking_portal() as portal:
        server = WireServer(answer)
        with portal.wrap_async_context_manager(server):
            monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
            yield server


def clean(capsys: pytest.CaptureFixture[str], seen: int = 1) -> str:
    """Everything that was printed, which steers nothing and shows the rest of it so many times at least."""
    out, err = capsys.readouterr()
    assert STEERING.findall(out + err) == []
    assert (out + err).count(SEEN) >= seen
    return out + err


def hostile_file(path: Path) -> None:
    """A chat in which everything that can be is hostile."""
    turn = lutum.CommittedTurn(
        adapter=BAD,
        scope=BAD,
        model=BAD,
        wire=b"{}",
        items=(
            lutum.ReasoningItem(BAD),
            lutum.TextItem(BAD),
            lutum.RefusalItem(BAD),
            lutum.ToolCallItem(BAD, BAD, BAD),
        ),
        inexact_reason=BAD,
    )
    items = lutum.ModelInput().system(BAD).user([lutum.Text(BAD), lutum.Document.from_text("x", title=BAD)])
    items = items.turn(turn).tool_result(BAD, BAD, is_error=True)
    items = items.user(lutum.Raw(BAD, msgspec.json.encode(BAD).decode())).assistant(BAD)
    with _history.History(path) as history:
        history.append(lutum.Transcript(), items.transcript)
        history.mark(BAD, items.transcript[:1])
        history.append(items.transcript[:1], lutum.ModelInput(items.transcript[:1]).user(BAD).transcript)


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`lutum show`: all roles, names, ids, arguments and reasons."""
    hostile_file(tmp_path / "s.jsonl")
    assert main(["show", str(tmp_path / "s.jsonl")]) == 0
    assert "calls " in clean(capsys, 14)


def test_show_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`lutum show --raw` prints it as it is."""
    hostile_file(tmp_path / "s.jsonl")
    assert main(["show", "--raw", str(tmp_path / "s.jsonl")]) == 0
    assert f"  {BAD}\n" in capsys.readouterr().out


def test_a_file_with_a_hostile_name(capsys: pytest.CaptureFixture[str]) -> None:
    """An error quotes the name without it."""
    assert main(["show", f"/nowhere/{BAD}"]) == 1
    clean(capsys, 0)


@pytest.mark.parametrize("raw", [False, True])
def test_chat(
    raw: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`lutum chat`: thinking, answer, error and every command; with --raw the model's words as they are."""
    lines = ["hello", "again", f"/{BAD}", f"/switch {BAD}", f"/branch {BAD}", "/branches", "/trace", "/undo"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*lines, BAD, "/branches", "/undo", ""])))
    path = tmp_path / "s.jsonl"
    args = ["--session", str(path), *(["--raw"] if raw else [])]
    refused = Status(400, error_type=BAD, message=BAD)
    with serving(monkeypatch, Reply(Think(BAD), Say(BAD), model=BAD), refused, Reply(Say(BAD))):
        assert main(["chat", "--provider", "claude", "--lines", *args]) == 1
    if raw:
        assert capsys.readouterr().out.count(BAD) >= 2
    else:
        assert "ProviderError 400" in clean(capsys, 5)


def test_smoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`lutum smoke`: what works, lacks and is broken, as a table and as JSON."""
    for answer in (Reply(Say(BAD)), Status(400, message=BAD)):
        for json in ([], ["--json"]):
            with serving(monkeypatch, Reply(Say(BAD)), answer):
                main(["smoke", "--provider", "claude", "--dump", str(tmp_path), *json])
            clean(capsys, 0)


def test_cli_hostile_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`lutum trace`: the names and errors of spans."""
    path = tmp_path / "t.jsonl"

    async def traced() -> None:
        async with trace.capture(to=path):
            with pytest.raises(ValueError, match="live"), trace.span(BAD, **{"what": BAD}):
                trace.event(BAD, why=BAD)
                raise ValueError(BAD)

    lutum.run(traced)
    assert main(["trace", str(path)]) == 0
    clean(capsys)


def test_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`lutum demo`: thinking, answers, branches and errors of a provider."""
    with serving(monkeypatch, Reply(Think(BAD), Say(BAD))):
        main(["demo", "--provider", "claude"])
    clean(capsys, 4)
    with serving(monkeypatch, Status(400, message=BAD)):
        assert main(["demo", "--provider", "claude"]) == 1
    clean(capsys)
