"""Persistent transcripts: a chain that only grows at its end and shares everything before it.

A `Transcript` is the last node of a chain of parents, so it is a value: `append` makes a new node, and a fork
copies a reference. A node stores three things, each computed at most once:

- the digest of all items up to it;
- the form that each adapter made of its item (`memo`);
- the rules that the next item must obey (`_Rules`).

Each node also points to one far ancestor (E. Myers, "An applicative random-access stack", 1983). This makes
indexing and comparing O(log n).

The nodes are plain classes with slots on purpose. A chain of a million `msgspec.Struct(gc=False)` overflows
the stack when it is freed, and generated `__eq__`, `__hash__` and `__repr__` recurse.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, TypeVar, cast, final, overload

import msgspec
from msgspec import Struct

from lutum._text import preformatted
from lutum._values.check import check_type
from lutum._values.committed import CommittedTurn, ToolDef
from lutum._values.errors import TranscriptError
from lutum._values.items import Document, Image, Item, Message, Raw, Text, ToolResult
from lutum._values.persistence import check_item, dump_header, dump_items, load_lines
from lutum._values.tokens import ids_before, with_whole_prompt

M = TypeVar("M")

_encode_item = msgspec.msgpack.Encoder().encode
_EMPTY_DIGEST = blake2b(b"lutum transcript 1", digest_size=16).digest()
_ROLES = frozenset({"system", "developer", "user", "assistant"})
_PARTS = frozenset({Text, Image, Document, Raw})


class _Rules(Struct, frozen=True):
    """The rules that the next item must obey. Nodes that change none of them share one object.

    `answered` has the calls of the last turn that have their result. `standalone` has the ids of results
    without a turn, in sets of decreasing size. When two sets have the same size, they are joined. Every node
    keeps its own rules: with one whole frozenset in each node, 10,000 such results would take gigabytes.
    """

    open_calls: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    standalone: tuple[frozenset[str], ...] = ()
    head_len: int | None = None
    tools: tuple[ToolDef, ...] | None = None


_NO_RULES = _Rules()


class Head(Struct, frozen=True):
    """The common beginning of all requests of a transcript.

    `system` has the system and developer items before all other items. `tools` has the tools of the first
    committed turn; it is None before that turn.
    """

    system: tuple[Item, ...]
    tools: tuple[ToolDef, ...] | None


@final
class Transcript:
    """An immutable conversation. It is compared and hashed by content.

    `Transcript(items)` and `append` raise TranscriptError, which names the item and the reason, for

    - a result without a call;
    - a second result for a call;
    - an item before an open call is answered;
    - two calls of a turn with the same id;
    - a value that cannot be stored in a dump.
    """

    __slots__ = ("__weakref__", "_digest", "_item", "_jump", "_len", "_memo", "_parent", "_rules")

    _parent: Transcript
    _jump: Transcript
    _item: Item
    _len: int
    _digest: bytes | None
    _memo: dict[Hashable, Any] | None
    _rules: _Rules

    def __new__(cls, items: Iterable[Item] = ()) -> Transcript:
        node = cls._root()
        for item in items:
            node = node.append(item)
        return node

    @classmethod
    def _root(cls) -> Transcript:
        root = object.__new__(cls)
        root._parent = root._jump = root
        root._len = 0
        root._digest = _EMPTY_DIGEST
        root._memo = None
        root._rules = _NO_RULES
        return root

    def append(self, item: Item) -> Transcript:
        """Return this transcript with one more item. O(1).

        Raises:
          TranscriptError: the item is not allowed here, or cannot be stored in a dump.
          BadValue: it is not an item.
        """
        check_type(f"item {self._len}", item, Item, "a Message, ToolResult, CommittedTurn or Raw")
        if type(item) is ToolResult and item.exception is not None:
            item = msgspec.structs.replace(item, exception=None)
        node = self.link(item)
        check_item(item, self._len)
        return node

    def link(self, item: Item) -> Transcript:
        """Append an item that was in a transcript or a file already. Only the rules are checked."""
        node = object.__new__(Transcript)
        node._rules = _follow(self._rules, item, self._len)
        node._parent = self
        far = self._jump
        node._jump = far._jump if self._len - far._len == far._len - far._jump._len else self
        node._item = item
        node._len = self._len + 1
        node._digest = None
        node._memo = None
        return node

    def replace(self, index: int, item: Item) -> Transcript:
        """Return this transcript with another item at `index`.

        Later turns stay. If the provider has bound a turn to the content before it, the turn is marked as
        inexact.

        Raises:
          TranscriptError: the new item separates a call from its result.
          IndexError: `index` is out of range.
        """
        index = self._position(index)
        before = self._ancestor(index)
        if isinstance(item, CommittedTurn) and not item.tools and before._rules.tools is None:
            item = msgspec.structs.replace(item, tools=self._rules.tools or ())  # the head stays
        node = before.append(item)
        for i, later in enumerate(self._between(index + 1, self._len), index + 1):
            if isinstance(later, CommittedTurn):
                later = self._with_whole_prompt(later, i)
            if isinstance(later, CommittedTurn) and later.prefix is not None and later.exact:
                later = msgspec.structs.replace(later, inexact_reason=f"item {index} before it was replaced")
            node = node.link(later)
        return node

    def prefix(self, length: int) -> Transcript:
        """Return the first `length` items. O(log n). Unlike a slice, they may end between call and result.

        Raises:
          IndexError: the transcript has fewer items.
        """
        if not 0 <= length <= self._len:
            raise IndexError(f"{length} items of a transcript of {self._len}")
        return self._ancestor(length)

    def common_prefix(self, other: Transcript) -> Transcript:
        """Return the longest transcript that both begin with."""
        shorter = min(self._len, other._len)
        a, b = self._ancestor(shorter), other._ancestor(shorter)
        while a is not b and a.digest != b.digest:
            # The length of a node's far ancestor depends only on the node's length, so both jump to one
            # length.
            if a._jump is b._jump or a._jump.digest == b._jump.digest:
                a, b = a._parent, b._parent
            else:
                a, b = a._jump, b._jump
        return a

    def cuts(self) -> list[int]:
        """Return the indices where a slice may begin or end without separating a call from its result."""
        node, found = self, list[int]()
        while True:
            if not node._rules.open_calls:
                found.append(node._len)
            if node._len == 0:
                return found[::-1]
            node = node._parent

    @property
    def head(self) -> Head:
        """The leading system items, and the tools fixed by the first committed turn."""
        rules = self._rules
        end = self._len if rules.head_len is None else rules.head_len
        return Head(tuple(self._between(0, end)), rules.tools)

    @property
    def open_calls(self) -> tuple[str, ...]:
        """Ids of the calls that still need a result, in call order."""
        return self._rules.open_calls

    @property
    def digest(self) -> str:
        """Hex digest of all items in order. Transcripts with equal contents have equal digests."""
        if self._digest is None:
            pending = list[Transcript]()
            node = self
            while node._digest is None:
                pending.append(node)
                node = node._parent
            known = node._digest
            for node in reversed(pending):
                known = blake2b(known + _encode_item(node._item), digest_size=16).digest()
                node._digest = known
        return cast("bytes", self._digest).hex()

    def memo(self, key: Hashable, make: Callable[[Item, Transcript], M]) -> list[M]:
        """Return `make(item, transcript before it)` for every item, computed once for each item and key.

        Adapters use it: if a request has one new item, only this item is encoded. `make` must be pure and
        must depend only on its arguments and the key.
        """
        found = list[M]()
        missing = list[tuple[int, Transcript]]()
        node = self
        while node._len:
            memo = node._memo
            if memo is not None and key in memo:
                found.append(memo[key])
            else:
                missing.append((len(found), node))
                found.append(cast("M", None))
            node = node._parent
        for at, node in reversed(missing):  # oldest first, so that an error names the first bad item
            value = make(node._item, node._parent)
            if node._memo is None:
                node._memo = {}
            node._memo[key] = found[at] = value
        found.reverse()
        return found

    def with_digests(self, start: int = 0) -> list[tuple[Item, str]]:
        """Return the items from `start` on, each with the digest of all items up to and including it."""
        _ = self.digest  # computes the digests of all nodes
        node, found = self, list[tuple[Item, str]]()
        while node._len > start:
            found.append((node._item, node.digest))
            node = node._parent
        return found[::-1]

    def dump(self, since: Transcript | None = None) -> bytes:
        """Return the transcript as JSON lines, one item a line; see `load`.

        With `since`, return only the lines to add to a file of `since` to make it a file of this transcript.

        Raises:
          TranscriptError: this transcript does not begin with `since`.
        """
        if since is None:
            return dump_header() + dump_items(self.with_digests())
        if len(self) < len(since) or self.common_prefix(since) != since:
            raise TranscriptError("dump: the transcript does not begin with `since`")
        return dump_items(self.with_digests(len(since)))

    @staticmethod
    def load(data: bytes, *, digest: str | None = None) -> Transcript:
        """Return the transcript of a dump. If you know its digest, give it as `digest`, to have it checked.

        A file grows a line at a time, so a file that lost whole lines at its end is a valid, earlier
        transcript. Only `digest` can detect that.

        Raises:
          TranscriptError: `data` is not a transcript file, is of a newer version, or was cut, reordered or
            altered. The message names the line.
        """
        return load_lines(data, digest, Transcript())

    def __len__(self) -> int:
        return self._len

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Transcript: ...
    def __getitem__(self, index: int | slice) -> Item | Transcript:
        """Return an item, or a part of the conversation.

        A slice from the start shares the nodes of this transcript. Any other slice is built from new nodes,
        and keeps the head's tools.

        Raises:
          TranscriptError: the slice separates a call from its result; `cuts()` lists the allowed ends.
          IndexError: the index is out of range.
        """
        if isinstance(index, slice):
            return self._slice(index)
        return self._ancestor(self._position(index) + 1)._item

    def __iter__(self) -> Iterator[Item]:
        return iter(self._between(0, self._len))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Transcript):
            return NotImplemented
        return self is other or (self._len == other._len and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Transcript of {self._len} items, {self.digest[:8]}>"

    def _repr_html_(self) -> str:
        """The last 50 items, in a notebook."""
        lines = [f"... {self._len - 50:,} items before" for _ in range(self._len > 50)]
        for item in self._between(max(0, self._len - 50), self._len):
            kind = (
                item.role
                if isinstance(item, Message)
                else "result"
                if isinstance(item, ToolResult)
                else "turn"
            )
            lines.append(f"{kind}: {getattr(item, 'text', '') or repr(item)}"[:2_000])
        return preformatted("\n\n".join(lines) or "an empty transcript")

    def __copy__(self) -> Transcript:
        return self

    def __deepcopy__(self, memo: object) -> Transcript:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], Transcript], tuple[bytes]]:
        return Transcript.load, (self.dump(),)

    def _position(self, index: int) -> int:
        at = index + self._len if index < 0 else index
        if not 0 <= at < self._len:
            raise IndexError(f"item {index} of a transcript of {self._len}")
        return at

    def _ancestor(self, length: int) -> Transcript:
        node = self
        while node._len > length:
            node = node._jump if node._jump._len >= length else node._parent
        return node

    def _between(self, start: int, stop: int) -> list[Item]:
        node, found = self._ancestor(stop), list[Item]()
        while node._len > start:
            found.append(node._item)
            node = node._parent
        found.reverse()
        return found

    def _slice(self, index: slice) -> Transcript:
        start, stop, step = index.indices(self._len)
        if step != 1:
            raise TranscriptError(f"a slice of a transcript has no step, not {step}")
        stop = max(start, stop)
        end = self._ancestor(stop)
        if start == 0 and stop == self._len:
            return self
        for cut in (start, stop) if start < stop else ():
            parted = self._ancestor(cut)._rules.open_calls
            if cut < self._len and parted:
                raise TranscriptError(f"slice [{start}:{stop}] separates call {parted[0]!r} from its result")
        if start == 0:
            return end
        node, tools = Transcript._root(), self._rules.tools
        for i, item in enumerate(self._between(start, stop), start):
            if isinstance(item, CommittedTurn):
                item = self._with_whole_prompt(item, i)
                if tools is not None:
                    item, tools = msgspec.structs.replace(item, tools=tools), None
            node = node.link(item)
        return node

    def _with_whole_prompt(self, turn: CommittedTurn, at: int) -> CommittedTurn:
        """Return the turn at an index with tokens that do not depend on a turn before it."""
        if turn.tokens is None or not turn.tokens.shared:
            return turn
        turns = (item.tokens for item in self._between(0, at) if isinstance(item, CommittedTurn))
        return msgspec.structs.replace(turn, tokens=with_whole_prompt(turn.tokens, ids_before(turns)))


def _follow(rules: _Rules, item: Item, at: int) -> _Rules:
    """Return the rules after `item` at index `at`. Raises TranscriptError if it breaks the current rules."""
    if isinstance(item, ToolResult):
        _check_parts(item, at)
        return _follow_result(rules, item, at)
    if rules.open_calls:
        raise TranscriptError(f"item {at}: call {rules.open_calls[0]!r} has no result yet")
    if isinstance(item, CommittedTurn):
        calls = tuple(call.id for call in item.tool_calls)
        if len(set(calls)) < len(calls):
            raise TranscriptError(f"item {at}: two calls of this turn have the same id: {list(calls)}")
        tools = item.tools if rules.tools is None else rules.tools
        head_len = at if rules.head_len is None else rules.head_len
        return _Rules(calls, (), rules.standalone, head_len, tools)
    if isinstance(item, Message):
        if item.role not in _ROLES:
            raise TranscriptError(f"item {at}: {item.role!r} is not a role")
        _check_parts(item, at)
        if rules.head_len is not None or item.role in ("system", "developer"):
            return rules
    elif not isinstance(item, Raw):
        raise TranscriptError(f"item {at}: {type(item).__name__} is not an item")
    if rules.head_len is not None:
        return rules
    return msgspec.structs.replace(rules, head_len=at)


def _check_parts(item: Message | ToolResult, at: int) -> None:
    """Check the parts here. Structs check their fields only when they are decoded, which is too late."""
    if type(item.content) is not tuple:
        kind = type(item.content).__name__
        raise TranscriptError(
            f"item {at}: content is {kind}, not a tuple of parts; push_user and similar methods accept both"
        )
    for part in item.content:
        if type(part) not in _PARTS:
            raise TranscriptError(f"item {at}: {type(part).__name__} is not a Text, Image, Document or Raw")


def _follow_result(rules: _Rules, item: ToolResult, at: int) -> _Rules:
    open_calls = rules.open_calls
    if item.call_id in open_calls:
        i = open_calls.index(item.call_id)
        return msgspec.structs.replace(
            rules,
            open_calls=open_calls[:i] + open_calls[i + 1 :],
            answered=(*rules.answered, item.call_id),
        )
    if open_calls:
        raise TranscriptError(
            f"item {at}: {item.call_id!r} is not a call of this turn; open: {list(open_calls)}"
        )
    if item.name is None or item.arguments is None:
        raise TranscriptError(f"item {at}: result {item.call_id!r} has no call before it")
    if item.call_id in rules.answered or any(item.call_id in ids for ids in rules.standalone):
        raise TranscriptError(f"item {at}: it is a second result for tool_result.call_id {item.call_id!r}")
    ids, standalone = frozenset({item.call_id}), rules.standalone
    while standalone and len(standalone[-1]) == len(ids):
        ids, standalone = ids | standalone[-1], standalone[:-1]
    head_len = at if rules.head_len is None else rules.head_len
    return msgspec.structs.replace(rules, standalone=(*standalone, ids), head_len=head_len)
