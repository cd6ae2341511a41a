"""The layers: which package may import which, computed from the source.

Packages form a list of layers, from the bottom up. A package imports its own modules and those of lower
layers, whether the import runs at import time, late inside a function, or for type checkers only.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).parent.parent

LAYERS: list[set[str]] = [
    {"lutum._publish", "lutum._text", "lutum.sse", "lutum._backend"},
    {"lutum._values"},
    {"lutum.abc"},
    {"lutum._schema", "lutum._telemetry", "lutum._run", "lutum._page"},
    {"lutum._hooks"},
    {"lutum._tools", "lutum._budget"},
    {"lutum.dialect"},
    {"lutum._http"},
    {"lutum.transport"},
    {"lutum._turn"},
    {"lutum._lutum"},
    {"lutum._session"},
    {"lutum.mcp", "lutum.trace", "lutum.store", "lutum.redis", "lutum.rollout"},
    {"lutum.eval", "lutum.testing"},
    {"lutum._explain", "lutum._adapter_by_name"},
    {"lutum"},
    {"lutum_clouds"},
    {"lutum_claude", "lutum_openai", "lutum_gemini"},
    {"lutum_openrouter"},
    {"lutum.cli"},
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
PROVIDERS = {"lutum_clouds", "lutum_claude", "lutum_openai", "lutum_openrouter", "lutum_gemini"}

# What may be imported late: extras, what must stay out of `import lutum`, and parts of the standard library
# that are slow to load or not on each platform.
LATE = {
    "asyncio",
    "certifi",
    "coredis",
    "email.utils",
    "fcntl",
    "genai_prices",
    "httpx",
    "idna",  # names of hosts beyond ASCII
    "httpx2",
    "hypothesis",
    "importlib",
    "mcp",
    "opentelemetry",
    "psycopg",
    "pydantic",
    "readline",
    "rich",
    "shtab",
    "trio",
    "urllib",
    "zoneinfo",
}
LAZY = {"lutum.cli", "lutum.testing", "lutum.trace", "lutum._http", "lutum._telemetry"}
"""Packages that load some of their own modules when they are first used."""

Kind = Literal["run", "late", "types"]


@dataclass(frozen=True)
class Import:
    source: str
    target: str
    name: str
    kind: Kind


def modules() -> dict[str, Path]:
    found = dict[str, Path]()
    for base, pattern in ((ROOT, "lutum/**/*.py"), (ROOT / "adapters", "*/**/*.py")):
        for path in base.glob(pattern):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def package(module: str) -> str:
    """The package of the layer list that a module belongs to."""
    parts = module.split(".")
    return module if module == "lutum" else ".".join(parts[:2]) if parts[0] == "lutum" else parts[0]


def imports_of(module: str, source: str) -> Iterator[Import]:
    tree = ast.parse(source)
    kinds = dict[ast.AST, Kind]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kinds.update((child, "late") for child in ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            kinds.update((child, "types") for child in ast.walk(node))
    for node in ast.walk(tree):
        kind = kinds.get(node, "run")
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, "", kind)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES:
                    yield Import(module, inner, "", kind)
                else:
                    yield Import(module, node.module, alias.name, kind)


IMPORTS = [each for name, path in MODULES.items() for each in imports_of(name, path.read_text())]
OURS = [each for each in IMPORTS if each.target in MODULES]


def is_lazy_reexport(one: Import) -> bool:
    """`lutum/__init__` names the adapters, which are loaded when they are first used."""
    return one.source == "lutum" and package(one.target) in PROVIDERS


def fault(one: Import) -> str | None:
    """Why an import breaks the layer rule; None if it does not."""
    source, target = package(one.source), package(one.target)
    if source == target or is_lazy_reexport(one):
        return None
    if (
        target == "lutum"
        and source != "lutum.cli"
        and source not in PROVIDERS
        and LEVEL[source] < LEVEL["lutum"]
    ):
        return f"{one.source} imports {one.name or 'lutum'} from lutum, which is above it"
    if LEVEL[target] >= LEVEL[source]:
        return f"{one.source} imports {one.target}, which is not below it ({one.kind})"
    return None


def test_every_package_has_a_layer() -> None:
    assert {package(module) for module in MODULES} <= LEVEL.keys()


def test_packages_import_downwards_only() -> None:
    assert [why for one in OURS if (why := fault(one))] == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lutum._budget.amounts", "from lutum._turn.stream import Stream"),
        ("lutum._values.items", "def f():\n    from lutum._tools.tool import Tool"),
        ("lutum._hooks.slots", "if TYPE_CHECKING:\n    from lutum._lutum import Lutum"),
        ("lutum._tools.tool", "from lutum._budget.budget import Budget"),
        ("lutum_claude._encode", "import lutum.cli"),
        ("lutum._turn.pump", "from lutum import Budget"),
    ],
)
def test_a_planted_import_is_found(module: str, line: str) -> None:
    assert any(fault(one) for one in imports_of(module, line) if one.target in MODULES)


def test_no_module_cycle() -> None:
    graph = defaultdict[str, set[str]](set)
    for one in OURS:
        if one.source != one.target and not is_lazy_reexport(one):
            graph[one.source].add(one.target)
    done, path = set[str](), list[str]()

    def visit(module: str) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for target in sorted(graph[module]):
                visit(target)
            done.add(path.pop())

    for module in sorted(MODULES):
        visit(module)


def test_only_public_names_cross_a_package() -> None:
    """Outside its package a name or a module with an underscore is not used."""
    crossing = [one for one in OURS if package(one.source) != package(one.target)]
    assert [one for one in crossing if one.name.startswith("_")] == []
    inside = [one for one in crossing if any(part.startswith("_") for part in one.target.split(".")[2:])]
    assert [one for one in inside if not is_lazy_reexport(one)] == []


def test_adapters_import_public_names_only() -> None:
    """As a third party's adapter would, of each other too."""
    private = [
        one
        for one in OURS
        if package(one.source) in PROVIDERS
        and package(one.source) != package(one.target)
        and any(part.startswith("_") for part in (*one.target.split("."), one.name))
    ]
    assert private == []


def test_late_imports_are_named() -> None:
    strange = [one for one in IMPORTS if one.kind == "late" and not may_be_late(one)]
    assert strange == []


def may_be_late(one: Import) -> bool:
    """Extras, what `import lutum` must not load, and what a public package loads when it is first used."""
    inside = package(one.source) == package(one.target) and one.target in MODULES
    return one.target in LATE or one.target.split(".")[0] in LATE or (inside and package(one.source) in LAZY)


def test_the_docstring_of_a_private_package() -> None:
    """At most ten lines: the purpose, what may import it, what it may import; and no code."""
    for module, path in MODULES.items():
        if path.name == "__init__.py" and module.split(".")[-1].startswith("_"):
            tree = ast.parse(path.read_text())
            assert len(tree.body) == 1, module
            text = ast.get_docstring(tree) or ""
            assert len(text.splitlines()) <= 10, module
            assert "May be imported by:" in text, module
            assert "May import:" in text, module
