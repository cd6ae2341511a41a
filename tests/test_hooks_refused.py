"""What is refused: slots when their class is made, hooks when they are decorated or registered."""

from __future__ import annotations

from typing import Any

import pytest

import lutum

slot_of: Any = lutum.hook
"""`lutum.hook` for what type checkers refuse, too."""


class SearchHooks(lutum.HookSet):
    @lutum.hook("singleton")
    async def index(self, query: str) -> str:
        return query


def mean(answers: list[int]) -> float:
    return sum(answers) / len(answers)


class AppHooks(lutum.HookSet):
    search = lutum.nested_hooks(SearchHooks)

    @lutum.hook("singleton")
    async def pick(self, query: str, *, hurry: bool = False) -> str:
        return "small"

    @lutum.hook("always")
    async def rewrite(self, query: str) -> str:
        return query

    @lutum.hook("always", aggregate=mean)
    async def risk(self, query: str) -> int:
        return 0


@AppHooks.pick
async def large(query: str, *, hurry: bool = False) -> str:
    return "large"


async def no_parameter() -> str:
    return ""


async def other_name(question: str, *, hurry: bool = False) -> str:
    return ""


async def needs_more(query: str, more: str, *, hurry: bool = False) -> str:
    return ""


async def needs_the_optional(query: str, *, hurry: bool) -> str:
    return ""


async def lacks_the_optional(query: str) -> str:
    return ""


async def positional_only(query: str, /, *, hurry: bool = False) -> str:
    return ""


async def asks_for_last(last: str, query: str, *, hurry: bool = False) -> str:
    return ""


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (no_parameter, "too many positional arguments"),
        (other_name, "missing a required argument: 'question'"),
        (needs_more, "missing a required argument: 'more'"),
        (needs_the_optional, "missing a required"),
        (lacks_the_optional, "unexpected keyword argument 'hurry'"),
        (positional_only, "positional only|positional-only"),
        (asks_for_last, "takes `last`"),
        (None, "not a function"),
    ],
)
def test_a_hook_has_the_parameters_of_its_slot(fn: Any, why: str) -> None:
    """One that could not be called as the slot is, is refused where it is decorated, by slot and reason."""
    decorate: Any = AppHooks.pick
    with pytest.raises(lutum.BadValue, match=why) as caught:
        decorate(fn)
    assert caught.value.field == "AppHooks.pick"


def test_last_comes_first() -> None:
    """`last` in another position would be filled with an argument."""

    async def behind(query: str, last: str) -> str:
        return ""

    async def named(*, last: str, query: str) -> str:
        return ""

    decorate: Any = AppHooks.rewrite
    for fn in (behind, named):
        with pytest.raises(lutum.BadValue, match="`last` must be the first parameter"):
            decorate(fn)
    aggregated: Any = AppHooks.risk
    with pytest.raises(lutum.BadValue, match=r"AppHooks\.risk: .*takes `last`"):
        aggregated(behind)


async def test_arguments_of_every_kind() -> None:
    """A slot with variable arguments wants them of its hooks, and hands everything on."""

    class Hooks(lutum.HookSet):
        @lutum.hook("singleton")
        async def ask(self, one: int, /, *more: int, key: int = 0, **rest: int) -> list[Any]:
            return []

    @Hooks.ask
    async def whole(one: int, /, *more: int, key: int = 0, **rest: int) -> list[Any]:
        return [one, more, key, rest]

    async def without_rest(one: int, /, *more: int, key: int = 0) -> list[Any]:
        return []

    async def without_more(one: int, /, key: int = 0, **rest: int) -> list[Any]:
        return []

    assert await Hooks(whole).ask(1, 2, 3, key=4, five=5) == [1, (2, 3), 4, {"five": 5}]
    decorate: Any = Hooks.ask
    for fn, missing in ((without_rest, r"\*\*kwargs"), (without_more, r"\*args")):
        with pytest.raises(lutum.BadValue, match=missing):
            decorate(fn)


