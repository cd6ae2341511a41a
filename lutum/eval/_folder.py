"""The folder of a run: `run.json` describes the run, `results.jsonl` has a line for each finished trial, and
`traces/` has the trace of each trial.

A trial is finished when its line is complete. Its trace is written before the line, under a temporary name
first. So if the process is killed, only the last line can be incomplete, and the next run cuts it off. Only
one process writes at a time. The operating system releases the lock when the process that holds it ends.
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
from msgspec.structs import replace

from lutum._values.errors import BadValue, UsageError
from lutum.eval._dataset import Case, digest_of
from lutum.eval._identity import same_python
from lutum.eval._results import TrialResult, better

if sys.platform != "win32":
    import fcntl

_FORMAT = 2


class RunSession(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of `run` into a folder: its start time, the versions, and the commit."""

    started: str = ""
    versions: dict[str, str] = {}
    commit: str = ""


class RunInfo(Struct, frozen=True, kw_only=True):
    """The content of `run.json`.

    Attributes:
      arm: the name of the arm, in a grid.
      place: the position of the arm among the arms.
      task: the name of the task, and a digest of its code.
      model: adapter, model and endpoint.
      judge: the same for the judge, if it is another `Lutum`.
      scorers: each scorer by its name, with its function and a digest of its code.
      sessions: each call of `run` into the folder, in order.
    """

    format: int = _FORMAT
    started: str = ""
    threshold: float = 1.0
    arm: str = ""
    place: int = 0
    task: str = ""
    model: str = ""
    judge: str = ""
    scorers: dict[str, str] = {}
    versions: dict[str, str] = {}
    commit: str = ""
    sessions: tuple[RunSession, ...] = ()

    def differences(self, other: RunInfo) -> list[str]:
        """Describe each difference in task, model, judge and scorers; empty if it is the same run."""
        same = same_python(self.versions)
        found = [
            f"{name} was {shown(before)}, and is {shown(after)}"
            for name, before, after in (
                ("the task", self.task, other.task),
                ("the model", self.model, other.model),
                ("the judge", self.judge, other.judge),
            )
            if _other(before, after, same)
        ]
        if not self.scorers:
            return found
        for name in {**self.scorers, **other.scorers}:
            before, after = self.scorers.get(name, "missing"), other.scorers.get(name, "missing")
            if _other(before, after, same):
                found.append(f"the scorer {name!r} was {shown(before)}, and is {shown(after)}")
        return found


def _other(before: str, after: str, same_version: bool) -> bool:
    if not same_version:  # the bytecode, and so its digest, differs between versions of Python
        before, after = before.partition("#")[0], after.partition("#")[0]
    return before != after and bool(before)


def shown(signature: str) -> str:
    """Return a recorded name for a message, with its digest, because two functions may have the same name."""
    name, mark, digest = signature.partition("#")
    return f"{name} (code {digest[:6]})" if mark else name or "nothing"


