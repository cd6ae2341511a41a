"""The folder of a run: `run.json` says what it is, `results.jsonl` holds a line for each finished trial, and
`traces/` the trace of each.

A trial is finished when its line is whole. The trace is written before, and by another name first, so a
process that is killed anywhere leaves nothing half but the last line, which the next run cuts off. Only
one process writes at a time: the operating system's lock ends with whoever holds it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Self, final

import msgspec
from msgspec import Struct

from lutum._values.errors import BadValue, UsageError
from lutum.eval._dataset import Case, digest_of
from lutum.eval._results import TrialResult

if sys.platform != "win32":
    import fcntl

_FORMAT = 1


class RunInfo(Struct, frozen=True, kw_only=True):
    """What `run.json` holds."""

    format: int = _FORMAT
    started: str = ""
    threshold: float = 1.0


@final
class RunFolder:
    """A run's folder, open for adding results."""

    def __init__(self, path: Path, info: RunInfo) -> None:
        """Opens it, and makes it where it is not.

        Raises:
          UsageError: another process writes into it.
          BadValue: it holds something else.
        """
        self.path = path
        (path / "traces").mkdir(parents=True, exist_ok=True)
        self._file = FileIO(path / "results.jsonl", "a+")
        try:
            _lock(self._file, path)
            known = _read_info(path)
            info = msgspec.structs.replace(info, started=known.started if known else _now())
            _replace(path / "run.json", msgspec.json.format(msgspec.json.encode(info)) + b"\n")
            own, whole = _read_results(path)
            self._file.truncate(whole)
            self.results = _merged(path, own)
        except BaseException:
            self._file.close()
            raise
        self._digests = {(result.case, result.trial): result.digest for result in self.results}

    def holds(self, case: Case, trial: int) -> bool:
        """Whether that trial is finished.

        Raises:
          BadValue: a case of that id was, but another one.
        """
        digest = self._digests.get((case.id, trial))
        if digest is not None and digest != digest_of(case):
            raise BadValue("into", f"{self.path} holds results of another case {case.id!r}; use a new folder")
        return digest is not None

    def add(self, result: TrialResult, trace: bytes) -> None:
        """Keep a trial: finished from the moment its line is written."""
        if result.trace is not None:
            _replace(self.path / result.trace, trace)
        line = msgspec.json.encode(result) + b"\n"
        while line:
            line = line[self._file.write(line) or 0 :]

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_run(path: Path) -> tuple[RunInfo, list[TrialResult]]:
    """A run as its folder has it, also while it goes on."""
    info = _read_info(path)
    if info is None:
        raise BadValue("path", f"{path} is no folder of a run: it has no run.json")
    return info, _merged(path, _read_results(path)[0])


def shard_path(path: Path, number: int) -> Path:
    """Return the folder of one call on an executor, under the folder of its run."""
    return path / "shards" / f"{number:04d}"


def _merged(path: Path, own: list[TrialResult]) -> list[TrialResult]:
    """The results of a folder and of its shards; of a trial that ran twice, the first."""
    found = {(result.case, result.trial): result for result in own}
    for shard in sorted((path / "shards").glob("*")):
        for result in _read_results(shard)[0]:
            name = result.trace and f"{shard.relative_to(path).as_posix()}/{result.trace}"
            found.setdefault((result.case, result.trial), msgspec.structs.replace(result, trace=name))
    return list(found.values())


def trace_name(case: str, trial: int) -> str:
    """A file for a trial's trace: readable, unique for the id, and safe on every file system."""
    word = re.sub(r"[^A-Za-z0-9_]+", "-", case).strip("-")[:40] or "case"
    digest = hashlib.blake2s(case.encode(), digest_size=5).hexdigest()
    return f"traces/{word}-{digest}.{trial}.jsonl"


def _read_info(path: Path) -> RunInfo | None:
    file = path / "run.json"
    if not file.exists():
        return None
    try:
        info = msgspec.json.decode(file.read_bytes(), type=RunInfo)
    except msgspec.MsgspecError as exc:
        raise BadValue("path", f"{file} is not of a run: {exc}") from None
    if info.format != _FORMAT:
        raise BadValue("path", f"{file} has format {info.format}; this lutum reads {_FORMAT}")
    return info


def _read_results(path: Path) -> tuple[list[TrialResult], int]:
    """The whole lines, and how many bytes they are; what is behind them was being written."""
    file = path / "results.jsonl"
    data = file.read_bytes() if file.exists() else b""
    whole = data.rfind(b"\n") + 1
    results = dict[tuple[str, int], TrialResult]()
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
        try:
            result = msgspec.json.decode(line, type=TrialResult)
        except msgspec.MsgspecError as exc:
            raise BadValue("path", f"{file}:{number} is no result: {exc}") from None
        if results.setdefault((result.case, result.trial), result) is not result:
            raise BadValue("path", f"{file}:{number} repeats trial {result.trial} of {result.case!r}")
    return list(results.values()), whole


def _replace(path: Path, data: bytes) -> None:
    """Write a file that is never seen half."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _lock(file: FileIO, path: Path) -> None:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"into: another run writes into {path}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
