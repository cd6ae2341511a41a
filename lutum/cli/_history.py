"""A chat on disk: one file that is only appended to, with every branch in it.

    {"lutum":"transcript","version":1}
    {"item":{"type":"message","role":"user",...},"digest":"9f..."}
    {"item":{"type":"turn",...},"digest":"03..."}
    {"branch":"pirate","at":"9f..."}
    {"item":{...},"digest":"41..."}

An item line, as in a transcript's file, is the next item of the current branch. A branch line makes a branch
current, with the digest of its last item. Branches share their common beginning, and undo is a branch line
too, so that a stored item never leaves the file. Without branch lines the file is a transcript, which
`Transcript.load` reads.

Text behind the last line end comes from a process that was killed while it wrote. It is left out, because
that process had not reported the item as stored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, final

import msgspec

from lutum import Transcript, TranscriptError, UsageError
from lutum._values.persistence import check_header, read_line

MAIN = "main"
"""The branch of a file that names none."""

_EMPTY = Transcript()
_HEADER = _EMPTY.dump()


class HistoryError(UsageError):
    """A file that another chat is writing to."""


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    branch: str
    at: str


_decode_mark = msgspec.json.Decoder(_Mark).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Tree:
    """The content of a file: its branches, by name and in order; the current one; the number of items that
    no branch has any more; and the number of bytes in whole lines."""

    branches: dict[str, Transcript]
    current: str = MAIN
    taken_back: int = 0
    size: int = 0


def read(data: bytes) -> Tree:
    """Return the branches of a file. No I/O.

    Raises:
      TranscriptError: no such file, a newer version, or a line that was altered; the message names the line.
    """
    *lines, _torn = data.split(b"\n")
    if not lines:
        if not _HEADER.startswith(data):
            raise TranscriptError("line 1: not a lutum transcript")
        return Tree({MAIN: _EMPTY})
    check_header(lines[0])
    known = {_EMPTY.digest: _EMPTY}
    current, here = MAIN, _EMPTY
    branches = {MAIN: _EMPTY}
    for number, line in enumerate(lines[1:], 2):
        try:
            if line.startswith(b'{"branch"'):
                mark = _decode_mark(line)
                if mark.at not in known:
                    raise TranscriptError(f"no item before it has the digest {mark.at!r}")
                current, here = mark.branch, known[mark.at]
            else:
                here = read_line(line, here)
                # If an undone message is sent again, the nodes behind it stay the same objects.
                here = known.setdefault(here.digest, here)
        except (msgspec.MsgspecError, UnicodeError, TranscriptError) as exc:
            raise TranscriptError(f"line {number}: {exc}") from exc
        branches[current] = here
    size = sum(len(line) + 1 for line in lines)
    return Tree(branches, current, len(known) - len(_nodes(branches)), size)


def _nodes(branches: dict[str, Transcript]) -> set[str]:
    """The digests of everything that a branch holds, with that of nothing."""
    found = {_EMPTY.digest}
    for transcript in branches.values():
        found |= {digest for _, digest in transcript.with_digests()}
    return found


def load(path: Path) -> Tree:
    """The branches of a file, which is not changed.

    Raises:
      TranscriptError: as `read`; the message names the file.
      OSError: it cannot be read.
    """
    try:
        return read(path.read_bytes())
    except TranscriptError as exc:
        raise TranscriptError(f"{path}: {exc}") from exc


@final
class History:
    """A file that is open for one chat; it is made, and locked, when it is opened.

    Raises:
      HistoryError: another chat has it open.
      TranscriptError: as `load`.
      OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            if not _locked(self._file):
                raise HistoryError(f"{path} is open in another chat: end that one, or name another file")
            self.tree = load(path)
            if self.tree.size < self._file.seek(0, os.SEEK_END):
                self._file.truncate(self.tree.size)
        except BaseException:
            self._file.close()
            raise

    def append(self, before: Transcript, after: Transcript, session: object = None) -> None:
        """Store what a branch has grown by. When it returns, a power cut does not undo it.

        Raises:
          TranscriptError: an item that no file could hold; nothing was written.
          OSError: it cannot be written.
        """
        self._write(after.dump(since=before))

    def mark(self, branch: str, at: Transcript) -> None:
        """Store that this branch is current, with its last item. Raises OSError."""
        self._write(_encode(_Mark(branch, at.digest)) + b"\n")

    def close(self) -> None:
        """Let another chat have it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        start = self._file.seek(0, os.SEEK_END)
        view = memoryview(data if start else _HEADER + data)
        try:
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except BaseException:  # a full disk, or Ctrl-C: half a line would spoil the next one
            self._file.truncate(start)
            raise


def _locked(file: BinaryIO) -> bool:
    """Lock the file until it is closed. Return False if another process holds the lock. On systems without
    locks return True."""
    try:
        import fcntl
    except ImportError:  # Windows: the file can be opened twice
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
