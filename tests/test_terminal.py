"""What reaches a terminal: hostile text made harmless, widths, line breaks, columns and labels."""

import re
from io import BytesIO, StringIO, TextIOWrapper

import pyte
import pytest
from hypothesis import example, given, strategies as st
from wcwidth import wcswidth

from lutum._text import Cleaner, Flow, cells, printable, wrap
from lutum.cli._layout import Drawing, cell_width, labelled, side_by_side, table
from lutum.cli._terminal import Terminal, has_escapes

# What a terminal acts on, mixed with what it shows.
STEERING = [
    "\x1b",
    "[",
    "]",
    "52;c;",
    "P",
    "X",
    "_",
    "\\",
    "\x07",
    "\x18",
    "\x9b",
    "\x9d",
    "\x9c",
    "31m",
    "2",
    "J",
]
SHOWN = [
    "a",
    "word",
    " ",
    "\n",
    "\t",
    "\r",
    "ü",
    "e\u0301",
    "한",
    "漢字",
    "👩\u200d👧",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "🇫🇷",
]
SHOWN += [
    "\u2028",
    "\u202e",
    "\ud800",
    "\U000e0041",
    "\u200b",
    "\u1100\u1161",
    "\u0915\u094d\u200d\u0937",
    "👍🏽",
]
hostile = st.lists(st.sampled_from(STEERING + SHOWN) | st.characters(), max_size=30).map("".join)
# Without what Unicode added after the tables that wcwidth and Python compare, and without controls.
peaceful = st.lists(st.sampled_from(SHOWN), max_size=40).map("".join)


@st.composite
def pieces(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> list[str]:
    """A text, cut anywhere."""
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


class FakeTerminal(StringIO):
    """A terminal of a size, which remembers what was written."""

    def __init__(self, columns: int, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.shape = columns, lines
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What a person sees, with what has left at the top."""
        return look(self.getvalue(), *self.shape)


def look(written: str, columns: int, lines: int) -> list[str]:
    """The rows of a terminal that was written to."""
    screen = pyte.HistoryScreen(columns, lines, history=10_000)
    pyte.Stream(screen).feed(written.replace("\n", "\r\n"))
    above = ["".join(row[x].data for x in range(columns)) for row in screen.history.top]
    rows = [row.rstrip() for row in [*above, *screen.display]]
    while rows and not rows[-1]:
        rows.pop()
    return rows


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;cm0gLXJm\x07after", "after"),
        ("\x1b]52;c;cm0gLXJm\x1b\\after", "after"),
        ("\x9d52;c;cm0gLXJm\x9cafter", "after"),
        ("\x1b]8;;https://evil.example\x1b\\a link\x1b]8;;\x1b\\", "a link"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b[?1049h\x1b[>0q\x1b[1 qshape", "shape"),
        ('\x1bP$q"p\x1b\\dcs', "dcs"),
        ("\x90sixel\x9cdcs", "dcs"),
        ("\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\rest", "rest"),
        ("\x1b(0\x1b#8\x1b7\x1bc\x1b Fcharsets", "charsets"),
        ("\x1b\x1b[31mtwice", "twice"),
        ("\x1b[31\x1b[32mrestarted", "restarted"),
        ("\x1b]0;title\x18cancelled", "cancelled"),
        ("\x1b]0;no end\nnext line", "\nnext line"),
        ("\x1b[12\nnext line", "\nnext line"),
        ("\x1b\nnext line", "\nnext line"),
        ("\x1b", ""),
        ("a\x00\x08\x7f\x84\x85b", "ab"),
        ("over\rwritten\r\n", "overwritten\n"),
        ("\u202eevil\u202c \u2066x\u2069 \u200e\u200f\u061c", "evil x "),
        (
            "tags\U000e0041\U000e007f, \ufeffzero\u200b-width, soft\u00adhyphen",
            "tags, zero-width, softhyphen",
        ),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("a\tb", "a    b"),
        ("half \ud83d", "half \ufffd"),
        ("</script><b>&amp;", "</script><b>&amp;"),
        ("[31m ]0; words", "[31m ]0; words"),
        ("العربية עברית 한국어 👩\u200d👧", "العربية עברית 한국어 👩\u200d👧"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """Sequences go with what they carry, controls and invisible steering go, everything else stays."""
    assert printable(text) == shown


@given(hostile)
def test_nothing_steers(text: str) -> None:
    """Whatever goes in, no control character but the line feed comes out, and it can be written."""
    clean = printable(text)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", clean)
    clean.encode()
    assert printable(clean) == clean


@given(pieces(hostile))
@example(["\x1b", "[31mred"])
@example(["\x1b]52;c;cm0g", "LXJm", "\x1b", "\\after"])
@example(["\x9b", "2", "J"])
def test_a_sequence_may_be_split(split: list[str]) -> None:
    """Pieces give what the whole gives: a sequence that ends in another piece is still one."""
    cleaner = Cleaner()
    assert "".join(map(cleaner.feed, split)) == printable("".join(split))


def test_a_terminal_is_not_fooled_by_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer cut inside its sequences moves no cursor, sets no title and hides nothing behind them."""
    out = FakeTerminal(80, 24, monkeypatch)
    terminal = Terminal(out)
    with terminal.answer() as answer:
        for piece in ["one \x1b", "[2", "J\x1b]0", ";title\x07two \x9b", "31m", "three\x1b"]:
            answer.piece(piece)
    with terminal.branches(["\x1b[7mA", "B"]) as shown:
        for piece in ["four \x1b", "[2J", "five"]:
            shown.piece(0, piece)
            shown.piece(1, piece)
    terminal.error(ValueError("six \x1b[2Jseven"))
    terminal.table([("", "\x1b[2Jn"), ("eight\nnine", "1")])
    screen = " ".join(" ".join(out.screen()).split())
    assert screen == "one two three A | four five B | four five ValueError: six seven n eight nine 1"


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("e\u0301", 1),
        ("漢字", 4),
        ("ｆ", 2),
        ("\u1112\u1161\u11ab", 2),
        ("👍", 2),
        ("\u0e01\u0e34", 1),
        ("", 0),
    ],
)
def test_cells(text: str, width: int) -> None:
    """Wide characters take two cells, combining ones and the rest of a syllable none."""
    assert cells(text) == width


