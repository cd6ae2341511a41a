"""Locked files beside a database. They show other processes that a process lives.

A lock ends when its process ends for any reason, and holds while the process is paused. A process id is not
enough, because containers that share a file number their processes independently.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import final

if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(file: int, *, shared: bool) -> None:
        """Lock the first byte.

        This interface of Windows has no shared lock. Two processes that check a lock at the same time block
        each other for a moment, so the lock is tried again.
        """
        for _ in range(20):
            try:
                return msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(0.005)
        return msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int, *, shared: bool) -> None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


@final
class LockFile:
    """The locked file of one store. It exists from the store's first claim of a call until it is closed."""

    def __init__(self, database: str, runner: int) -> None:
        self._path = _place(database, runner)
        self._file = self._opened()
        _lock(self._file, shared=False)

    def _opened(self, tries: int = 10) -> int:
        """Open the file. Another process may remove the empty folder at the same time."""
        self._path.parent.mkdir(exist_ok=True)
        try:
            return os.open(self._path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileNotFoundError:
            if not tries:
                raise
        return self._opened(tries - 1)

    def release(self) -> None:
        """Release the lock, and remove the file. The file is closed first, because Windows cannot remove an
        open file."""
        os.close(self._file)
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            self._path.parent.rmdir()

    @staticmethod
    def is_held(database: str, runner: int) -> bool:
        """Return whether a living process holds the lock of that runner."""
        try:
            file = os.open(_place(database, runner), os.O_RDONLY)
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's file: the answer is unknown, and a call must not run twice
            return True
        try:
            _lock(file, shared=True)
        except OSError:
            return True
        finally:
            os.close(file)
        return False


def sweep(database: str) -> None:
    """Remove the files of dead processes."""
    folder = Path(f"{database}.runs")
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError, ValueError):
            if not LockFile.is_held(database, int(path.name, 16)):
                path.unlink()


def _place(database: str, runner: int) -> Path:
    return Path(f"{database}.runs", f"{runner:016x}")
