"""The examples as modules: each loaded anew, with its siblings in reach."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# From Python 3.12 on DBOS takes the SQLite that python.org bundles for granted, 3.42 or later, and its tables
# refuse rows on an older one (seen with dbos 3.4.0, Python 3.12.1 and SQLite 3.40.1).
dbos_needs_sqlite = pytest.mark.skipif(
    sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42),
    reason=f"DBOS on this Python needs SQLite 3.42, this is {sqlite3.sqlite_version}",
)

FOLDER = Path(__file__).parents[1] / "examples"


@contextmanager
def loaded(name: str) -> Iterator[Any]:
    """The module of that name, as it is before it ran."""
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]
        sys.path.remove(str(FOLDER))


def files() -> dict[str, str]:
    """The text of each example, by name."""
    return {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.py") if path.stem != "_provider"}
