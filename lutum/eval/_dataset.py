"""Cases, and datasets in JSONL and CSV files. Any iterable of cases is a dataset."""

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
    """One case of a dataset.

    Attributes:
      id: unique in its dataset, and the same in each run, because results are stored and compared by it.
      input: the input of the task.
      expected: the value that a scorer compares the output with.
      tags: groups that a report shows separately.
      metadata: the other members of its row.
    """

    id: str
    input: I
    expected: E | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


def load_cases(path: str | PathLike[str]) -> list[Case]:
    """Read a dataset from a `.jsonl` file with one object per line, or from a `.csv` file with a header.

    The members `id`, `input`, `expected` and `tags` become the fields of these names, the others `metadata`.
    If a row has no `input`, its metadata is the input. Tags are a list, or words separated by spaces or
    commas.

    Raises:
      BadValue: a row is invalid, has no id, or repeats an id; the error contains the line number.
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
            raise BadValue("path", f"{path}:{line}: an earlier line has the id {case.id!r} too")
        cases[case.id] = case
    return list(cases.values())


def digest_of(case: Case) -> str:
    """Return a digest of a case's `input` and `expected`; empty if they cannot be encoded as JSON."""
    try:
        data = msgspec.json.encode((case.input, case.expected), order="deterministic")
    except (TypeError, ValueError, RecursionError):
        return ""
    return hashlib.blake2s(data, digest_size=8).hexdigest()


def input_digest_of(case: Case) -> str:
    """Return a digest of the task's input; empty if it cannot be encoded as JSON."""
    return digest_of(Case(case.id, case.input))


def check_cases(cases: Iterable[Case[I, E]]) -> Iterator[Case[I, E]]:
    """Check each case of a dataset and yield it.

    Raises:
      BadValue: something is not a case, its id is not text, or two cases have one id.
    """
    seen = dict[str, int]()
    for number, case in enumerate(cases):
        if not isinstance(case, Case):
            raise BadValue("cases", f"{case!r} is not a Case")
        if not isinstance(case.id, str) or plain(case.id) != case.id:
            raise BadValue("cases", f"the id {case.id!r} is not a string that UTF-8 can encode")
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
            raise BadValue("path", f"{path}:{number}: is not a JSON object: {exc}") from None


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        try:
            for row in reader:
                if "" in row or None in row.values():
                    raise BadValue(
                        "path", f"{path}:{reader.line_num}: has more or fewer cells than the header"
                    )
                yield reader.line_num, dict(row)
        except (csv.Error, UnicodeDecodeError) as exc:
            raise BadValue("path", f"{path}:{reader.line_num}: is not CSV: {exc}") from None


def _case(row: dict[str, Any], where: str) -> Case:
    id = row.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int) or not str(id).strip():
        raise BadValue("path", f"{where}: the id is missing, or is not a string or an integer")
    rest = {name: value for name, value in row.items() if name not in _TAKEN}
    tags = row.get("tags") or ()
    if isinstance(tags, str):
        tags = [tag for tag in re.split(r"[,\s]+", tags) if tag]
    try:
        tags = msgspec.convert(tags, tuple[str, ...])
    except msgspec.ValidationError:
        raise BadValue("path", f"{where}: tags: {tags!r} is not a list of strings") from None
    return Case(str(id), row.get("input", rest), row.get("expected"), tags, rest)
