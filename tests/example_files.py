"""The examples as modules: each loaded anew, with its siblings in reach."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
