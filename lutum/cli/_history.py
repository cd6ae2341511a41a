"""A chat on disk: one append-only file that contains all branches.

    {"lutum":"transcript","version":1}
    {"item":{"type":"message","role":"user",...},"digest":"9f..."}
    {"item":{"type":"turn",...},"digest":"03..."}
    {"branch":"pirate","at":"9f..."}
    {"item":{...},"digest":"41..."}

An item line contains the next item of the current branch, in the format of a transcript's file. A branch
line names the branch that becomes current, and the digest of its last item. Branches share the lines of
their common beginning. An undo writes a branch line too, so that a stored item never leaves the file. A file
without branch lines is a transcript, which `Transcript.load` reads.

Text after the last line end comes from a process that was killed while it wrote. This text is ignored,
because the process had not reported the item as stored.
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
"""The name of the first branch. A file without branch lines has only this branch."""

_EMPTY = Transcript()
_HEADER = _EMPTY.dump()


class HistoryError(UsageError):
    """Another chat has the file open."""


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    branch: str
    at: str


_decode_mark = msgspec.json.Decoder(_Mark).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Tree:
    """The content of a file.

    Attributes:
      branches: the transcript of each branch, by name, in the file's order.
      current: the name of the current branch.
      taken_back: the number of items that no branch contains any more.
      size: the number of bytes in complete lines.
    """

    branches: dict[str, Transcript]
    current: str = MAIN
    taken_back: int = 0
    size: int = 0


def read(data: bytes) -> Tree:
    """Return the branches of a file. No I/O.

    Raises:
      TranscriptError: the data is not a lutum transcript, has a newer version, or has an altered line; the
        message names the line.
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
                    raise TranscriptError(f"no earlier item has the digest {mark.at!r}")
                current, here = mark.branch, known[mark.at]
            else:
                here = read_line(line, here)
                # If an undone message is sent again, its first transcript object is used again.
                here = known.setdefault(here.digest, here)
        except (msgspec.MsgspecError, UnicodeError, TranscriptError) as exc:
            raise TranscriptError(f"line {number}: {exc}") from exc
        branches[current] = here
    size = sum(len(line) + 1 for line in lines)
    return Tree(branches, current, len(known) - len(_nodes(branches)), size)


def _nodes(branches: dict[str, Transcript]) -> set[str]:
    """Return the digests of all items of all branches, and the digest of the empty transcript."""
    found = {_EMPTY.digest}
    for transcript in branches.values():
        found |= {digest for _, digest in transcript.with_digests()}
    return found


def load(path: Path) -> Tree:
    """Return the branches of a file. The file is not changed.

    Raises:
      TranscriptError: as `read`; the message names the file.
      OSError: the file cannot be read.
    """
    try:
        return read(path.read_bytes())
    except TranscriptError as exc:
        raise TranscriptError(f"{path}: {exc}") from exc


@final
class History:
    """A file that is open for one chat. The constructor creates the file if it is missing, and locks it.

    Raises:
      HistoryError: another chat has the file open.
      TranscriptError: as `load`.
      OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            if not _locked(self._file):
                raise HistoryError(f"{path} is open in another chat; end that chat, or name another file")
            self.tree = load(path)
            if self.tree.size < self._file.seek(0, os.SEEK_END):
                self._file.truncate(self.tree.size)
        except BaseException:
            self._file.close()
            raise

    def append(self, before: Transcript, after: Transcript, session: object = None) -> None:
        """Store the new items of a branch. Items survive a power cut after this method has returned.

        Raises:
          TranscriptError: an item cannot be stored in a file; nothing was written.
          OSError: the file cannot be written.
        """
        self._write(after.dump(since=before))

    def mark(self, branch: str, at: Transcript) -> None:
        """Store that this branch is current, and the digest of its last item. Raises OSError."""
        self._write(_encode(_Mark(branch, at.digest)) + b"\n")

    def close(self) -> None:
        """Close the file and release its lock."""
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
        except BaseException:  # a full disk, or Ctrl-C: a partial line would spoil the next line
            self._file.truncate(start)
            raise


def _locked(file: BinaryIO) -> bool:
    """Lock the file until it is closed. Return False if another process holds the lock. Return True on
    systems without file locks."""
    try:
        import fcntl
    except ImportError:  # Windows: the file can be opened twice
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
