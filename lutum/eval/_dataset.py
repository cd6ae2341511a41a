"""Cases: what a run is run on. Any iterable of them is a dataset; here are two files that hold one."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Generic

import msgspec
from msgspec import Struct
from typing_extensions import TypeVar

from lutum._values.errors import BadValue
from lutum.eval._results import plain

I = TypeVar("I", default=Any)
E = TypeVar("E", default=Any)

_TAKEN = ("id", "input", "expected", "tags")


class Case(Struct, Generic[I, E], frozen=True):
    """One thing to try.

    Attributes:
      id: unique in its dataset, and the same from run to run: results are kept and compared by it.
      input: what the task is given.
      expected: what a scorer compares with.
      tags: groups that a report shows apart.
      metadata: whatever else its row had.
    """

    id: str
    input: I
    expected: E | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


def load_cases(path: str | PathLike[str]) -> list[Case]:
    """Read a dataset from `.jsonl`, an object a line, or from `.csv` with a header.

    `id`, `input`, `expected` and `tags` are what they are called, the rest is `metadata`. A row without
    `input` has its metadata as the input. Tags are a list, or words with spaces or commas between them.

    Raises:
      BadValue: a row has no id, or one that was there before, or is none; names the line.
      OSError: the file cannot be read.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".jsonl":
            rows = _jsonl(path)
        case ".csv":
            rows = _csv(path)
        case suffix:
            raise BadValue("path", f"{suffix!r} is neither '.jsonl' nor '.csv': {path}")
    cases = dict[str, Case]()
    for line, row in rows:
        case = _case(row, f"{path}:{line}")
        if case.id in cases:
            raise BadValue("path", f"{path}:{line}: the id {case.id!r} was there before")
        cases[case.id] = case
    return list(cases.values())


def digest_of(case: Case) -> str:
    """What tells a case from another of its id; empty when its input is no JSON."""
    try:
        data = msgspec.json.encode((case.input, case.expected), order="deterministic")
    except (TypeError, ValueError, RecursionError):
        return ""
    return hashlib.blake2s(data, digest_size=8).hexdigest()


def input_digest_of(case: Case) -> str:
    """Return a digest of what the task was given; empty when that is no JSON."""
    return digest_of(Case(case.id, case.input))


def check_cases(cases: Iterable[Case[I, E]]) -> Iterator[Case[I, E]]:
    """Yield the cases of a dataset, each checked.

    Raises:
      BadValue: something is not a case, its id is not text, or two cases have one id.
    """
    seen = dict[str, int]()
    for number, case in enumerate(cases):
        if not isinstance(case, Case):
            raise BadValue("cases", f"{case!r} is not a Case")
        if not isinstance(case.id, str) or plain(case.id) != case.id:
            raise BadValue("cases", f"the id {case.id!r} is not text")
        if case.id in seen:
            raise BadValue(
                "cases", f"two cases have the id {case.id!r}: numbers {seen[case.id]} and {number}"
            )
        seen[case.id] = number
        yield case


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as exc:
            raise BadValue("path", f"{path}:{number}: no JSON object: {exc}") from None


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        try:
            for row in reader:
                if "" in row or None in row.values():
                    raise BadValue("path", f"{path}:{reader.line_num}: not as many cells as the header has")
                yield reader.line_num, dict(row)
        except (csv.Error, UnicodeDecodeError) as exc:
            raise BadValue("path", f"{path}:{reader.line_num}: no CSV: {exc}") from None


def _case(row: dict[str, Any], where: str) -> Case:
    id = row.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int) or not str(id).strip():
        raise BadValue("path", f"{where}: no id, which must be a string or an integer")
    rest = {name: value for name, value in row.items() if name not in _TAKEN}
    tags = row.get("tags") or ()
    if isinstance(tags, str):
        tags = [tag for tag in re.split(r"[,\s]+", tags) if tag]
    try:
        tags = msgspec.convert(tags, tuple[str, ...])
    except msgspec.ValidationError:
        raise BadValue("path", f"{where}: tags: {tags!r} is no list of words") from None
    return Case(str(id), row.get("input", rest), row.get("expected"), tags, rest)
