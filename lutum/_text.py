"""Text for a terminal: control characters removed, width measured, lines broken. No I/O.

`Cleaner` removes characters that would control the terminal or mislead the reader, `cells` measures, `Flow`
breaks lines. Cleaner and Flow take text in pieces as it streams. Their result does not depend on how the text
is cut into pieces.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from typing import Literal, final

# The beginnings of control sequences: ESC, and the C1 forms of DCS, SOS, CSI, OSC, PM and APC (ECMA-48, 5.3).
_START = re.compile("[\x1b\x90\x98\x9b\x9d-\x9f]")
_STRINGS = "\x90\x98\x9d\x9e\x9fPX]^_"
# A control string ends at BEL, ST, CAN or SUB, and at the next ESC. Here it also ends at a line feed,
# although a terminal may continue it, so that a string without an end hides one line at most.
_STRING_END = re.compile("[\x07\x18\x1a\x9c\x1b\n]")
_CSI = re.compile("[0-?]*[ -/]*")
_INTERMEDIATE = re.compile("[ -/]*")

# Removed are:
# - C0 and C1 controls, except the line feed;
# - soft hyphen, zero-width space and BOM, because terminals measure them differently;
# - direction marks, overrides and isolates, because they can show text in a misleading order (Unicode TR 9);
# - annotations and tags, because they are invisible (TR 36).
# ZWJ and ZWNJ stay, because scripts and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_LINE_ENDS = re.compile("[\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")  # cannot be encoded, but JSON can contain them

# Characters that are wide in Unicode 16, but not yet in the tables of Python 3.11. And regional indicators: a
# terminal shows two of them as one wide flag, or as two wide characters if it has no flags.
_WIDE_LATER = re.compile(
    "[\u2630-\u2637\u268a-\u268f\u4dc0-\u4dff\U0001d300-\U0001d37f\U0001f1e6-\U0001f1ff]"
)
_EMOJI_STYLE = "\ufe0f"
_ZWJ = "\u200d"

# The most characters in one unit. Without it, an endless series of combining marks would never be written.
_LONGEST = 256


def printable(text: str) -> str:
    """Return a whole text without the characters that would control a terminal or mislead the reader."""
    return Cleaner().feed(text)


def preformatted(text: str) -> str:
    """Return HTML that shows a text as it is, for a notebook. Control characters are left out."""
    return f'<pre style="white-space: pre-wrap">{html.escape(printable(text))}</pre>'


def cells(text: str) -> int:
    """Return the most cells that text takes in a terminal.

    Terminals disagree about the width of joined and coloured emoji. Here it is the sum of their parts, so
    that a line that fits by this measure fits in every terminal.
    """
    return len(text) if text.isascii() else sum(map(_cells, text))


def wrap(text: str, width: int) -> list[str]:
    """Return lines of at most `width` cells, broken between words where that is possible."""
    flow = Flow(width)
    return (flow.feed(printable(text)) + flow.end()).split("\n")


@final
class Cleaner:
    """`printable` for a text in pieces. A control sequence may begin in one piece and end in a later one."""

    def __init__(self) -> None:
        self._state: Literal["text", "escape", "intermediate", "csi", "string"] = "text"

    def feed(self, piece: str) -> str:
        """Return the part of this piece that may be shown."""
        kept = list[str]()
        at = 0
        while at < len(piece):
            if self._state == "text":
                start = _START.search(piece, at)
                kept.append(piece[at : start.start() if start else len(piece)])
                at = len(piece)
                if start:
                    at = start.end()
                    self._state = _opened_by(start[0])
            else:
                at = self._skip(piece, at)
        text = _LINE_ENDS.sub("\n", "".join(kept).replace("\t", "    "))
        return _SURROGATES.sub("\ufffd", _UNSAFE.sub("", text))

    def _skip(self, piece: str, at: int) -> int:
        """Return the index where the open sequence ends, or the end of the piece."""
        if self._state == "string":
            end = _STRING_END.search(piece, at)
            if end is None:
                return len(piece)
            self._state = "escape" if end[0] == "\x1b" else "text"
            return end.end() if end[0] != "\n" else end.start()
        if self._state == "escape":
            if (state := _opened_by(piece[at])) != "text":
                self._state = state
                return at + 1
            self._state = "intermediate"
        middle = (_CSI if self._state == "csi" else _INTERMEDIATE).match(piece, at)
        at = middle.end() if middle else at
        if at == len(piece):
            return at
        finals = ("@", "~") if self._state == "csi" else ("0", "~")
        self._state = "text"
        return at + (finals[0] <= piece[at] <= finals[1])


def _opened_by(char: str) -> Literal["text", "escape", "csi", "string"]:
    if char == "\x1b":
        return "escape"
    if char in "[\x9b":
        return "csi"
    return "string" if char in _STRINGS else "text"


@final
class Flow:
    """Breaks a text in pieces into lines of at most `width` cells. It returns text as early as possible.

    A word is held back until the next character shows that it is complete. Lines do not end with spaces.
    Between wide characters a line may break anywhere. A word that is wider than a line begins on a new line
    and is broken at the line's end.
    """

    def __init__(self, width: int) -> None:
        self._width = max(width, 2)  # a wide character has to fit
        self._at = 0
        self._spaces = 0
        self._word = ""

    def feed(self, piece: str) -> str:
        """Return the text that can be written now. The piece must be printable."""
        out = list[str]()
        for part in re.split("([ \n])", self._word + piece):
            if part not in (" ", "\n"):
                *whole, self._word = _units(part, self._width)
                out += map(self._place, whole)
                continue
            out.append(self.end())
            if part == "\n":
                out.append("\n")
                self._at = self._spaces = 0
            elif self._at:
                self._spaces += 1
        return "".join(out)

    def end(self) -> str:
        """Return the word that was held back. Call it when the word is complete or the text ends."""
        word, self._word = self._word, ""
        return self._place(word)

    def _place(self, unit: str) -> str:
        if not unit:
            return ""
        size = cells(unit)
        if self._at and self._at + self._spaces + size > self._width:
            self._at, self._spaces = size, 0
            return "\n" + unit
        out = " " * self._spaces + unit
        self._at += self._spaces + size
        self._spaces = 0
        return out


def _units(word: str, width: int) -> list[str]:
    """Split a word where a line may break. There is at least one unit, and none is wider than a line."""
    units = [""]
    total, wide = 0, False
    for char in word:
        size = _cells(char)
        joined = size == 0 or char == _EMOJI_STYLE or units[-1].endswith(_ZWJ)
        between = not joined and (wide or size == 2)
        if units[-1] and (between or total + size > width or len(units[-1]) >= _LONGEST):
            units.append("")
            total = 0
        if not joined:
            wide = size == 2
        units[-1] += char
        total += size
    return units


@lru_cache(4096)
def _cells(char: str) -> int:
    if char == _EMOJI_STYLE:
        return 1  # it makes the character before it wide, in terminals that support it
    category = unicodedata.category(char)
    if category in ("Mn", "Me", "Cf", "Cc") or "\u1160" <= char <= "\u11ff":
        return 0  # U+1160 to U+11FF are vowels and finals, which join a syllable (Hangul Jamo)
    # Characters that this Python does not know yet are mostly new emoji.
    wide = unicodedata.east_asian_width(char) in "WF" or category == "Cn" or _WIDE_LATER.match(char)
    return 2 if wide else 1
