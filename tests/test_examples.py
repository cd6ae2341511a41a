"""Every example runs, offline and on both backends, and prints what it is meant to show."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1] / "examples"

# What an example prints, in this order; "..." stands for anything between.
PRINTS: dict[str, str] = {
    "ask": "The Nile, the Danube and the Mekong.\n[57 tokens, exact]",
    "best_of_n": "A line of ... syllables. [",
    "chat": "Nile.\n...Amazon.\n[94 tokens]",
    "eval_dataset": "chatty...score   0.000...terse...score   1.000...8 cases in both runs...significant",
    "eval_raw_dump": "passed\nfailed\n...TextDelta(text='Five.')...",
    "extract_many": "0 were done, 98 are; ... USD; failures: {...'ProviderError': 1...",
    "pass_at_k": "4 branches: 1 passed, 1 failed, 2 cancelled\n...saved...pass@1 0.375...pass@4 0.929",
    "tools": "It is colder in Oslo.",
}
TYPED: dict[str, list[str]] = {"chat": ["Which is longest?", "/undo", "Which is widest?", "/quit"]}
HELPERS = {"_provider"}


@pytest.fixture
def example(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[ModuleType]:
    """The module, loaded anew, with its folder on the path and in a folder of its own."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)
    name = str(request.param)
    typed = iter(TYPED.get(name, []))
    monkeypatch.setattr("builtins.input", lambda prompt="": next(typed))
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        if name == "extract_many":
            del module.DOCUMENTS[100:]
        yield module
    finally:
        del sys.modules[spec.name]


@pytest.mark.parametrize("example", PRINTS, indirect=True)
async def test_an_example_runs(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """With the replies it brings, through the wire server, to its end."""
    from _provider import boundary, offline

    async with offline(example.REPLIES) as adapter:
        llm = boundary(adapter)
        await example.main(llm)
        assert llm.budget.reserved.total_tokens == 0
    shown = capsys.readouterr().out
    at = 0
    for piece in PRINTS[example.__name__.removeprefix("example_")].split("..."):
        assert piece in shown[at:], shown
        at = shown.index(piece, at) + len(piece)


def test_every_example_is_run_and_says_when_to_copy_it() -> None:
    """A new file needs an entry above; the first lines of each say what it is for."""
    files = {path.stem: path for path in ROOT.glob("*.py")}
    assert files.keys() - HELPERS == PRINTS.keys() | OTHERWISE
    for name in PRINTS:
        assert "Copy it" in files[name].read_text("utf-8").split('"""')[1], name


OTHERWISE = {"batch", "compaction", "reask"}
"""Examples with a test of their own."""
