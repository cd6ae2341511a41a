"""The public surface: its names, where they come from, and that their types resolve in a fresh process."""

from __future__ import annotations

import importlib
import os
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lutum
import lutum.dialect

MODULES = (
    "lutum",
    "lutum.abc",
    "lutum.cli",
    "lutum.dialect",
    *(f"lutum.dialect.{name}" for name in lutum.dialect.__all__),
    "lutum.eval",
    "lutum.mcp",
    "lutum.redis",
    "lutum.rollout",
    "lutum.sse",
    "lutum.store",
    "lutum.testing",
    "lutum.testing.strategies",
    "lutum.testing.wire",
    "lutum.trace",
    "lutum.transport",
    "lutum_claude",
    "lutum_clouds",
    "lutum_gemini",
    "lutum_openai",
    "lutum_openai.chat",
    "lutum_openai.completions",
    "lutum_openai.responses",
    "lutum_openrouter",
)
FRONTS = {"lutum": ("lutum_",), "lutum.testing": ("lutum.testing.wire",)}
"""Modules that offer names of others too, loaded when they are used: each with those that they come from."""
SNAPSHOT = Path(__file__).parent / "exports.txt"


def exports() -> str:
    lines = list[str]()
    for module in MODULES:
        lines += [f"{module}.{name}" for name in importlib.import_module(module).__all__]
    return "\n".join(lines) + "\n"


def test_the_exports_are_those_of_the_snapshot() -> None:
    """A change of the surface is made on purpose: LUTUM_WRITE_EXPORTS=1 writes the snapshot again."""
    if os.environ.get("LUTUM_WRITE_EXPORTS"):
        SNAPSHOT.write_text(exports())
    assert exports() == SNAPSHOT.read_text()


@pytest.mark.parametrize("module", MODULES)
def test_exports_are_sorted_and_exist(module: str) -> None:
    names = importlib.import_module(module).__all__
    # As ruff sorts them: constants, classes, then functions and modules.
    assert list(names) == sorted(set(names), key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in names:
        assert getattr(importlib.import_module(module), name, None) is not None, name


def test_each_name_is_exported_once() -> None:
    """One object has one home, so that a search ends in one place. Two modules repeat names of others."""
    homes = dict[int, list[str]]()
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            thing = getattr(importlib.import_module(module), name)
            if name == "MockLlmAdapter":  # the old name of ScriptedAdapter
                continue
            if not isinstance(thing, str | int | tuple):  # equal constants may be one object
                homes.setdefault(id(thing), []).append(f"{module}.{name}")
    for names in homes.values():
        fronts = [name for name in names if name.rpartition(".")[0] in FRONTS]
        others = [name for name in names if name not in fronts]
        if len(names) > 1:
            assert len(fronts) == len(others) == 1, names
            assert others[0].startswith(FRONTS[fronts[0].rpartition(".")[0]]), names


def test_every_public_module_is_listed() -> None:
    """Those without an underscore in their path, but for parts of a command and what only a package uses."""
    inner = {"lutum.cli.__main__", "lutum.dialect.error_body", "lutum.dialect.error_words"}
    found = set[str]()
    for top in ("lutum", "lutum_claude", "lutum_clouds", "lutum_gemini", "lutum_openai", "lutum_openrouter"):
        package = importlib.import_module(top)
        found |= {top, *(module.name for module in pkgutil.walk_packages(package.__path__, f"{top}."))}
    public = {name for name in found if not any(part.startswith("_") for part in name.split("."))}
    assert public - inner - {"lutum_gemini.generate"} == set(MODULES)


def test_dir_lists_the_exports_only() -> None:
    assert dir(lutum) == sorted(lutum.__all__)
    with pytest.raises(AttributeError, match="Sesion"):
        _ = lutum.Sesion  # type: ignore[attr-defined]


def test_an_editor_offers_public_names_only() -> None:
    """Of a budget and a lease; what the turn that holds a lease needs is in `_budget/turn_lease.py`."""

    def offered(kind: type) -> list[str]:
        return [name for name in dir(kind) if not name.startswith("_")]

    budget = ["available", "closed", "exhausted", "remaining", "reserve", "reserved", "spent", "statistics"]
    assert offered(lutum.Budget) == budget
    assert offered(lutum.BudgetLease) == ["grow", "reserved", "settle", "settled"]
    assert offered(lutum.BudgetScope) == []
    shared = [name for name in dir(lutum.abc.SharedLease) if not name.startswith("_")]
    for lease in (lutum.redis.RedisLease, lutum.testing.MemoryLease):
        assert offered(lease) == shared


def test_errors_and_plain_classes_have_a_public_module() -> None:
    for kind in (lutum.ProviderError, lutum.BadValue, lutum.Budget, lutum.Session, lutum.Lutum):
        assert kind.__module__ == "lutum"
    error = pickle.loads(pickle.dumps(lutum.ProviderError("x", status=500)))
    assert type(error) is lutum.ProviderError


RESOLVE = """
import importlib, inspect, sys, typing
import msgspec

count = 0
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) and thing.__module__.startswith("lutum"):
            typing.get_type_hints(thing)
            count += 1
            if issubclass(thing, msgspec.Struct):
                try:
                    msgspec.inspect.type_info(thing)
                except TypeError as exc:  # resolved, but a union that is only constructed and never decoded
                    assert "is not supported" in str(exc), (public, exc)
print(count)
"""


@pytest.mark.slow
def test_type_hints_of_public_classes_resolve_in_a_fresh_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, *MODULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150