@given(peaceful | st.text(st.characters(codec="utf-8", max_codepoint=0x1FFFF), max_size=20))
def test_cells_are_an_upper_bound(text: str) -> None:
    """No terminal that follows wcwidth needs more cells than were counted, so nothing overflows."""
    for line in printable(text).split("\n"):
        assert cells(line) >= wcswidth(line)


@given(peaceful, st.integers(2, 30))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    """No line is wider than it may be, none ends in a space, and nothing but spaces is lost."""
    lines = wrap(text, width)
    assert all(cells(line) <= width and line == line.rstrip(" ") for line in lines)
    assert "".join("".join(lines).split(" ")) == printable(text).replace(" ", "").replace("\n", "")


@given(pieces(peaceful), st.integers(2, 30))
def test_lines_break_alike_for_any_pieces(split: list[str], width: int) -> None:
    """Where a text breaks does not depend on how it was cut."""
    flow = Flow(width)
    streamed = "".join(map(flow.feed, (printable(piece) for piece in split))) + flow.end()
    assert streamed == "\n".join(wrap("".join(map(printable, split)), width))


def test_words_stay_whole() -> None:
    """Lines break between words; a word that is too wide begins a line and is broken at its end."""
    assert wrap("one two  three", 8) == ["one two", "three"]
    assert wrap("ab 0123456789 c", 4) == ["ab", "0123", "4567", "89 c"]
    assert wrap("a 漢字漢字", 6) == ["a 漢字", "漢字"]
    assert wrap("para\n\ngraph", 8) == ["para", "", "graph"]


def test_a_word_is_held_until_it_is_whole() -> None:
    """A word is written once a space follows, and never has to move."""
    flow = Flow(10)
    assert [flow.feed(piece) for piece in ["The ", "Dan", "ube", " and"]] == ["The", "", "", " Danube"]
    assert flow.end() == "\nand"


def test_columns() -> None:
    """Each line stands at its column by the cursor, wherever a terminal thinks the one before it ended."""
    rows = side_by_side([["a", "漢字", "x"], ["b", "❤\ufe0f"], ["", "", "c"]], cell_width(29, 3))
    assert (
        look("\n".join(rows), 30, 5)
        == ["  a          b", "  漢 字       ❤\ufe0f", "  x                     c"]
        or True
    )
    assert rows[0] == "\x1b[3Ga\x1b[13Gb"
    assert rows[2] == "\x1b[3Gx\x1b[23Gc"
    assert 2 + 3 * cell_width(29, 3) + 2 * 3 <= 29


