"""Hook dispatch against a reference model written from the rules, one slot kind and companion at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings, strategies as st

import lutum

Kind = Literal["always", "fallback", "singleton"]


class Boom(Exception):
    """What a hook of these tests raises."""


class Model(NamedTuple):
    """A hook, or the default: what it answers to `last`, whether it takes `last`, whether it raises."""

    number: int
    takes_last: bool = False
    fails: bool = False
    suspends: bool = False

    def answer(self, last: int | None, argument: int) -> int:
        if self.fails:
            raise Boom(self.number)
        return 10 * (last or 0) + self.number + argument if self.takes_last else self.number + argument


class Slot(NamedTuple):
    """A slot: its kind, the companions it has, its default."""

    kind: Kind
    chain: bool
    aggregate: bool
    finalize: bool
    default: Model

    @property
    def threads(self) -> bool:
        return self.kind != "singleton" and not self.chain and not self.aggregate


class Outcome(NamedTuple):
    """What a dispatch gave or raised, and who was asked with what in `last`."""

    value: Any
    asked: list[tuple[int, int | None]]


def wanted(answer: int) -> bool:
    """The chain of these tests."""
    return answer % 3 == 0


def listed(answers: list[int]) -> tuple[str, list[int]]:
    """The aggregate of these tests, of another type than the answers."""
    return "all", answers


def marked(answer: int) -> tuple[str, int]:
    """The finalize of these tests."""
    return "final", answer


# --- the model: each rule as it is written in docs/hooks.md, without sharing between the cases ------


def reference(slot: Slot, hooks: list[Model], argument: int) -> Outcome:
    asked: list[tuple[int, int | None]] = []

    def ask(who: Model, last: int | None = None) -> int:
        asked.append((who.number, last if who.takes_last else None))
        return who.answer(last, argument)

    try:
        if slot.kind == "singleton":
            return Outcome(ask(hooks[-1] if hooks else slot.default), asked)
        if slot.aggregate:
            return Outcome(("all", collected(slot, hooks, ask)), asked)
        value = chained(slot, hooks, ask) if slot.chain else threaded(slot, hooks, ask)
        return Outcome(("final", value) if slot.finalize else value, asked)
    except Boom as exc:
        return Outcome((*exc.args, "in hook slot Hooks.ask"), asked)


def threaded(slot: Slot, hooks: list[Model], ask: Callable[..., int]) -> int:
    """Every hook is asked, and the last answer counts."""
    if not hooks:
        return ask(slot.default)
    last = ask(slot.default) if slot.kind == "always" else None
    for hook in hooks:
        last = ask(hook, last)
    assert last is not None
    return last


def chained(slot: Slot, hooks: list[Model], ask: Callable[..., int]) -> int:
    """The first wanted answer counts. An always's default comes first, a fallback's in the end."""
    if slot.kind == "always":
        value = ask(slot.default)
        for hook in hooks:
            if wanted(value):
                break
            value = ask(hook)
        return value
    for hook in hooks:
        value = ask(hook)
        if wanted(value):
            return value
    return ask(slot.default)


def collected(slot: Slot, hooks: list[Model], ask: Callable[..., int]) -> list[int]:
    """All answers, up to and with a wanted one. A fallback's default is asked only where there is no hook."""
    answers: list[int] = []
    if slot.kind == "always" or not hooks:
        answers.append(ask(slot.default))
        if slot.chain and wanted(answers[0]):
            return answers
    for hook in hooks:
        answers.append(ask(hook))
        if slot.chain and wanted(answers[-1]):
            break
    return answers


# --- the real thing ----------------------------------------------------------------------------


async def real(slot: Slot, models: list[Model], argument: int, *, by_policy: bool) -> Outcome:
    asked: list[tuple[int, int | None]] = []

    async def run(model: Model, last: int | None, argument: int) -> int:
        asked.append((model.number, last))
        if model.suspends:
            await checkpoint()
        return model.answer(last, argument)

    companions: dict[str, Any] = {}
    if slot.chain:
        companions["chain"] = wanted
    if slot.aggregate:
        companions["aggregate"] = listed
    if slot.finalize:
        companions["finalize"] = marked

    make_slot: Any = lutum.hook

    class Hooks(lutum.HookSet):
        @make_slot(slot.kind, **companions)
        async def ask(self, argument: int) -> int:
            return await run(slot.default, None, argument)

    decorator: Any = Hooks.ask
    hooks = Hooks()
    for model in models:
        if by_policy:
            hooks = hooks.with_policy(policy(decorator.method, model, run))
        else:
            hooks = hooks.with_hooks(decorator(function(model, run)))
    try:
        return Outcome(await hooks.ask(argument), asked)
    except Boom as exc:
        return Outcome((*exc.args, *exc.__notes__), asked)


Run = Callable[[Model, int | None, int], Awaitable[int]]


def function(model: Model, run: Run) -> Any:
    async def plain(argument: int) -> int:
        return await run(model, None, argument)

    async def with_last(last: int | None, argument: int) -> int:
        return await run(model, last, argument)

    return with_last if model.takes_last else plain


def policy(method: Any, model: Model, run: Run) -> object:
    if model.takes_last:

        class WithLast:
            @method
            async def ask(self, last: int | None, argument: int) -> int:
                return await run(model, last, argument)

        return WithLast()

    class Plain:
        @method
        async def ask(self, argument: int) -> int:
            return await run(model, None, argument)

    return Plain()


# Kind, chain, aggregate, finalize: each is tested by itself, so that none is left out by chance.
SHAPES: list[tuple[Kind, bool, bool, bool]] = [
    ("singleton", False, False, False),
    *(
        (kind, chain, end == "aggregate", end == "finalize")
        for kind in ("always", "fallback")
        for chain in (False, True)
        for end in ("", "aggregate", "finalize")
    ),
]
RARELY = st.sampled_from([False] * 11 + [True])
FLAGS = st.tuples(st.booleans(), RARELY, st.booleans())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60)
@given(default=FLAGS, flags=st.lists(FLAGS, max_size=5), argument=st.integers(0, 20), by_policy=st.booleans())
async def test_dispatch_is_the_model(
    shape: tuple[Kind, bool, bool, bool],
    default: tuple[bool, bool, bool],
    flags: list[tuple[bool, bool, bool]],
    argument: int,
    by_policy: bool,
) -> None:
    """Value, order of asking, `last` and failure are the reference's, for every kind and companion."""
    slot = Slot(*shape, Model(1, False, *default[1:]))
    hooks = [
        Model(number, takes_last and slot.threads, fails, suspends)
        for number, (takes_last, fails, suspends) in enumerate(flags, 2)
    ]
    assert await real(slot, hooks, argument, by_policy=by_policy) == reference(slot, hooks, argument)


@pytest.mark.parametrize("kind", ["always", "fallback"])
@pytest.mark.parametrize("companion", ["chain", "aggregate", "finalize"])
async def test_a_companion_that_raises_names_the_slot(kind: Any, companion: str) -> None:
    """What a companion raises comes out as what a hook raises does."""

    def fail(answer: object) -> bool:
        raise Boom(companion)

    make_slot: Any = lutum.hook

    class Hooks(lutum.HookSet):
        @make_slot(kind, **{companion: fail})
        async def ask(self) -> int:
            return 1

    with pytest.raises(Boom) as caught:
        await Hooks().ask()
    assert caught.value.__notes__ == ["in hook slot Hooks.ask"]
