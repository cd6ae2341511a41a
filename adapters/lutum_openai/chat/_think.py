"""Reasoning between tags at the start of an answer's text, as in `<think>...</think>`. No I/O.

Perplexity's sonar-reasoning, MiniMax and servers without a reasoning parser send reasoning in this way.
Bedrock's gpt-oss uses `<reasoning>`. The turn's stored JSON (`wire`) contains the text unchanged.
"""

from __future__ import annotations

from typing import Literal

Piece = tuple[Literal["text", "reasoning"], str]


def split(text: str, tags: tuple[str, ...]) -> tuple[str, str]:
    """Return the reasoning and the rest of a whole text.

    If the end tag is missing, everything after the start tag is reasoning.
    """
    splitter = TagSplitter(tags)
    pieces = [*splitter.feed(text), *splitter.end()]
    reasoning = "".join(piece for kind, piece in pieces if kind == "reasoning")
    return reasoning, "".join(piece for kind, piece in pieces if kind == "text")


class TagSplitter:
    """Splits streamed text into reasoning and answer. If `done` is true, all further text is answer."""

    def __init__(self, tags: tuple[str, ...]) -> None:
        self._tags = tags
        self._held = ""
        self._end: str | None = None  # the tag that ends the reasoning
        self._trimming = False  # after the end tag, before the first character of the answer
        self.done = not tags

    def feed(self, text: str) -> list[Piece]:
        """Return the pieces that are certainly reasoning or answer. Text that may be a tag is held back."""
        if self.done:
            return [("text", text)] if text else []
        self._held += text
        found = list[Piece]()
        if self._end is None and not self._trimming:
            self._begin(found)
        if self._end is not None:
            self._think(found, self._end)
        if self._trimming and (rest := self._held.lstrip()):
            found.append(("text", rest))
            self._held, self.done = "", True
        return found

    def end(self) -> list[Piece]:
        """Return the text that was held back. Call it at the end of the answer."""
        held, self._held, self.done = self._held, "", True
        if not held or self._trimming:
            return []
        return [("text" if self._end is None else "reasoning", held)]

    def _begin(self, found: list[Piece]) -> None:
        start = self._held.lstrip()
        for tag in self._tags:
            opening = f"<{tag}>"
            if start.startswith(opening):
                self._end, self._held = f"</{tag}>", start[len(opening) :].lstrip("\n")
                return
        if start and not any(f"<{tag}>".startswith(start) for tag in self._tags):
            found.append(("text", self._held))
            self._held, self.done = "", True

    def _think(self, found: list[Piece], end: str) -> None:
        at = self._held.find(end)
        if at >= 0:
            if thought := self._held[:at].rstrip():
                found.append(("reasoning", thought))
            self._held, self._end, self._trimming = self._held[at + len(end) :], None, True
            return
        keep = next((n for n in range(len(end) - 1, 0, -1) if self._held.endswith(end[:n])), 0)
        sure = self._held[: len(self._held) - keep]
        sure = sure.rstrip("\n")  # the line end before the end tag is not reasoning
        if sure:
            found.append(("reasoning", sure))
            self._held = self._held[len(sure) :]
