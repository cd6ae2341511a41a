"""Operations on branches, each inside one transaction. No tasks, no threads.

A branch has a name, a head and former heads. The head is the transcript that the branch holds now. A head
becomes a former head when the branch moves to a transcript that does not continue it. The tree of a branch
consists of all items of its head and of its former heads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar, final

import msgspec
from msgspec import Struct

from lutum._turn.bills import TurnBill
from lutum._values.errors import BranchExists, NoSuchBranch, RoundOpen, StaleBranch, StoreCorrupt, StoreValue
from lutum._values.items import Item
from lutum._values.results import Tokens, Usage
from lutum._values.transcript import Transcript
from lutum.store._database import Row, Transaction
from lutum.store._nodes import ROOT, Nodes, ancestor, holding, raw

B = TypeVar("B")


class BranchInfo(Struct, frozen=True):
    """The description of a branch, without its items.

    Attributes:
      head: the digest of its head.
      items: the number of items of the head.
      size: the number of bytes of the head's items as JSON lines, before the codec encodes them.
      metadata: the metadata that `create` or `fork` was called with.
      created, updated: the times, by the clocks of the processes that wrote them.
      origin: the name of the branch from which this branch was forked; None if it is not a fork.
      origin_items: the number of items that this branch had when it was forked; 0 if it is not a fork.
      open_round: whether the branch holds an open round.
    """

    name: str
    head: str
    items: int
    size: int
    metadata: dict[str, str]
    created: datetime
    updated: datetime
    origin: str | None
    origin_items: int
    open_round: bool


class Sibling(Struct, frozen=True):
    """One of the alternative items at one index of a branch.

    Attributes:
      item: the item.
      digest: the digest of the transcript that ends with the item; `branch.at` reads the transcript.
      tip: the digest of a transcript that contains the item: the head if it contains the item, otherwise the
        newest former head that does.
      current: whether the branch's head contains the item.
    """

    item: Item
    digest: str
    tip: str
    current: bool


class BilledTurn(Struct, frozen=True):
    """The record of one turn that was paid for, committed or not.

    Attributes:
      turn: its random id.
      at: the time when it was settled.
      usage: its charge.
      error: the class of the error that ended it; empty for a turn that completed.
      digest: the digest of the transcript that ends with the turn; None if the turn was not committed.
      tokens: its token ids and log probabilities, if the server sends them. `tokens.prompt` contains only the
        prompt's ids after those that the previous turn has too; see `Tokens`.
    """

    turn: str
    at: datetime
    adapter: str
    model: str
    usage: Usage
    error: str
    digest: str | None
    tokens: Tokens | None


@final
class BranchRow(Struct, frozen=True):
    """The row of a branch, as a transaction read it."""

    id: int
    name: str
    head: bytes
    length: int


_INFO = """
select b.name, b.head, n.length, n.size, b.metadata, b.created, b.updated, b.origin, b.origin_length,
    exists (select 1 from lutum_round r where r.branch = b.id)
