"""`lutum chat` as a person meets it, in a pseudo-terminal: streaming, Ctrl-C, branches, kill -9, resuming."""

import os
import re
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lutum
from lutum.cli import _history, main

fcntl = pytest.importorskip("fcntl", reason="pseudo-terminals are POSIX")
import termios  # noqa: E402  # behind the skip

SECONDS = 30
# Ctrl-C reaches the processes of a terminal's session, so the program has to be in one; and a shell's
# background job ignores Ctrl-C, as what it starts would.
LOGIN = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
)
COMMAND = [sys.executable, "-P", "-W", "error", "-m", "lutum.cli", "chat"]
ENDLESS = "count, please"


def environment() -> dict[str, str]:
    """Of a shell with a plain terminal; readline reads no file of the user's."""
    unwanted = ("COLUMNS", "LINES", "INPUTRC")
    ours = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**ours, "TERM": "xterm-256color", "NO_COLOR": "1", "INPUTRC": os.devnull, "LUTUM_HISTORY": ""}


class Person:
    """Somebody at a terminal: reads until something is there, types, presses keys."""

    def __init__(self, program: subprocess.Popen[bytes], terminal: int) -> None:
        self.program = program
        self._terminal = terminal
        self._seen = ""

    def reads(self, words: str) -> str:
        """Read until `words` are there; returns what was written up to and with them."""
        while (found := self._text().find(words)) < 0:
            assert select.select([self._terminal], [], [], SECONDS)[0], self._seen
            try:
                piece = os.read(self._terminal, 65536)
            except OSError:  # how Linux says that the other side is closed
                raise AssertionError(f"it ended before it said {words!r}: {self._seen}") from None
            self._seen += piece.decode()
        text = self._text()
        self._seen = text[found + len(words) :]
        return text[: found + len(words)]

    def says(self, line: str) -> None:
        """Type a line, once there is a prompt; the terminal's echo of it is read."""
        self.reads("> ")
        os.write(self._terminal, line.encode() + b"\n")
        self.reads(line)

    def presses(self, key: bytes) -> None:
        """Press a key."""
        os.write(self._terminal, key)

    def presses_until(self, key: bytes, words: str) -> None:
        """Press a key, and again: CPython overlooks a signal that comes while readline takes a letter, up
        to the next one."""
        for _ in range(SECONDS):
            os.write(self._terminal, key)
            if select.select([self._terminal], [], [], 1)[0]:
                break
        self.reads(words)

    def leaves(self) -> int:
        """Say /quit; returns the exit code."""
        self.says("/quit")
        return self.program.wait(SECONDS)

    def _text(self) -> str:
        """What was written and not read yet, however its lines were broken."""
        return re.sub(r"\s+", " ", re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", self._seen))


@contextmanager
def chat(folder: Path, *args: str, env: dict[str, str] | None = None) -> Iterator[Person]:
    """A chat in a terminal of 80 columns, ended with the block."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    program = [sys.executable, "-c", LOGIN, *COMMAND, "--provider", "wire", *args]
    with subprocess.Popen(program, stdin=theirs, env=environment() | (env or {}), cwd=folder) as process:
        os.close(theirs)
        try:
            yield Person(process, ours)
        finally:
            process.kill()
            os.close(ours)


def words(path: Path, branch: str) -> list[str]:
    """What was said on a branch, by the user and the model, as it is on disk."""
    transcript = _history.load(path).branches[branch]
    return [item.text for item in transcript if isinstance(item, lutum.Message | lutum.CommittedTurn)]


def test_a_conversation_in_cli_chat(tmp_path: Path) -> None:
    """Streaming, Ctrl-C in mid-stream, branch, switch, undo, save, quit; then all of it is there again."""
    path, saved = tmp_path / "s.jsonl", tmp_path / "saved.jsonl"
    with chat(tmp_path, "--session", "s.jsonl", "--system", "Be brief.") as person:
        person.says("One.")
        person.reads("You said: One.")
        person.says(ENDLESS)
        person.reads("one more, ")  # it streams: this answer has no end
        person.presses(b"\x03")
        person.reads("Stopped. The question and the partial answer are kept")
        person.says("/undo")
        person.reads(f"Removed: {ENDLESS}")
        person.says("/branch other")
        person.reads("On other")
        person.says("Two.")
        person.reads("You said: Two.")
        person.says("/switch main")
        person.reads("On main, 3 items")
        person.says("Three.")
        person.reads("You said: Three.")
        person.says("/undo")
        person.reads("Removed: Three.")
        person.says("/branches")
        person.reads("* main: 3 items")
        person.reads("- other: 5 items")
        person.says("/save saved.jsonl")
        person.reads("3 items.")
        person.says("/budget")
        person.reads("tokens in")
        person.says("/trace")
        person.reads("turn claude-sonnet-4-5")
        assert person.leaves() == 0
    answer = "You said: One. I am a wire server inside this process, and no model."
    assert words(path, "main") == ["Be brief.", "One.", answer]
    assert words(path, "other")[:4] == ["Be brief.", "One.", answer, "Two."]
    assert lutum.Transcript.load(saved.read_bytes()) == _history.load(path).branches["main"]

    with chat(tmp_path, "--session", "s.jsonl") as person:
        person.reads("on main, 3 items, 2 branches")
        person.reads("You said: One.")
        person.says("/switch other")
        person.says("Four.")
        person.reads("You said: Four.")
        assert person.leaves() == 0
    assert words(path, "other")[-2] == "Four."
    turns = [item for item in _history.load(path).branches["other"] if isinstance(item, lutum.CommittedTurn)]
    assert {(turn.scope, turn.exact) for turn in turns} == {("wire", True)}


@pytest.mark.slow
@pytest.mark.parametrize("asked", [None, ENDLESS], ids=["at the prompt", "in mid-stream"])
def test_killed(asked: str | None, tmp_path: Path) -> None:
    """After kill -9 everything that was committed is there, and the conversation goes on from it."""
    path = tmp_path / "s.jsonl"
    with chat(tmp_path, "--session", "s.jsonl") as person:
        person.says("One.")
        person.reads("no model.")
        person.says("/branch other")
        person.says("Two.")
        person.reads("no model.")
        if asked is None:
            person.reads("other> ")
        else:
            person.says(asked)
            person.reads("one more, ")
        person.program.kill()
        assert person.program.wait(SECONDS) == -signal.SIGKILL
    with chat(tmp_path, "--session", "s.jsonl") as person:
        person.reads("on other, 4 items, 2 branches")
        person.says("Three.")
        person.reads("no model.")
        assert person.leaves() == 0
    assert words(path, "main")[::2] == ["One."]
    assert words(path, "other")[::2] == ["One.", "Two.", "Three."]


def test_keys_at_the_prompt(tmp_path: Path) -> None:
    """Ctrl-C at the prompt begins the line again, Ctrl-D ends the chat."""
    with chat(tmp_path) as person:
        person.reads("> ")
        person.presses(b"half a li")
        person.reads("half a li")
        person.presses_until(b"\x03", "/quit or Ctrl-D")
        person.reads("> ")
        person.presses(b"\x04")
        assert person.program.wait(SECONDS) == 0


def test_one_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second chat on the same file is refused, and changes nothing."""
    path = tmp_path / "s.jsonl"
    with _history.History(path):
        assert main(["chat", "--provider", "wire", "--session", str(path)]) == 1
    assert "is open in another chat" in capsys.readouterr().err


def piped(lines: str, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A chat whose input is no terminal, and whose lines are messages and commands."""
    given = {**environment(), **(env or {})}
    return subprocess.run(
        [*COMMAND, "--lines", *args], input=lines, capture_output=True, text=True, env=given, timeout=SECONDS
    )


def test_in_a_pipe(tmp_path: Path) -> None:
    """Lines from a pipe are answered without a prompt; commands and what is no command are told apart."""
    path = tmp_path / "s.jsonl"
    lines = (
        "One.\n/undo\n/undo\n/nope\n/switch nope\n/branch\n/branch a b\n/branch a\n/help\n /x is no command\n"
    )
    done = piped(lines, "--provider", "wire-openai", "--session", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "You said: One.",
        "Removed: One.",
        "There is nothing to remove.",
        "/nope is not a command.",
        "There is no branch nope; there are: main.",
        "Write /branch NAME.",
        "The name of a branch is 1 to 40 letters",
        "On a, a new branch that begins at the end of main.",
        "/save FILE",
        "You said: /x is no command",
    ):
        assert said in done.stdout
    assert ">" not in done.stdout
    assert words(path, "main") == []
    assert words(path, "a")[0] == "/x is no command"


def test_a_turn_that_fails() -> None:
    """A failed turn is told in three lines, and in a pipe by the exit code; nothing of it stays."""
    url = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "sk-not-shown"}
    done = piped("One.\n/branches\n", "--provider", "claude", env={**url, "NO_PROXY": "*"})
    assert done.returncode == 1
    assert done.stderr.startswith("lutum chat: NetworkError: ")
    assert done.stderr.count("\n") == 3
    assert "sk-not-shown" not in done.stderr + done.stdout
    assert "main: 0 items" in done.stdout


def test_what_keeps_it_from_starting_in_cli_chat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, a file that is none, another system prompt: three lines, before a prompt is shown."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    other, begun = tmp_path / "other", tmp_path / "begun.jsonl"
    other.write_bytes(b"hello\n")
    begun.write_bytes(lutum.ModelInput().system("Be brief.").user("Hi.").transcript.dump())
    for args, said in (
        (["--provider", "openai"], "set OPENAI_API_KEY"),
        (["--provider", "wire", "--session", str(other)], "not a lutum transcript"),
        (["--provider", "wire", "--session", str(tmp_path / "no" / "file")], "No such file"),
        (
            ["--provider", "wire", "--session", str(begun), "--system", "Be long."],
            "another system prompt",
        ),
    ):
        assert main(["chat", *args]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
        assert err.count("\n") == 3
    assert other.read_bytes() == b"hello\n"


def test_a_message_without_an_answer(tmp_path: Path) -> None:
    """A file that ends with a message of the user's: it is taken back, and said."""
    path = tmp_path / "s.jsonl"
    path.write_bytes(lutum.ModelInput().user("Are you there?").transcript.dump())
    done = piped("One.\n", "--provider", "wire", "--session", str(path))
    assert "Removed, because it has no answer; /retry sends it again: Are you there?" in done.stdout
    assert words(path, "main")[0] == "One."


def test_a_pipe_is_one_message() -> None:
    """Standard input that is not a terminal is one message, and the answer is all that is printed."""
    done = subprocess.run(
        [*COMMAND, "--provider", "wire"],
        input="def f(x):\n    return x\n\n/undo\nWhy?\n",
        capture_output=True,
        text=True,
        env=environment(),
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert said.startswith("You said: def f(x): return x /undo Why?")
    assert said.count("You said") == 1


def test_editing(tmp_path: Path) -> None:
    """/edit opens an editor, a backslash continues a line, Tab completes, and lines are remembered."""
    editor = tmp_path / "editor"
    editor.write_text(f'#!{sys.executable}\nimport sys\nopen(sys.argv[1], "a").write("written.\\n")\n')
    editor.chmod(0o755)
    kept = tmp_path / "history"
    more = {"EDITOR": str(editor), "VISUAL": "", "LUTUM_HISTORY": str(kept)}
    with chat(tmp_path, env=more) as person:
        person.says("/edit Something")
        person.reads("You said: Somethingwritten.")
        person.reads("> ")
        person.presses(b"One \\\nTwo\n")
        person.reads("You said: One Two")
        person.reads("> ")
        person.presses(b"/und\t\n")
        person.reads("Removed: One Two")
        person.says("/retry")
        person.reads("You said: Somethingwritten.")
        person.says("/model nobody:x")
        person.reads("there is no provider 'nobody'")
        person.says("/model wire-openai")
        person.reads("OpenAI's Responses")
        person.says("/effort low")
        person.reads("Effort: low.")
        person.says("/system Be kind.")
        person.reads("The system message was added here")
        person.says("/attach /nope.png")
        person.reads("No such file")
        person.says("More.")
        person.reads("You said: More.")
        assert person.leaves() == 0
    assert "/edit Something" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_stopped_answer_is_asked_again(tmp_path: Path) -> None:
    """What was stopped stays in the branch; /retry takes it back and asks again."""
    with chat(tmp_path, "--session", "s.jsonl") as person:
        person.says(ENDLESS)
        person.reads("one more, ")
        person.presses(b"\x03")
        person.reads("The question and the partial answer are kept")
        person.says("/branches")
        person.reads("* main: 2 items")
        person.says("/retry")
        person.reads("one more, ")
        person.presses(b"\x03")
        person.reads("are kept")
        assert person.leaves() == 0
    assert words(tmp_path / "s.jsonl", "main")[0] == ENDLESS
