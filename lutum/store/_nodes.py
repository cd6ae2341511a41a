"""Nodes: one row for each item, which branches share. The key is the digest of all items up to this item.

A load reads only the rows that this process lacks. Transcripts that are alive in the process are found by the
digests of their nodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol, final
from weakref import WeakValueDictionary

from lutum._values.errors import StoreCorrupt, TranscriptError
from lutum._values.persistence import read_line
from lutum._values.transcript import Transcript
from lutum.store._database import Row, Transaction

ROOT = bytes.fromhex(Transcript().digest)

_FIRST_BATCH = 64
_LAST_BATCH = 4096

_CHAIN = """
with recursive chain (digest, parent, length, line) as (
    select digest, parent, length, line from lutum_node where digest = ?
    union all
    select n.digest, n.parent, n.length, n.line from lutum_node n join chain c on n.digest = c.parent
    where c.length > ?
)
select digest, parent, length, line from chain order by length desc
"""

_ANCESTOR = """
with recursive chain (digest, parent, length) as (
    select digest, parent, length from lutum_node where digest = ?
    union all
    select n.digest, n.parent, n.length from lutum_node n join chain c on n.digest = c.parent
    where c.length > ?
)
select digest, parent from chain where length = ?
"""


class Codec(Protocol):
    """Converts stored data to other bytes, for example encrypted bytes, and back."""

    def encode(self, data: bytes) -> bytes:
        """Return the bytes to store."""
        ...

    def decode(self, data: bytes) -> bytes:
        """Return the bytes that were given to `encode`. If it raises, the row counts as damaged."""
        ...


@final
class Plain:
    """The codec that changes nothing."""

    def encode(self, data: bytes) -> bytes:
        return data

    def decode(self, data: bytes) -> bytes:
        return data


@final
class Nodes:
    """Reads and writes chains of nodes, and remembers the transcripts of this process.

    `read` and `written` count rows.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.read: int = 0
        self.written: int = 0
        self._known = WeakValueDictionary[bytes, Transcript]()
        self._root = Transcript()

    def remember(self, transcript: Transcript, since: int = 0) -> None:
        """Remember the nodes after the first `since` items, so that no load reads them again."""
        node = transcript
        while len(node) > since:
            self._known[raw(node)] = node
            node = node.prefix(len(node) - 1)

    def insert(self, at: Transaction, transcript: Transcript, since: Transcript) -> None:
        """Insert the nodes after `since`, which is stored already. Nodes that are stored are not changed.

        Raises:
          Missing: `since` is not stored.
        """
        if len(transcript) == len(since):
            return
        rows, now = list[Row](), time.time()
        parent, size = raw(since), _size(at, raw(since))
        lines = transcript.dump(since=since).split(b"\n")[:-1]
        for (_, digest), line in zip(transcript.with_digests(len(since)), lines, strict=True):
            node = bytes.fromhex(digest)
            size += len(line)
            stored = self.codec.encode(line)
            rows.append((node, parent, len(since) + len(rows) + 1, size, stored, now))
            parent = node
        at.many(
            "insert into lutum_node (digest, parent, length, size, line, created) values (?, ?, ?, ?, ?, ?)"
            " on conflict do nothing",
            rows,
        )
        self.written += len(rows)
        self.remember(transcript, len(since))

    def load(self, at: Transaction, digest: bytes) -> Transcript:
        """Return the transcript that ends in a node.

        Raises:
          StoreCorrupt: a row is missing or damaged; the message names it.
        """
        rows, above, batch = list[Row](), digest, _FIRST_BATCH
        known = self._find(above)
        while known is None:
            found = at.rows(_CHAIN, above, max(0, self._length(at, above) - batch))
            if not found:
                raise StoreCorrupt(f"store: the row of item {above.hex()} is missing")
            for row in found:
                above = bytes(row[0])
                if (known := self._find(above)) is not None:
                    break
                rows.append(row)
                if row[1] is None:
                    raise StoreCorrupt(f"store: the row of item {above.hex()} has lost its parent")
                above = bytes(row[1])
            if known is None:
                known = self._find(above)
            batch = min(batch * 4, _LAST_BATCH)
        self.read += len(rows)
        transcript, start = known, len(known)
        for row in reversed(rows):
            transcript = self._read(transcript, bytes(row[0]), bytes(row[3]))
        self.remember(transcript, start)
        return transcript

    def _find(self, digest: bytes) -> Transcript | None:
        return self._root if digest == ROOT else self._known.get(digest)

    def _read(self, before: Transcript, digest: bytes, stored: bytes) -> Transcript:
        where = f"store: the row of item {len(before)}, {digest.hex()}, is damaged"
        try:
            transcript = read_line(self.codec.decode(stored), before)
        except TranscriptError as exc:
            raise StoreCorrupt(f"{where}: {exc}") from exc
        except Exception as exc:
            raise StoreCorrupt(f"{where}: the codec raised {type(exc).__name__}: {exc}") from exc
        if raw(transcript) != digest:
            raise StoreCorrupt(f"{where}: it holds another item")
        return transcript

    def _length(self, at: Transaction, digest: bytes) -> int:
        rows = at.rows("select length from lutum_node where digest = ?", digest)
        return int(rows[0][0]) if rows else 0


def raw(transcript: Transcript) -> bytes:
    """Return the digest of a transcript as it is stored."""
    return bytes.fromhex(transcript.digest)


def ancestor(at: Transaction, digest: bytes, length: int) -> tuple[bytes, bytes | None] | None:
    """Return the digest of a node's ancestor with that length, and the digest of the ancestor's parent."""
    for row in at.rows(_ANCESTOR, digest, length, length):
        return bytes(row[0]), None if row[1] is None else bytes(row[1])
    return None


def holding(at: Transaction, digest: bytes, tips: Iterable[bytes]) -> bool:
    """Return whether a node is one of the nodes `tips`, or an ancestor of one of them."""
    rows = at.rows("select length from lutum_node where digest = ?", digest)
    if not rows:
        return False
    length = int(rows[0][0])
    return any((found := ancestor(at, tip, length)) is not None and found[0] == digest for tip in tips)


def _size(at: Transaction, digest: bytes) -> int:
    rows = at.rows("select size from lutum_node where digest = ?", digest)
    return int(rows[0][0]) if rows else 0
