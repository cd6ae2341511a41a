"""The law of checkpoints: a public coroutine always is one, or its docstring says when it is not."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import anyio.lowlevel
import pytest
from suspensions import suspends

import lutum
from lutum import Lutum, Toolset
from lutum.abc import TurnIdentity
from lutum.testing import MemoryLedger, ScriptedAdapter, check_adapter
from lutum_claude import ClaudeAdapter

PACKAGES = ("lutum", "lutum_claude", "lutum_clouds", "lutum_gemini", "lutum_openai", "lutum_openrouter")
SPECIAL = ("__aenter__", "__aexit__", "__anext__", "__call__")


def public_modules() -> list[str]:
    """All modules without an underscore in their path, so that a new one is looked at too."""
    found = list[str]()
    for top in PACKAGES:
        package = importlib.import_module(top)
        found += [top, *(module.name for module in pkgutil.walk_packages(package.__path__, f"{top}."))]
    return [name for name in found if not any(part.startswith("_") for part in name.split("."))]


def makes_a_coroutine(thing: object) -> bool:
    """Whether it is a coroutine function, or a function that returns one."""
    returned = str(getattr(thing, "__annotations__", {}).get("return", ""))
    return inspect.iscoroutinefunction(thing) or returned.startswith("Coroutine[")


def coroutines() -> dict[str, Any]:
    """The public coroutine functions, and those of public classes, by qualified name."""
    found = dict[str, Any]()
    for name in public_modules():
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", None) or dir(module):
            thing = getattr(module, public, None)
            if not (getattr(thing, "__module__", None) or "").startswith("lutum"):
                continue
            if inspect.iscoroutinefunction(thing):
                found[f"{name}.{public}"] = thing
            elif inspect.isclass(thing) and not getattr(thing, "_is_protocol", False):
                for method, function in inspect.getmembers(thing, makes_a_coroutine):
                    if function.__module__.startswith("lutum") and (method[0] != "_" or method in SPECIAL):
                        found[function.__qualname__] = function
    return found


COROUTINES = coroutines()


@pytest.mark.parametrize("name", sorted(COROUTINES))
def test_a_coroutine_says_whether_it_is_a_checkpoint(name: str) -> None:
    assert "checkpoint" in (inspect.getdoc(COROUTINES[name]) or "").lower()


@lutum.tool
async def quick(a: int) -> int:
    """Answer without a checkpoint."""
    return a


@lutum.tool
async def slow(a: int) -> int:
    """Answer after a checkpoint."""
    await anyio.lowlevel.checkpoint()
    return a


def calling(name: str) -> Lutum:
    return Lutum(ScriptedAdapter([[lutum.ToolCallReady("c1", name, '{"a": 1}')]]))


async def test_what_is_always_a_checkpoint_is_one() -> None:
    """Each operation whose docstring says "A checkpoint." without a condition."""
    llm = Lutum(ScriptedAdapter([["a", "b"]] * 5))
    turn = llm.text_turn("hi")
    assert await suspends(turn.collect)

    async def handler(event: lutum.Event, view: lutum.View) -> None: ...

    assert await suspends(lambda: turn.collect_with(handler))
    stream = turn.stream()
    assert await suspends(stream.__aenter__)
    async for _ in stream:
        pass
    await stream.__aexit__(None, None, None)
    outcome = await calling("slow").text_turn("hi").tools(Toolset(slow, quick)).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    assert await suspends(outcome.round.run)
    assert await suspends(outcome.round.run), "a round whose calls are all answered"
    scope, me = MemoryLedger().scope(lutum.Limit("run", tokens=9)), TurnIdentity()
    assert await suspends(lambda: scope.reserve(lutum.Estimate(1), me))
    assert await suspends(lambda: scope.stop("enough"))
    assert await suspends(scope.resume)
    assert await suspends(
        lambda: check_adapter(lambda client: ClaudeAdapter("m", api_key="k", http_client=client), [])
    )
    stated = {
        name
        for name, function in COROUTINES.items()
        if "A checkpoint." in (inspect.getdoc(function) or "").splitlines()
    }
    here = {"Builder.collect", "Builder.collect_with", "Stream.__aenter__", "ToolRound.run"}
    here |= {f"MemoryScope.{name}" for name in ("reserve", "resume", "stop")}
    kits = {f"lutum.testing.check_{what}" for what in ("adapter", "ledger", "store")}
    servers = {"ToolServer.run_http", "ToolServer.run_stdio"}  # they wait for clients
    assert {name for name in stated - here - kits - servers if "redis" not in name.lower()} == set()
    assert here | kits <= stated


async def test_conditions_are_true() -> None:
    """Operations that suspend only on a condition do not suspend without it."""
    llm = Lutum(ScriptedAdapter())
    turn = llm.text_turn("hi")
    assert not await suspends(turn.estimate)
    assert not await suspends(turn.resolve)
    adapter = lutum.ClaudeAdapter(model="x", api_key="k")
    assert not await suspends(adapter.__aenter__)
    assert not await suspends(adapter.aclose)
    hooks = lutum.ToolHooks()
    assert not await suspends(lambda: hooks.descriptions(Toolset(quick)))
    for tool, name in ((quick, "quick"), (slow, "slow")):
        outcome = await calling(name).text_turn("hi").tools(Toolset(tool)).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        [call] = outcome.round.calls
        assert await suspends(call.run) or name == "quick"
        assert not await suspends(call.run), "an answered call"
        round = outcome.round
        assert not await suspends(lambda round=round: round.apply_hooks(hooks))
