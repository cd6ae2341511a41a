"""Pieces to the messages of one request. PURE.

Three things are decided while joining, because they depend on more than one item:

- *Adjacent messages of one role become one*, except messages that go out as they are (raw, prefaces).
- *A late system message* may stand only behind a user message, and last or before an assistant's. It is
  held back until the next assistant message or the end; where no user message stands before it then, it
  goes out as user text. What follows later never moves it.
- *Thinking that was bound to something else* (an item replaced, an ephemeral gone, tools changed) would be
  refused. `ClaudeOptions.prefix_mismatch` says what happens: by default the turn goes out without its
  thinking, because that always runs and loses only reasoning the provider would not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct

from lutum import Item
from lutum.abc import ReplayForm
from lutum.dialect.json import encode
from lutum_claude import _estimate, _wire
from lutum_claude._items import ClaudePiece, ContentBlock

Ephemerals = tuple[tuple[int, Item, ClaudePiece], ...]

# An assistant turn without a block that may go back, where a system message stands before it and needs one.
_SILENCE = (ContentBlock(b'{"type":"text","text":"(no answer)"}', False),)
BREAKPOINT = {
    "5m": b',"cache_control":{"type":"ephemeral"}}',
    "1h": b',"cache_control":{"type":"ephemeral","ttl":"1h"}}',
}


class Sent:
    """A message being joined; `raw` is one that goes out as it is."""

    __slots__ = ("blocks", "raw", "role")

    def __init__(self, role: str, blocks: Sequence[ContentBlock], raw: bytes = b"") -> None:
        self.role = role
        self.blocks = list(blocks)
        self.raw = raw


class JoinSpec(Struct, frozen=True):
    """What decides how pieces are joined.

    Attributes:
      head: how many of them are the head's system items.
      extra: what else stands before every turn: server tools.
      keep_bound: thinking that was bound to something else is sent all the same.
      manual: thinking has a budget. Then the API wants a turn that goes on, in a tool round or after a pause,
        to begin with its thinking, so it is never left out; no model that binds takes budgets.
    """

    head: int
    late_system: bool
    extra: bytes
    keep_bound: bool
    manual: bool


class Join:
    """The messages of a request, in order, and what was found on the way."""

    def __init__(self, spec: JoinSpec, *, changed: bool) -> None:
        self.messages = list[Sent]()
        self.system = list[ContentBlock]()
        self.forms = list[ReplayForm]()
        self.tokens = 0
        self.unbounded = list[str]()
        self.inexact: str | None = None
        self.paused = False
        self.stable: tuple[int, int] | None = None  # message and block where the first ephemeral stands
        self.stable_system: int | None = None
        self.marks = 0  # cache breakpoints of yours
        self.last_turn = 0  # message where the last committed turn stands
        self._held = list[ClaudePiece]()
        self._late_system = spec.late_system
        self._head = spec.head
        self._extra = spec.extra
        self._kept = spec.keep_bound
        self._manual = spec.manual
        self._lost = list[int]()
        self._changed = changed

    def run(self, pieces: Sequence[ClaudePiece], ephemerals: Sequence[tuple[int, Item, ClaudePiece]]) -> None:
        waiting = list(ephemerals)
        for i, piece in enumerate(pieces):
            while waiting and waiting[0][0] <= i and not piece.answers:
                self._ephemeral(waiting.pop(0)[2], in_head=i <= self._head)
            if i < self._head:
                self.system += piece.groups[0][1]
                self.tokens += piece.tokens
                self.marks += piece.marks
            else:
                self._item(piece)
        for _, _, piece in waiting:
            self._ephemeral(piece, in_head=len(pieces) <= self._head)
        self._place_held()

    def can_change(self) -> bool:
        """Whether a system message with tool changes may stand at the end."""
        return bool(self.messages) and self.messages[-1].role in ("user", "system")

    def add_preface(self, message: bytes) -> None:
        self.messages.append(Sent("system", (), message))
        self.tokens += _estimate.json_tokens(message) + _estimate.MESSAGE_TOKENS

    def _ephemeral(self, piece: ClaudePiece, *, in_head: bool) -> None:
        self.inexact = "an ephemeral item was sent that later requests leave out"
        if in_head and piece.wrapped:
            if self.stable_system is None:
                self.stable_system = len(self.system)
            self.system += piece.groups[0][1]
            self.tokens += piece.tokens
            self._changed = True
            return
        if self.stable is None:
            last = len(self.messages) - 1
            self.stable = (last, len(self.messages[last].blocks) if last >= 0 else 0)
        forms, lost = list(self.forms), list(self._lost)
        self._item(piece)
        self.forms, self._lost = forms, lost
        self._changed = True

    def _item(self, piece: ClaudePiece) -> None:
        self.tokens += piece.tokens
        self.unbounded += piece.unbounded
        self.marks += piece.marks
        self.paused = piece.paused
        if piece.wrapped:
            if self._late_system:
                self._held.append(piece)
            else:
                self._add("user", piece.wrapped)
            return
        if piece.form is not None:
            self._turn(piece, piece.form)
            return
        for role, blocks in piece.groups:
            if role == "user":
                self._add(role, blocks)
                continue
            raw, _, of_role = role.rpartition(" ")
            if of_role == "assistant":
                self._place_held()
            if raw:
                self.messages.append(Sent(of_role, (), blocks[0].json))
                continue
            self._add(role, blocks)

    def _turn(self, piece: ClaudePiece, form: ReplayForm) -> None:
        self._place_held()
        for message in piece.preface:
            self.add_preface(message)
        ((_, blocks),) = piece.groups
        if piece.bound is not None and (
            not form.exact or self._changed or piece.bound != piece.digest + note(self._extra, self._lost)
        ):
            reason = form.reason or "its thinking is bound to what stood before it, which has changed"
            if self._kept or self._manual:
                form = ReplayForm(True, reason + "; the provider is left to judge")
            else:
                form = ReplayForm(False, reason)
        if not form.exact and piece.home:
            self._lost.append(len(self.forms))
            if piece.bare is not None and not self._manual:
                blocks = piece.bare
        self.forms.append(form)
        if not blocks and self.messages and self.messages[-1].role == "system":
            blocks = _SILENCE
        self._add("assistant", blocks)
        self.last_turn = len(self.messages) - 1

    def _place_held(self) -> None:
        for piece in self._held:
            stands = bool(self.messages) and self.messages[-1].role in ("user", "system")
            self._add(*piece.groups[0] if stands else ("user", piece.wrapped))
        self._held.clear()

    def _add(self, role: str, blocks: Sequence[ContentBlock]) -> None:
        if not blocks:
            return
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == role and not last.raw:
            last.blocks += blocks
        else:
            self.messages.append(Sent(role, blocks))


def note(extra: bytes, lost: Sequence[int]) -> str:
    """Goes behind a digest: server tools, and turns that went out without their thinking."""
    if not extra and not lost:
        return ""
    return "-" + blake2b(encode([extra.decode(), list(lost)]), digest_size=8).hexdigest()


def mark(tools: list[ContentBlock], join: Join, breakpoint: bytes) -> None:
    """Write cache breakpoints: at the last block before the first ephemeral, and, where that is too far from
    the previous request's for the API to find its entry, at the last block before the last turn."""
    free = 4 - join.marks - sum(b'"cache_control"' in tool.json for tool in tools)
    if free < 1:
        return
    message, cut = join.stable or (len(join.messages) - 1, None)
    place = None if join.stable_system is not None else _last_markable(join.messages, message, cut)
    if place is not None:
        earlier = _last_markable(join.messages, join.last_turn - 1, None) if free > 1 else None
        for m, b in {place, earlier} if earlier and _apart(join.messages, earlier, place) else {place}:
            _write_mark(join.messages[m].blocks, b, breakpoint)
    elif system := join.system[: join.stable_system]:
        if system[-1].markable:
            _write_mark(join.system, len(system) - 1, breakpoint)
    elif tools and b'"cache_control"' not in tools[-1].json:
        _write_mark(tools, len(tools) - 1, breakpoint)


def _write_mark(blocks: list[ContentBlock], at: int, breakpoint: bytes) -> None:
    blocks[at] = ContentBlock(blocks[at].json[:-1] + breakpoint)


def _last_markable(messages: Sequence[Sent], message: int, cut: int | None) -> tuple[int, int] | None:
    for m in range(message, -1, -1):
        blocks = messages[m].blocks[:cut]
        cut = None
        for b in range(len(blocks) - 1, -1, -1):
            if blocks[b].markable:
                return m, b
    return None


def _apart(messages: Sequence[Sent], earlier: tuple[int, int], later: tuple[int, int]) -> bool:
    """Whether there are more blocks between than the API looks back."""
    between = sum(len(message.blocks) for message in messages[earlier[0] : later[0]])
    return between - earlier[1] + later[1] > _wire.LOOKBACK