from lutum_branch b join lutum_node n on n.digest = b.head
"""


def find(at: Transaction, name: str, *, lock: bool = False) -> BranchRow:
    """Return a branch. With `lock`, no other transaction can change it until this transaction ends.

    Raises:
      NoSuchBranch: no branch has that name.
    """
    # The lock is taken first, so that the head is read after other transactions have moved it.
    if lock:
        at.rows("select id from lutum_branch where name = ? for update", name)
    rows = at.rows(
        "select b.id, b.head, n.length from lutum_branch b join lutum_node n on n.digest = b.head"
        " where b.name = ?",
        name,
    )
    if not rows:
        raise NoSuchBranch(f"branch {name!r}: the store has no such branch")
    return BranchRow(int(rows[0][0]), name, bytes(rows[0][1]), int(rows[0][2]))


def create(
    at: Transaction,
    name: str,
    metadata: Mapping[str, str],
    head: bytes = ROOT,
    origin: str | None = None,
    origin_length: int = 0,
) -> None:
    """Insert a branch.

    Raises:
      BranchExists: a branch with that name exists.
    """
    now = time.time()
    made = at.run(
        "insert into lutum_branch (name, head, metadata, origin, origin_length, created, updated)"
        " values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
        name,
        head,
        msgspec.json.encode(dict(metadata)).decode(),
        origin,
        origin_length,
        now,
        now,
    )
    if not made:
        raise BranchExists(f"branch {name!r}: the store has it already")


def info(at: Transaction, name: str) -> BranchInfo:
    """Return the description of a branch. Raises NoSuchBranch."""
    rows = at.rows(f"{_INFO} where b.name = ?", name)
    if not rows:
        raise NoSuchBranch(f"branch {name!r}: the store has no such branch")
    return _info(rows[0])


def infos(at: Transaction, prefix: str, after: str | None, limit: int) -> list[BranchInfo]:
    """Return the branches whose names begin with `prefix` and follow `after`, by name."""
    # substr and not like, because % and _ in a prefix are ordinary characters.
    where = "where substr(b.name, 1, ?) = ? and b.name > ? order by b.name limit ?"
    rows = at.rows(f"{_INFO} {where}", len(prefix), prefix, after or "", limit)
    return [_info(row) for row in rows]


def delete(at: Transaction, name: str) -> None:
    """Delete a branch, its bills and its open round; nodes stay until `vacuum`. Raises NoSuchBranch."""
    if not at.run("delete from lutum_branch where name = ?", name):
        raise NoSuchBranch(f"branch {name!r}: the store has no such branch")


def save(
    at: Transaction,
    nodes: Nodes,
    name: str,
    target: Transcript,
    expected: Transcript | None,
    bills: tuple[TurnBill, ...],
    *,
    whole: bool = False,
) -> None:
    """Move the head to `target`, and insert the items of `target` that the store lacks.

    Args:
      expected: the transcript that must be the head now. It is not checked if `target` begins with the
        present head, because the move then loses nothing.
      whole: insert every node, also those that this process believes to be stored, because `vacuum` may have
        removed them.

    Raises:
      StaleBranch: the head is neither `expected` nor a beginning of `target`.
      RoundOpen: the branch holds an open round that `target` does not contain.
    """
    branch = find(at, name, lock=True)
    if branch.head != raw(target):
        grown = _begins_with(target, branch.head, branch.length)
        if not grown and (expected is None or raw(expected) != branch.head):
            raise _stale(at, nodes, branch, target if expected is None else expected)
        _pass_round(at, branch, target)
        known = target.prefix(branch.length) if grown else target.common_prefix(expected or Transcript())
        nodes.insert(at, target, Transcript() if whole else known)
        _set_head(at, branch, raw(target), target)
    write_bills(at, nodes, branch.id, bills)


def write_bills(at: Transaction, nodes: Nodes, branch: int, bills: tuple[TurnBill, ...]) -> None:
    """Insert bills.

    If a bill is already stored, its usage and error are replaced. Its tokens and the digest of its committed
    turn are replaced only if the new bill has them.
    """
    rows = [
        (
            bill.turn,
            branch,
            None if bill.committed is None or (turn := bill.committed()) is None else raw(turn),
            bill.at.timestamp(),
            bill.adapter,
            bill.model,
            bill.error,
            nodes.codec.encode(msgspec.json.encode(bill.usage)),
            None if bill.tokens is None else nodes.codec.encode(msgspec.json.encode(bill.tokens)),
        )
        for bill in bills
    ]
    if rows:
        at.many(
            "insert into lutum_bill (turn, branch, digest, at, adapter, model, error, usage, tokens)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (turn) do update set"
            " digest = coalesce(excluded.digest, lutum_bill.digest), usage = excluded.usage,"
            " error = excluded.error, tokens = coalesce(excluded.tokens, lutum_bill.tokens)",
            rows,
        )


def move(at: Transaction, nodes: Nodes, name: str, to: bytes, expected: bytes) -> Transcript:
    """Move the head to a node of the branch's tree, and return the transcript that ends in this node."""
    branch = find(at, name, lock=True)
    target = own(at, nodes, branch, to)
    if branch.head == to:
        return target
    if branch.head != expected:
        raise _stale(at, nodes, branch, nodes.load(at, expected))
    _pass_round(at, branch, target)
    _set_head(at, branch, to, target)
    return target


def own(at: Transaction, nodes: Nodes, branch: BranchRow, digest: bytes) -> Transcript:
    """Return the transcript of a digest that is in the branch's tree.

    Raises:
      StoreValue: the digest is not in the branch's tree.
    """
    if not holding(at, digest, tips(at, branch)):
        raise StoreValue("digest", f"branch {branch.name!r} never held {digest.hex()!r}")
    return nodes.load(at, digest)


def tips(at: Transaction, branch: BranchRow) -> list[bytes]:
    """Return the head of a branch, followed by its former heads, the newest first."""
    rows = at.rows("select tip from lutum_left where branch = ? order by at desc, tip", branch.id)
    return [branch.head, *(bytes(row[0]) for row in rows)]


def siblings(at: Transaction, nodes: Nodes, name: str, index: int) -> list[Sibling]:
    """Return the alternatives at `index`, the oldest first.

    They are the head's item, and the items of those former heads whose items before `index` are the same as
    the head's.
    """
    branch = find(at, name)
    here = ancestor(at, branch.head, index + 1)
    parent = here[1] if here is not None else branch.head if branch.length == index else None
    if parent is None or index < 0:
        raise StoreValue("index", f"{index} is not an index; the branch has {branch.length} items")
    found = dict[bytes, bytes]()
    for tip in tips(at, branch):
        node = ancestor(at, tip, index + 1)
        if node is not None and node[1] == parent:
            found.setdefault(node[0], tip)
    made = [
        (node, tip, at.rows("select created from lutum_node where digest = ?", node)[0][0])
        for node, tip in found.items()
    ]
    made.sort(key=lambda one: (one[2], one[0]))
    return [
        Sibling(nodes.load(at, node)[index], node.hex(), tip.hex(), here is not None and node == here[0])
        for node, tip, _ in made
    ]