def test_a_set_takes_hooks_for_itself_only() -> None:
    """A function that was not decorated, or for another set, is refused by its name."""
    make: Any = AppHooks
    with pytest.raises(lutum.BadValue, match="AppHooks: no_parameter is not a hook: decorate it"):
        make(no_parameter)
    with pytest.raises(lutum.BadValue, match=r"SearchHooks: <hook large for AppHooks\.pick> is a hook for"):
        SearchHooks().with_hooks(large)  # type: ignore[arg-type]  # what is tested

    class Namesake(lutum.HookSet):
        search = lutum.nested_hooks(SearchHooks)

        @lutum.hook("singleton")
        async def pick(self, query: str, *, hurry: bool = False) -> str:
            return ""

    with pytest.raises(lutum.BadValue, match=r"Namesake: <hook large for AppHooks\.pick> is a hook for"):
        Namesake(large)  # type: ignore[arg-type]  # what is tested
    inner: Any = AppHooks.search(SearchHooks())
    with pytest.raises(lutum.BadValue, match=r"AppHooks\.search: Namesake has no such nested set"):
        Namesake(inner)


def test_what_is_no_slot() -> None:
    """Kinds, companions and bodies that cannot be are refused when the class is made, by name."""

    async def body(self: Any) -> int:
        return 1

    async def with_last(self: Any, last: int) -> int:
        return 1

    async def alone() -> int:
        return 1

    def plain(self: Any) -> int:
        return 1

    for method, why in (
        (plain, "a slot must be an async method"),
        (staticmethod(body), "a slot must be an async method"),
        (slot_of("always")(body), "a slot must be an async method"),
        (with_last, "may take `last`"),
        (alone, "first parameter of a slot must be self"),
    ):
        with pytest.raises(lutum.BadValue, match=why):
            slot_of("always")(method)
    with pytest.raises(lutum.BadValue, match="'sometimes' is not one of always, fallback, singleton"):
        slot_of("sometimes")
    with pytest.raises(lutum.BadValue, match="exclude each other"):
        slot_of("always", aggregate=sum, finalize=str)
    for companion in ("chain", "aggregate", "finalize"):
        with pytest.raises(lutum.BadValue, match="a singleton has no"):
            slot_of("singleton", **{companion: str})


def test_the_names_of_slots() -> None:
    """A slot has its method's name, a public one, and one that no other slot of the class has."""

    async def rewrite(self: Any, query: str) -> str:
        return ""

    async def _private(self: Any) -> str:
        return ""

    async def with_hooks(self: Any) -> str:
        return ""

    define = slot_of("always")
    nested = lutum.nested_hooks(SearchHooks)
    for members, why in (
        ({"rewrite": define(rewrite)}, r"Made\.rewrite: is a slot already"),
        ({"rewrite": rewrite}, r"Made\.rewrite: is a slot already"),
        ({"search": None}, r"Made\.search: is a slot already"),
        ({"other": define(rewrite)}, r"Made\.other: is defined by a method with another name, 'rewrite'"),
        ({"_private": define(_private)}, r"Made\._private: is not a valid name for a slot"),
        ({"with_hooks": define(with_hooks)}, r"Made\.with_hooks: is not a valid name for a slot"),
        ({"with_policy": nested}, r"Made\.with_policy: is not a valid name for a slot"),
    ):
        with pytest.raises(lutum.BadValue, match=why):
            type("Made", (AppHooks,), members)


def test_a_slot_outside_a_set() -> None:
    """A slot in a class that is no set is an error as soon as it is used."""

    class Plain:
        @lutum.hook("always")
        async def ask(self) -> int:
            return 1

    for owner in (Plain, Plain()):
        with pytest.raises(lutum.BadValue, match=r"Plain\.ask: is a slot in a class that is not a HookSet"):
            owner.ask  # type: ignore[union-attr]  # noqa: B018  # what is tested