@final
class RunFolder:
    """The folder of a run, open for writing."""

    def __init__(self, path: Path, info: RunInfo) -> None:
        """Open the folder; create it if it does not exist.

        Raises:
          UsageError: another process writes into the folder.
          BadValue: the folder contains something else, or another run.
        """
        self.path = path
        (path / "traces").mkdir(parents=True, exist_ok=True)
        self._file = FileIO(path / "results.jsonl", "a+")
        try:
            _lock(self._file, path)
            known = _read_info(path)
            info = _joined(info, known, path)
            _replace(path / "run.json", msgspec.json.format(msgspec.json.encode(info)) + b"\n")
            own, whole = _read_results(path)
            self._file.truncate(whole)
            self.results = _merged(path, own)
        except BaseException:
            self._file.close()
            raise
        self._known = {(result.case, result.trial): result for result in self.results}

    def known(self, case: Case, trial: int) -> TrialResult | None:
        """Return the result of a trial; None if it is not finished.

        Raises:
          BadValue: the stored result belongs to another case with the same id.
        """
        result = self._known.get((case.id, trial))
        if result is not None and result.digest != digest_of(case):
            raise BadValue(
                "into", f"{self.path} has results for another case with the id {case.id!r}; use a new folder"
            )
        return result

    def trace_of(self, result: TrialResult) -> bytes:
        """Return the stored trace of a trial; empty if it is missing."""
        try:
            return b"" if result.trace is None else (self.path / result.trace).read_bytes()
        except OSError:
            return b""

    def add(self, result: TrialResult, trace: bytes | None) -> None:
        """Store a trial. It is finished when its line is written. `trace=None` keeps the stored trace."""
        if result.trace is not None and trace is not None:
            _replace(self.path / result.trace, trace)
        line = msgspec.json.encode(result) + b"\n"
        while line:
            line = line[self._file.write(line) or 0 :]

    def close(self) -> None:
        """Close the file, which releases the lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_run(path: Path) -> tuple[RunInfo, list[TrialResult]]:
    """Read the folder of a run, which may still be running."""
    info = _read_info(path)
    if info is None:
        raise BadValue("path", f"{path} is not the folder of a run: it has no run.json")
    return info, _merged(path, _read_results(path)[0])


def shard_path(path: Path, number: int) -> Path:
    """Return the folder of one call on an executor, under the folder of its run."""
    return path / "shards" / f"{number:04d}"


def _merged(path: Path, own: list[TrialResult]) -> list[TrialResult]:
    """Return the results of a folder and of its shards. If a trial ran twice, return the better result."""
    found = {(result.case, result.trial): result for result in own}
    for shard in sorted((path / "shards").glob("*")):
        for result in _read_results(shard)[0]:
            name = result.trace and f"{shard.relative_to(path).as_posix()}/{result.trace}"
            named = replace(result, trace=name)
            key = (result.case, result.trial)
            found[key] = better(found[key], named) if key in found else named
    return list(found.values())


def trace_name(case: str, trial: int) -> str:
    """Return a file name for a trial's trace: readable, unique for the id, and safe on every file system."""
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
        raise BadValue("path", f"{file} does not describe a run: {exc}") from None
    if not 1 <= info.format <= _FORMAT:
        raise BadValue("path", f"{file} has format {info.format}; this version of lutum reads 1 to {_FORMAT}")
    return info


def _joined(info: RunInfo, known: RunInfo | None, path: Path) -> RunInfo:
    """Return the info to store in the folder, with this session after the earlier ones."""
    now = _now()
    session = RunSession(started=now, versions=info.versions, commit=info.commit)
    own = (session,) if info.task else ()
    if known is None:
        return replace(info, started=now, sessions=own)
    if info.task and (differences := known.differences(info)):
        raise BadValue(
            "into", f"{path} holds another run: {'; '.join(differences)}. Use a new folder for this run"
        )
    if not info.task:  # opened by a caller that runs no task itself
        return replace(known, format=_FORMAT, threshold=info.threshold)
    return replace(info, started=known.started, sessions=(*known.sessions, *own))


def _read_results(path: Path) -> tuple[list[TrialResult], int]:
    """Return the results of the complete lines, and the number of bytes in these lines. Bytes after them
    belong to an incomplete line."""
    file = path / "results.jsonl"
    data = file.read_bytes() if file.exists() else b""
    whole = data.rfind(b"\n") + 1
    results = dict[tuple[str, int], TrialResult]()
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
        try:
            result = msgspec.json.decode(line, type=TrialResult)
        except msgspec.MsgspecError as exc:
            raise BadValue("path", f"{file}:{number} is not a result: {exc}") from None
        key = (result.case, result.trial)
        if key in results and not results[key].errored:
            raise BadValue("path", f"{file}:{number} repeats trial {result.trial} of case {result.case!r}")
        results[key] = result  # a later try replaces an error
    return list(results.values()), whole


def _replace(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _lock(file: FileIO, path: Path) -> None:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"into: another run writes into {path}; use another folder, or wait") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