def usage(at: Transaction, nodes: Nodes, name: str) -> Usage:
    """Return the sum of a branch's bills."""
    branch = find(at, name)
    rows = at.rows("select turn, usage from lutum_bill where branch = ?", branch.id)
    return sum((_read_bill(nodes, row[0], row[1], Usage) for row in rows), Usage())


def turns(at: Transaction, nodes: Nodes, name: str) -> list[BilledTurn]:
    """Return a branch's bills, the oldest first."""
    branch = find(at, name)
    rows = at.rows(
        "select turn, at, adapter, model, usage, error, digest, tokens from lutum_bill where branch = ?"
        " order by at, turn",
        branch.id,
    )
    return [
        BilledTurn(
            turn,
            datetime.fromtimestamp(when, UTC),
            adapter,
            model,
            _read_bill(nodes, turn, usage, Usage),
            error,
            None if digest is None else bytes(digest).hex(),
            None if tokens is None else _read_bill(nodes, turn, tokens, Tokens),
        )
        for turn, when, adapter, model, usage, error, digest, tokens in rows
    ]


def _read_bill(nodes: Nodes, turn: str, stored: bytes, kind: type[B]) -> B:
    try:
        return msgspec.json.decode(nodes.codec.decode(bytes(stored)), type=kind)
    except Exception as exc:
        raise StoreCorrupt(f"store: the bill of turn {turn} is damaged: {exc}") from exc


def vacuum(at: Transaction, before: float) -> int:
    """Delete the nodes that no branch can reach and that are older than a time. Return their number."""
    return at.run(
        """
        with recursive live (digest) as (
            select head from lutum_branch
            union select tip from lutum_left
            union select base from lutum_round
            union select digest from lutum_node where created >= ? or length = 0
            union select n.parent from lutum_node n join live l on n.digest = l.digest
                where n.parent is not null
        )
        delete from lutum_node
        where digest in (select digest from lutum_node except select digest from live)
        """,
        before,
    )


def _set_head(at: Transaction, branch: BranchRow, head: bytes, target: Transcript) -> None:
    now = time.time()
    if not _begins_with(target, branch.head, branch.length):
        at.run(
            "insert into lutum_left (branch, tip, at) values (?, ?, ?)"
            " on conflict (branch, tip) do update set at = excluded.at",
            branch.id,
            branch.head,
            now,
        )
    left = at.rows(
        "select l.tip, n.length from lutum_left l join lutum_node n on n.digest = l.tip where l.branch = ?",
        branch.id,
    )
    for tip, length in left:
        if _begins_with(target, bytes(tip), int(length)):  # the new head continues this former head
            at.run("delete from lutum_left where branch = ? and tip = ?", branch.id, bytes(tip))
    at.run("update lutum_branch set head = ?, updated = ? where id = ?", head, now, branch.id)


def _pass_round(at: Transaction, branch: BranchRow, target: Transcript) -> None:
    """Drop the open round if `target` contains it. Raise RoundOpen if `target` does not contain it."""
    rows = at.rows("select turn, turn_length from lutum_round where branch = ?", branch.id)
    if not rows:
        return
    turn, length = bytes(rows[0][0]), int(rows[0][1])
    if len(target) < length or target.prefix(length).digest != turn.hex():
        raise RoundOpen(
            f"branch {branch.name!r}: it holds an open round that this transcript does not contain;"
            " commit the round first, or drop it with branch.discard()"
        )
    at.run("delete from lutum_round where branch = ?", branch.id)


def _stale(at: Transaction, nodes: Nodes, branch: BranchRow, expected: Transcript) -> StaleBranch:
    found = nodes.load(at, branch.head)
    common = len(found.common_prefix(expected))
    return StaleBranch(
        f"branch {branch.name!r}: its head is {found.digest} with {len(found)} items, not {expected.digest}"
        f" with {len(expected)}; both begin with the same {common}. branch.pull() gives the new head",
        expected=expected.digest,
        found=found.digest,
        common=common,
    )


def _begins_with(target: Transcript, digest: bytes, length: int) -> bool:
    return length <= len(target) and target.prefix(length).digest == digest.hex()


def _info(row: Row) -> BranchInfo:
    name, head, items, size, metadata, created, updated, origin, origin_items, open_round = row
    return BranchInfo(
        name,
        bytes(head).hex(),
        int(items),
        int(size),
        msgspec.json.decode(metadata, type=dict[str, str]),
        datetime.fromtimestamp(created, UTC),
        datetime.fromtimestamp(updated, UTC),
        origin,
        int(origin_items),
        bool(open_round),
    )
