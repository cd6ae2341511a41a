"""The files by which other processes see that a process lives: as on POSIX, and as on Windows.

The Windows branch runs here on a stand-in for `msvcrt` that locks a byte exclusively, as Windows does.
`pyright --pythonplatform Windows` checks its types.
"""

import fcntl
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import lutum.store._lock_file as posix


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as Windows loads it."""
    msvcrt: Any = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2
    msvcrt.calls = []

    def locking(file: int, mode: int, size: int) -> None:
        msvcrt.calls.append((mode, size))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlink(path: Path) -> None:
        """Refuse to remove a file that this process has open."""
        for number in os.listdir("/proc/self/fd"):
            try:
                there = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue
            if there == str(path):
                raise PermissionError(path)
        os.unlink(path)

    msvcrt.locking = locking
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("lock_file_of_windows", posix.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(Path, "unlink", unlink)
    yield module
    assert msvcrt.calls
    assert set(msvcrt.calls) == {(2, 1)}


@pytest.fixture(params=["posix", "windows"])
def module(request: pytest.FixtureRequest) -> Any:
    return posix if request.param == "posix" else request.getfixturevalue("windows")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc shows which files are open")
def test_a_lock_is_seen_and_ends(module: Any, tmp_path: Path) -> None:
    """A held lock is seen as held, as often as one looks; a released one leaves no file and no folder."""
    database = str(tmp_path / "store.db")
    assert not module.LockFile.is_held(database, 7)
    lock = module.LockFile(database, 7)
    assert module.LockFile.is_held(database, 7)
    assert module.LockFile.is_held(database, 7)
    assert not module.LockFile.is_held(database, 8)
    module.sweep(database)
    assert module.LockFile.is_held(database, 7)
    lock.release()
    assert not module.LockFile.is_held(database, 7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc shows which files are open")
def test_the_file_of_a_dead_process_is_swept(module: Any, tmp_path: Path) -> None:
    """The system releases the lock of a process that died; its file is removed by the next sweep."""
    database = str(tmp_path / "store.db")
    lock = module.LockFile(database, 7)
    os.close(lock._file)
    left = tmp_path / "store.db.runs" / f"{7:016x}"
    assert left.exists()
    assert not module.LockFile.is_held(database, 7)
    module.sweep(database)
    assert not left.exists()
