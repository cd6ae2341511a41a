"""Read the descriptions of a tool and of its parameters from a docstring. No I/O.

The Google, numpy and Sphinx styles are supported. Three patterns are enough for them, so a parser from PyPI
is not worth a required dependency.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

_SECTIONS = (
    r"args|arguments|parameters|params|other parameters|attributes|returns?|yields?|raises?"
    r"|warns|warnings?|examples?|notes?|see also|references|todo"
)
_GOOGLE = re.compile(rf"({_SECTIONS}):\s*$", re.IGNORECASE)
_NUMPY = re.compile(rf"({_SECTIONS})\s*$", re.IGNORECASE)
_SPHINX = re.compile(r":(\w+)(?:\s+([^:]+))?:\s*(.*)$")
_PARAMETERS = frozenset(["args", "arguments", "parameters", "params", "other parameters"])
# `name`, `name (type)`, `*name`: the text before the colon of a Google entry.
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


def parse(doc: str | None) -> tuple[str, dict[str, str]]:
    """Return the text before the first section, and the parameters' descriptions by name."""
    lines = inspect.cleandoc(doc or "").splitlines()
    for at, line in enumerate(lines):
        if _SPHINX.match(line):
            return _text(lines[:at]), _sphinx(lines[at:])
        if _GOOGLE.match(line):
            return _text(lines[:at]), _google(lines[at:])
        if _NUMPY.match(line) and _is_underlined(lines, at):
            return _text(lines[:at]), _numpy(lines[at:])
    return _text(lines), {}


def _google(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    entry: list[str] = []
    wanted, depth = False, 0
    for line in lines:
        indent = _indent(line)
        if line.strip() and indent == 0:
            header = _GOOGLE.match(line)
            wanted, depth = header is not None and header[1].lower() in _PARAMETERS, 0
        elif wanted:
            depth = depth or indent
            start = _ENTRY.match(line.strip()) if indent == depth else None
            if start is not None:
                entry = found[start[1]] = [start[2]]
            else:
                entry.append(line)
    return _joined(found)


def _numpy(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    entries: list[list[str]] = []
    wanted = False
    for at, line in enumerate(lines):
        if _is_underlined(lines, at) and (header := _NUMPY.match(line)):
            wanted = header[1].lower() in _PARAMETERS
        elif wanted and line.strip() and _indent(line) == 0 and not set(line) <= {"-"}:
            names = line.partition(":")[0].split(",")
            entries = [found.setdefault(name.strip().lstrip("*"), []) for name in names]
        elif wanted and _indent(line):
            for entry in entries:
                entry.append(line)
    return _joined(found)


def _sphinx(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    entry: list[str] = []
    for line in lines:
        field = _SPHINX.match(line)
        if field is None:
            entry.append(line)
            continue
        entry = []
        if field[1] in ("param", "parameter", "arg", "argument", "key", "keyword") and field[2]:
            entry = found[field[2].split()[-1].lstrip("*")] = []
        entry.append(field[3])
    return _joined(found)


def _is_underlined(lines: list[str], at: int) -> bool:
    below = lines[at + 1].strip() if at + 1 < len(lines) else ""
    return len(below) >= 3 and set(below) == {"-"}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(found: dict[str, list[str]]) -> dict[str, str]:
    texts = {name: " ".join(" ".join(entry).split()) for name, entry in found.items()}
    return {name: text for name, text in texts.items() if text}


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).strip()
