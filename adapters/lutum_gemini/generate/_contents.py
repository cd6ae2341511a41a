"""Join pieces to the contents of one request.

The results of a round are one content, in the order of the calls, because the API matches calls without ids
by name and order. A turn that continues a paused turn is joined with the paused turn, because one answer is
one content.
"""

from __future__ import annotations

from collections.abc import Sequence

from lutum.abc import ReplayForm
from lutum_gemini.generate._items import GeminiPiece, RoundAnswer, content, parts_of

Placed = Sequence[tuple[int, GeminiPiece]]
"""Ephemeral pieces, each with the index of the item that it precedes."""


class Contents:
    """The contents of a request, in order, with their replay forms and tokens."""

    def __init__(self, head: int) -> None:
        self.system = list[bytes]()
        self.contents = list[bytes]()
        self.forms = list[ReplayForm]()
        self.tokens = 0
        self.unbounded = list[str]()
        self.dropped = dict[str, None]()
        self.ends_with_model = False
        self.continuation: str | None = None
        self._head = head
        self._calls: tuple[str, ...] = ()
        self._answers = list[RoundAnswer]()
        self._behind: tuple[bytes, ...] = ()
        self._paused: int | None = None  # index of the last content, if it is a paused turn

    def run(self, pieces: Sequence[GeminiPiece], ephemerals: Placed) -> None:
        """Join the pieces with those of the ephemerals. No ephemeral comes between a call and its result."""
        waiting = list(ephemerals)
        for i, piece in enumerate(pieces):
            while waiting and waiting[0][0] <= i and piece.answer is None:
                self._add(waiting.pop(0)[1], in_head=i < self._head)
            self._add(piece, in_head=i < self._head)
            if piece.form is not None:
                self.forms.append(piece.form)
        for _, piece in waiting:
            self._add(piece, in_head=len(pieces) <= self._head)
        self._flush()
        if self._paused is None:
            self.continuation = None
        else:
            # The API continues the same request, so the answer so far is not sent.
            del self.contents[self._paused :]
            self.ends_with_model = False

    def _add(self, piece: GeminiPiece, *, in_head: bool) -> None:
        self.tokens += piece.tokens
        self.unbounded += piece.unbounded
        self.dropped.update(dict.fromkeys(piece.dropped))
        if piece.answer is not None:
            self._answers.append(piece.answer)
            self._paused = None
            return
        if piece.behind and self._answers:
            self._behind = piece.behind
            self._flush()
            return
        self._flush()
        if piece.is_system and in_head:
            self.system += piece.system
            return
        if piece.form is not None:
            self._turn(piece)
            return
        self._paused = None
        if piece.contents:
            self.contents += piece.contents
            self.ends_with_model = piece.is_model

    def _turn(self, piece: GeminiPiece) -> None:
        self._calls = piece.calls
        if piece.contents and self._paused is not None:
            earlier = self.contents.pop()
            self.contents.append(content("model", (*parts_of(earlier), *parts_of(piece.contents[0]))))
        elif piece.contents:
            self.contents += piece.contents
            self.ends_with_model = True
        self.continuation = piece.continuation
        self._paused = len(self.contents) - 1 if piece.continuation is not None else None

    def _flush(self) -> None:
        """Write the results of a round."""
        if not self._answers:
            return
        place = {id: at for at, id in enumerate(self._calls)}
        answers = sorted(self._answers, key=lambda answer: place.get(answer.call_id, len(place)))
        parts = [answer.part for answer in answers]
        for answer in answers:
            parts += answer.aside
        parts += self._behind
        self.contents.append(content("user", parts))
        self.ends_with_model = False
        self._answers.clear()
        self._behind = ()
