"""`lutum chat --store` and `lutum show sqlite:...`: a chat in a database."""

import io
from pathlib import Path

import pytest

import lutum
import lutum.store
from lutum.cli import main
from lutum.store import connect


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


def chat(url: str, lines: str, monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """Say these lines."""
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return main(["chat", "--provider", "wire", "--lines", "--store", url, *args])


async def texts(url: str, branch: str) -> list[str]:
    """What a branch holds."""
    async with connect(url) as store:
        return [item.text for item in (await store.branch(branch)).transcript]


def test_a_chat_goes_on_in_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every exchange is stored with its bill; branches are forks, and what is taken back stays reachable."""
    url = f"sqlite:{tmp_path}/chats.db"
    assert (
        chat(url, "one\n/branch side\ntwo\n/undo\nthree\n/switch trip\n", monkeypatch, "--branch", "trip")
        == 0
    )
    assert chat(url, "four\n/branches\n", monkeypatch, "--branch", "trip") == 0
    out = capsys.readouterr().out
    assert "side" in out.split("on trip, 2 items, 2 branches")[1]
    asked = [text for text in lutum.run(texts, url, "side") if not text.startswith("You said")]
    assert asked == ["one", "three"]
    asked = [text for text in lutum.run(texts, url, "trip") if not text.startswith("You said")]
    assert asked == ["one", "four"]

    async def left() -> list[str]:
        async with connect(url) as store:
            side = await store.branch("side")
            assert (await side.usage()).total_tokens > 0
            return [one.item.text for one in await side.siblings(2)]

    assert lutum.run(left) == ["two", "three"]


def test_show_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tree of branches, with sizes, dates and cost; and one branch, whole."""
    url = f"sqlite:{tmp_path}/chats.db"
    assert chat(url, "one\n/branch side\ntwo\n", monkeypatch) == 0
    capsys.readouterr()
    assert main(["show", url]) == 0
    title, out = capsys.readouterr().out.split("branches\n")
    assert " ".join(title.split()) == f"{url}: 2"
    first, second = out.split("side (from item 2)")
    assert first.split()[0] == "main"
    assert "2 items" in first
    assert "4 items" in second
    assert "tokens" in second
    assert main(["show", url, "--branch", "side"]) == 0
    assert "two" in capsys.readouterr().out


async def hold(url: str) -> None:
    """Leave an open round in a store."""

    @lutum.tool
    async def pay() -> str:
        """Pay."""
        return "paid"

    from lutum.testing import ScriptedAdapter

    async with connect(url) as store:
        branch = await store.branch("main", create=True)
        session = branch.session(lutum.Lutum(ScriptedAdapter([[lutum.ToolCallReady("1", "pay", "{}")]])))
        session.push_user("Pay.")
        outcome = await session.text_turn().tools(lutum.Toolset(pay)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        await branch.hold(session, outcome.round)


def test_what_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is an error in words, and an exit code."""
    url = f"sqlite:{tmp_path}/chats.db"
    lutum.run(hold, url)
    assert main(["show", url]) == 0
    assert "an open round" in capsys.readouterr().out
    assert chat(url, "hello\n", monkeypatch) == 1
    assert "RoundOpen" in capsys.readouterr().err
    assert main(["show", f"sqlite:{tmp_path}/none.db"]) == 1
    assert "there is no database" in capsys.readouterr().err
    assert main(["show", url, "--branch", "none"]) == 1
    assert "no such branch" in capsys.readouterr().err
    assert main(["show", "a.jsonl", "--branch", "none"]) == 1
    assert "is not a store" in capsys.readouterr().err
    assert chat("mysql:x", "hello\n", monkeypatch) == 1
    assert "memory:" in capsys.readouterr().err
    for wrong in (["--session", "a.jsonl"],):
        with pytest.raises(SystemExit):
            chat(url, "", monkeypatch, *wrong)
    with pytest.raises(SystemExit):
        main(["chat", "--provider", "wire", "--branch", "x"])
