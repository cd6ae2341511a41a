"""Locked files beside a database, by which other processes see that a process lives.

A lock ends with its process, whatever kills it, and holds while the process is paused. A process id would not
do: containers that share a file number their processes independently.
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

        Windows has no shared lock here, so that two processes which look at the same time meet for a moment.
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
    """The locked file of one store. It is there while the store is open and has claimed a call."""

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
        """Let the lock go, and remove the file. Windows removes no file that is open."""
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
        except PermissionError:  # another user's: it cannot be known, and a call must not run twice
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
