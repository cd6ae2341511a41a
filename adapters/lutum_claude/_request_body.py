"""Join the pieces (the encoded items) into the messages of one request. No I/O.

Three rules are applied while joining, because they depend on more than one item:

- *Adjacent messages of one role are joined*, except messages that are sent unchanged (raw items, prefaces).
- *A late system message* is allowed only directly after a user message, and only at the end or before an
  assistant message. So it is held back until the next assistant message or the end. If the message before
  that place is neither a user message nor another system message, the held message is sent as user text.
  Later messages never change its place.
- *Bound thinking*: the API refuses thinking if the content before it (its prefix) has changed since the
  thinking was made. It has changed if an item was replaced, an ephemeral is gone, or tools were changed. By
  default such a turn is sent without its thinking, because then the request always succeeds, and only
  reasoning that the provider would not read is lost. `ClaudeOptions.prefix_mismatch` chooses another
  behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from lutum import BadValue, CommittedTurn, Item, Message, Text
from lutum.abc import ReplayForm, TurnRequest
from lutum.dialect.json import encode
from lutum_claude import _estimate, _tools
from lutum_claude._items import ClaudePiece, ContentBlock, Ephemerals, RequestPieces
from lutum_claude._settings import ClaudeSettings

# Replaces an assistant turn without blocks if a system message precedes it, because the API requires an
# assistant message after that system message.
_SILENCE = (ContentBlock(b'{"type":"text","text":"(no answer)"}', False),)


class Sent(Struct, gc=False):
    """A message that is being joined. If it has `raw`, that JSON is sent unchanged.

    `blocks` is the tuple of the piece until the message changes, and a list from then on. This avoids copies:
    most messages of a session contain one piece, and each request creates a `Sent` for each message.
    """

    role: str
    blocks: tuple[ContentBlock, ...] | list[ContentBlock]
    raw: bytes = b""

    def own_blocks(self) -> list[ContentBlock]:
        """Return `blocks` as a list that may be changed."""
        if not isinstance(self.blocks, list):
            self.blocks = list(self.blocks)
        return self.blocks


class ClaudeMessages(Struct, frozen=True):
    """The joined messages of a request, and its tools.

    Attributes:
      tools: the entries of the member `tools`.
      value_tool: the forced tool whose input is the structured value.
      inexact_reason: why the turn that answers this request cannot be replayed exactly.
      prefaces: the system messages that precede the committed turns, followed by those of this request.
      preface: a JSON array of the system messages that belong to this request; empty if there are none.
      tokens: the estimate of messages and tools.
    """

    join: Join
    tools: tuple[bytes, ...]
    value_tool: str | None
    inexact_reason: str | None
    prefaces: tuple[bytes, ...]
    preface: bytes
    tokens: int


class JoinSpec(Struct, frozen=True):
    """The settings for joining pieces.

    Attributes:
      head: the number of pieces at the start that are system items.
      late_system: whether the model accepts system messages after other messages.
      extra: the server tools. They precede every turn and are not part of the transcript.
      keep_bound: send thinking even if the content before it has changed.
      manual: thinking has a budget. Then thinking is never left out, because the API requires that a turn
        which continues (in a tool round or after a pause) begins with its thinking. Models that bind
        thinking to its prefix do not accept budgets, so they never refuse thinking that is sent for this
        reason.
    """

    head: int
    late_system: bool
    extra: bytes
    keep_bound: bool
    manual: bool


class Join:
    """The messages of a request, in order, with replay forms, tokens and positions for cache breakpoints."""

    def __init__(self, spec: JoinSpec, *, changed: bool) -> None:
        self.messages = list[Sent]()
        self.system = list[ContentBlock]()
        self.forms = list[ReplayForm]()
        self.tokens = 0
        self.unbounded = list[str]()
        self.inexact: str | None = None
        self.paused = False
        self.stable: tuple[int, int] | None = None  # message and block of the first ephemeral
        self.stable_system: int | None = None
        self.marks = 0  # the user's cache breakpoints
        self.cites = False
        self.last_turn = 0  # message of the last committed turn
        self.before_last: tuple[int, int] | None = None  # start of the last piece in the last message
        self._held = list[ClaudePiece]()
        self._late_system = spec.late_system
        self._head = spec.head
        self._extra = spec.extra
        self._kept = spec.keep_bound
        self._manual = spec.manual
        self._lost = list[int]()
        self._changed = changed

    def run(self, pieces: Sequence[ClaudePiece], ephemerals: Ephemerals) -> None:
        at = 0
        for position, _, piece in ephemerals:
            end = max(at, position)
            while end < len(pieces) and pieces[end].answers:
                end += 1
            self._items(pieces, at, end)
            self._ephemeral(piece, in_head=end <= self._head)
            at = end
        self._items(pieces, at, len(pieces))
        self._place_held()

    def can_change(self) -> bool:
        """True if a system message with tool changes is allowed at the end."""
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

    def _items(self, pieces: Sequence[ClaudePiece], start: int, end: int) -> None:
        for piece in pieces[start : min(self._head, end)]:
            self.system += piece.groups[0][1]
            self.tokens += piece.tokens
            self.marks += piece.marks
        for piece in pieces[max(self._head, start) : end]:
            self._item(piece)

    def _item(self, piece: ClaudePiece) -> None:
        # Runs for each item of a long session at each request.
        self.tokens += piece.tokens
        if piece.unbounded:
            self.unbounded += piece.unbounded
        if piece.marks:
            self.marks += piece.marks
        if piece.cites:
            self.cites = True
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
        if self._held:
            self._place_held()
        for message in piece.preface:
            self.add_preface(message)
        ((_, blocks),) = piece.groups
        if piece.bound is not None and (
            not form.exact or self._changed or piece.bound != piece.digest + note(self._extra, self._lost)
        ):
            reason = form.reason or "its thinking is bound to the items before it, which have changed"
            if self._kept or self._manual:
                form = ReplayForm(True, reason + "; the provider decides whether it accepts the thinking")
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

    def _add(self, role: str, blocks: tuple[ContentBlock, ...]) -> None:
        if not blocks:
            return
        messages = self.messages
        if messages and messages[-1].role == role and not messages[-1].raw:
            last = messages[-1].own_blocks()
            self.before_last = len(messages) - 1, len(last)
            last += blocks
        else:
            self.before_last = None
            messages.append(Sent(role, blocks))


def messages_of(settings: ClaudeSettings, pieces: RequestPieces) -> ClaudeMessages:
    """Join the pieces of a request, and plan its tools. Tool changes may be in a message at the end.

    Raises:
      BadValue: the model does not accept the messages or the tools; the error names the field.
    """
    request, capable = settings.request, settings.capable
    spec = JoinSpec(
        head=len(request.transcript.head.system),
        late_system=capable.late_system,
        extra=b",".join(settings.server_tools),
        keep_bound="block_binding" in settings.thinking,
        manual=settings.thinking.get("type") == "enabled",
    )

    def joined(ephemerals: Ephemerals, *, changed: bool = False) -> Join:
        join = Join(spec, changed=changed)
        join.run(pieces.transcript, ephemerals)
        return join

    one_turn, in_place = _split(request, pieces.ephemerals, one_turn=capable.late_system)
    join = joined(in_place)
    if one_turn and not join.can_change():
        one_turn, in_place = _split(request, pieces.ephemerals, one_turn=False)
        join = joined(in_place)
    earlier = [message for piece in pieces.transcript for message in piece.preface]
    plan = _tools.plan(
        request,
        earlier,
        settings.server_tools,
        changes=capable.late_system and not settings.config.vertex,
        place=join.can_change(),
        by_tool=settings.by_tool,
        strict=settings.host.strict and capable.strict,
    )
    if plan.inexact_reason or plan.value_tool:
        join = joined(in_place, changed=True)  # the member `tools` differs, so every prefix has changed
    _check(join, settings)
    if settings.host.thinking_block and settings.thinking.get("type") != "disabled":
        fill_thinking(join)
    preface = [plan.changes] if plan.changes else []
    preface += [_one_turn(item) for _, item, _ in one_turn]
    for message in preface:
        join.add_preface(message)
    return ClaudeMessages(
        join,
        plan.tools,
        plan.value_tool,
        join.inexact or plan.inexact_reason,
        (*earlier, *preface),
        b"[" + b",".join(preface) + b"]" if preface else b"",
        join.tokens + plan.tokens,
    )


def _split(request: TurnRequest, ephemerals: Ephemerals, *, one_turn: bool) -> tuple[Ephemerals, Ephemerals]:
    """Split ephemerals into those that are sent at the end as one-turn system messages (`clear_at`), and
    those that are sent at their position."""
    if not ephemerals:
        return (), ()
    items = list(request.transcript)
    last = max((i for i, item in enumerate(items) if isinstance(item, CommittedTurn)), default=-1)
    said, placed = list[tuple[int, Item, ClaudePiece]](), list[tuple[int, Item, ClaudePiece]]()
    for position, item, piece in ephemerals:
        (said if one_turn and piece.wrapped and position > last else placed).append((position, item, piece))
    return tuple(said), tuple(sorted(placed, key=lambda entry: entry[0]))


def _one_turn(item: Item) -> bytes:
    assert isinstance(item, Message)
    text = "\n\n".join(part.text for part in item.content if isinstance(part, Text) and part.text.strip())
    return encode({"role": "system", "content": text, "clear_at": "next_user_message"})


class _LastBlock(Struct):
    type: str = ""
    text: str = ""


def _check(join: Join, settings: ClaudeSettings) -> None:
    """Refuse messages for which the API would refuse the whole request.

    Raises:
      BadValue: there are no messages, or the model does not accept the last one.
    """
    if not join.messages:
        raise BadValue("input", "has nothing to send: Claude needs at least one user message")
    if join.messages[-1].role != "assistant" or join.paused:
        return
    if not settings.capable.prefill:
        raise BadValue("input", f"ends with an assistant message, which {settings.model} does not continue")
    if settings.thinking.get("type") in ("adaptive", "enabled"):
        raise BadValue("thinking", "is not possible where the input ends with an assistant message")
    blocks = join.messages[-1].blocks
    last = msgspec.json.decode(blocks[-1].json, type=_LastBlock) if blocks else _LastBlock()
    if last.type == "text" and last.text != last.text.rstrip():
        raise BadValue("input", "ends with white space in a final assistant message; strip it")


def note(extra: bytes, lost: Sequence[int]) -> str:
    """Return text to append to a prefix digest, so that it also covers the server tools and the turns that
    were sent without their thinking. It is empty if there are neither."""
    if not extra and not lost:
        return ""
    return "-" + blake2b(encode([extra.decode(), list(lost)]), digest_size=8).hexdigest()


_NO_THINKING = ContentBlock(b'{"type":"thinking","thinking":"","signature":""}', False)


def fill_thinking(join: Join) -> None:
    """Put an empty thinking block before each assistant message that has none."""
    for message in join.messages:
        thinks = any(b'"type":"thinking"' in block.json[:40] for block in message.blocks)
        if message.role == "assistant" and not message.raw and not thinks:
            message.own_blocks().insert(0, _NO_THINKING)
