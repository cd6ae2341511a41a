"""Names of classes and of tests: each occurs once, so that a search for one ends in one place."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent


def class_names(folders: tuple[str, ...]) -> dict[str, list[str]]:
    """Each top-level class name, with the files that define it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return dict(found)


def test_a_class_name_occurs_once() -> None:
    names = class_names(("lutum", "adapters"))
    assert len(names) > 400
    assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}


def test_a_test_name_occurs_once() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    assert len(found) > 2000
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
