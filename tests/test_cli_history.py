"""The file of a chat: branches that share what they begin with, in a file that only grows."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import lutum
from lutum.cli import _history

EMPTY = lutum.Transcript()
# A step: say something on the current branch, take so many items back, or go to a branch, new or not.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(["a", "b", "c"])),
        st.tuples(st.just("back"), st.integers(0, 3)),
        st.tuples(st.just("branch"), st.sampled_from(["main", "x", "y"])),
    ),
    max_size=12,
)


class Model:
    """What a file is to hold after each step, as plain values."""

    def __init__(self, history: _history.History) -> None:
        self.history = history
        self.branches = {"main": EMPTY}
        self.current = "main"

    def step(self, kind: str, value: str | int) -> None:
        here = self.branches[self.current]
        if kind == "say":
            after = lutum.ModelInput(here).user(str(value)).transcript
            self.history.append(here, after)
            self.branches[self.current] = after
        elif kind == "back":
            self.branches[self.current] = here[: max(0, len(here) - int(value))]
            self.history.mark(self.current, self.branches[self.current])
        else:
            self.current = str(value)
            self.history.mark(self.current, self.branches.setdefault(self.current, here))


@given(steps=STEPS)
def test_everything_is_there_again(
    steps: list[tuple[str, str | int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any steps, the file holds each branch and which one is current, for whoever opens it next."""
    path = tmp_path_factory.mktemp("history") / "s.jsonl"
    with _history.History(path) as history:
        model = Model(history)
        for kind, value in steps:
            model.step(kind, value)
    tree = _history.load(path)
    assert (tree.branches, tree.current) == (model.branches, model.current)
    with _history.History(path) as again:
        assert again.tree == tree
    if not any(kind != "say" for kind, _ in steps) and steps:
        assert lutum.Transcript.load(path.read_bytes()) == tree.branches["main"]


def written(path: Path) -> bytes:
    """A file with two branches."""
    with _history.History(path) as history:
        one = lutum.ModelInput().user("One.").assistant("Two.").transcript
        history.append(EMPTY, one)
        history.mark("other", one[:1])
        history.append(one[:1], lutum.ModelInput(one[:1]).assistant("Three.").transcript)
    return path.read_bytes()


def test_cut_anywhere(tmp_path: Path) -> None:
    """Of a file that was cut anywhere, every whole line is there, and it goes on from there."""
    path = tmp_path / "s.jsonl"
    data = written(path)
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    near = {end + off for end in ends for off in (-2, -1, 0, 1) if end + off <= len(data)}
    for end in sorted(near | set(range(0, len(data), 29))):
        path.write_bytes(data[:end])
        whole = data[:end].count(b"\n")
        with _history.History(path) as history:
            tree = history.tree
            assert sum(map(len, tree.branches.values())) == [0, 0, 1, 2, 3, 4][whole]
            here = tree.branches[tree.current]
            more = lutum.ModelInput(here).user("More.").transcript
            history.append(here, more)
        assert _history.load(path).branches[tree.current] == more


def test_altered(tmp_path: Path) -> None:
    """An altered, moved or missing line, and a branch that begins nowhere, are found and named."""
    path = tmp_path / "s.jsonl"
    data = written(path)
    lines = data.split(b"\n")
    for bad, number in (
        (data.replace(b"One", b"Six"), 2),
        (data.replace(b"Three", b"Seven"), 5),
        (b"\n".join([lines[0], *lines[2:]]), 2),
        (data.replace(b'"at":"', b'"at":"0'), 4),
        (data.replace(b'"branch":', b'"brunch":'), 4),
    ):
        path.write_bytes(bad)
        with pytest.raises(lutum.TranscriptError, match=f"s.jsonl: line {number}: "):
            _history.load(path)
        with pytest.raises(lutum.TranscriptError):
            _history.History(path)
        assert path.read_bytes() == bad


def test_read_as_a_transcript(tmp_path: Path) -> None:
    """Read as a transcript, a file with branches is refused in words that say what it is."""
    with pytest.raises(lutum.TranscriptError, match="line 4: this line begins a branch"):
        lutum.Transcript.load(written(tmp_path / "s.jsonl"))


def test_a_full_disk_in_cli_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written whole is taken out again, and does not spoil what is stored next."""
    path = tmp_path / "s.jsonl"
    one = lutum.ModelInput().user("One.").transcript
    with _history.History(path) as history:
        history.append(EMPTY, one)
        before = path.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", full)
            with pytest.raises(OSError, match="No space left"):
                history.mark("other", one)
        assert path.read_bytes() == before
        history.mark("next", one)
    assert list(_history.load(path).branches) == ["main", "next"]


def test_only_one(tmp_path: Path) -> None:
    """A file that is open for a chat cannot be opened for another, and can when that one is closed."""
    pytest.importorskip("fcntl", reason="nothing locks files elsewhere")
    path = tmp_path / "s.jsonl"
    with _history.History(path), pytest.raises(_history.HistoryError, match="open in another chat"):
        _history.History(path)
    _history.History(path).close()