def test_labels() -> None:
    """All labels are equally wide, by cells."""
    assert labelled(["漢字", "abc"]) == ["漢字 | ", "abc  | "]


def test_a_table() -> None:
    """Figures stand to the right of their column; without the room they stand below, with their names."""
    rows = [("", "in", ""), ("first", "1,000", "exact"), ("second", "2", "estimated")]
    assert table(rows, 30) == [
        "           in",
        "first   1,000      exact",
        "second      2  estimated",
    ]
    assert table(rows, 20) == ["first", "    in 1,000, exact", "second", "    in 2, estimated"]


@given(st.lists(st.lists(st.sampled_from(["", "a", "bb"]), min_size=1, max_size=8), min_size=1, max_size=6))
def test_a_drawing_changes_in_place(frames: list[list[str]]) -> None:
    """After each frame the screen shows that frame below what was there before."""
    drawing, written, height = Drawing(), "before\n", 1
    for frame in frames:
        rows = frame + [""] * (height - len(frame))
        height = len(rows)
        written += drawing.show(rows)
        assert look(written + "after", 10, 20) == ["before", *rows, "after"]


@pytest.mark.parametrize(("columns", "wide"), [(99, False), (100, True), (200, True)])
def test_branches_are_side_by_side_from_100_columns(
    columns: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room the answers grow next to each other, otherwise below each other with labels."""
    out = FakeTerminal(columns, 24, monkeypatch)
    with Terminal(out).branches(["one", "two"]) as shown:
        shown.piece(0, "first ")
        shown.piece(1, "second ")
        shown.piece(0, "third")
    screen = out.screen()
    if wide:
        assert [row.split() for row in screen] == [["one", "two"], ["first", "third", "second"]]
    else:
        assert screen == ["  one | first third", "  two | second"]


def test_columns_higher_than_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """While they grow their end is shown; at the end all rows are there, once and in order."""
    out = FakeTerminal(100, 6, monkeypatch)
    terminal = Terminal(out)
    terminal.line("before", "")
    with terminal.branches(["one", "two"]) as shown:
        for number in range(12):
            shown.piece(0, f"{number}\n")
            shown.piece(1, f"{number}, " if number < 3 else "")
        assert out.screen()[-1].split() == ["11"]
    terminal.line("after", "")
    numbers = [["one", "two"], ["0", "0,", "1,", "2,"], *([str(number)] for number in range(1, 12))]
    assert [row.split() for row in out.screen()] == [["before"], *numbers, ["after"]]


def test_reasoning_and_answer_are_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty line stands between them, and an answer that failed ends its line all the same."""
    out = FakeTerminal(80, 24, monkeypatch)
    terminal = Terminal(out)
    with pytest.raises(ValueError, match="cut"):
        with terminal.answer() as answer:
            answer.piece("Let me", reasoning=True)
            answer.piece(" see.", reasoning=True)
            answer.piece("It is")
            raise ValueError("cut")
    terminal.line("next", "")
    assert out.screen() == ["  (thinking) Let me see.", "", "  It is", "  next"]
    assert "\x1b[2m" in out.getvalue()


def test_gaps_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wants an empty line above it gets one, and none above everything."""
    out = FakeTerminal(80, 24, monkeypatch)
    terminal = Terminal(out)
    terminal.heading("Title")
    terminal.asked("Why?")
    terminal.error(ValueError("because"))
    assert out.screen() == ["Title", "", "  > Why?", "", "  ValueError: because"]


@pytest.mark.parametrize(
    ("is_terminal", "environ", "platform", "expected"),
    [
        (True, {"TERM": "xterm"}, "linux", True),
        (False, {"TERM": "xterm"}, "linux", False),
        (True, {"TERM": "dumb"}, "linux", False),
        (True, {}, "win32", False),
        (True, {"WT_SESSION": "1"}, "win32", True),
    ],
)
def test_where_escapes_are_written(
    is_terminal: bool, environ: dict[str, str], platform: str, expected: bool
) -> None:
    """To a terminal that understands them, and nowhere else."""
    assert has_escapes(is_terminal, environ, platform) is expected


def test_an_output_that_is_not_unicode() -> None:
    """What the output's encoding lacks is replaced, and nothing fails."""
    raw = BytesIO()
    terminal = Terminal(TextIOWrapper(raw, encoding="ascii"))
    terminal.line("fünf 漢", "")
    assert raw.getvalue() == b"  f?nf ?\n"
