"""Hook sets: values with slots, nested or filled by objects; what becomes of errors, cancels and traces."""

from __future__ import annotations

import functools
import logging
import pickle
from typing import Any

import anyio
import pytest

import lutum
from lutum._telemetry.spans import CURRENT


def total(risks: list[int]) -> int:
    return sum(risks)


class SearchHooks(lutum.HookSet):
    @lutum.hook("singleton")
    async def index(self, query: str) -> str:
        return f"default of {query}"


class AppHooks(lutum.HookSet):
    search = lutum.nested_hooks(SearchHooks)

    @lutum.hook("singleton")
    async def pick(self, query: str, *, hurry: bool = False) -> str:
        return "small"

    @lutum.hook("always")
    async def rewrite(self, query: str) -> str:
        return query.strip()

    @lutum.hook("always", aggregate=total)
    async def risk(self, query: str) -> int:
        return 0

    async def helper(self, query: str) -> str:
        return await self.pick(query)


@AppHooks.pick
async def large(query: str, *, hurry: bool = False) -> str:
    """Always the large one."""
    return f"large{' now' if hurry else ''}"


@AppHooks.rewrite
async def polite(last: str, query: str) -> str:
    return f"Please: {last}"


# --- sets are values ---------------------------------------------------------------------------


async def test_a_change_makes_another_set() -> None:
    """A set that another one is made from answers as before."""
    bare = AppHooks()
    once = AppHooks(polite)
    twice = once.with_hooks(polite)
    assert [await hooks.rewrite(" q ") for hooks in (bare, once, twice)] == [
        "q",
        "Please: q",
        "Please: Please: q",
    ]
    assert twice.registered == ("AppHooks.rewrite",)
    assert twice.rewrite.hooks == (polite, polite)
    assert bare.registered == ()


async def test_a_change_of_the_set_does_not_reach_a_dispatch_under_way() -> None:
    """What a hook makes of its own set is for later dispatches."""
    hooks = AppHooks()

    async def growing(last: str, query: str) -> str:
        nonlocal hooks
        hooks = hooks.with_hooks(AppHooks.rewrite(growing))
        return last + "+"

    hooks = AppHooks(AppHooks.rewrite(growing))
    assert [await hooks.rewrite("q"), await hooks.rewrite("q")] == ["q+", "q++"]


@pytest.mark.parametrize("name", ["pick", "search"])
def test_slots_are_not_assigned(name: str) -> None:
    """A slot is filled by making a set, never by assignment, which would be silent."""
    with pytest.raises(AttributeError, match="with_hooks"):
        setattr(AppHooks(), name, large)


def test_what_shows_in_a_debugger() -> None:
    """Sets, slots and hooks say what they are."""
    assert repr(AppHooks(large, polite, polite)) == "<AppHooks pick=1 rewrite=2>"
    assert repr(AppHooks.pick) == "<singleton slot AppHooks.pick>"
    assert repr(AppHooks(polite).rewrite) == "<always slot AppHooks.rewrite, 1 hooks>"
    assert repr(large) == "<hook large for AppHooks.pick>"
    assert large.__doc__ == "Always the large one."


async def test_a_hook_is_still_its_function() -> None:
    """A decorated function is called, and so tested, as before."""
    assert await large("q", hurry=True) == "large now"
    assert await polite("last", "q") == "Please: last"


async def test_defaults_and_helpers_reach_the_set() -> None:
    """`self` of a default and of a plain method is the set, with its hooks."""

    class Both(AppHooks):
        @lutum.hook("singleton")
        async def both(self, query: str) -> tuple[str, str]:
            return await self.pick(query), await self.rewrite(query)

    assert await Both(large, polite).both("q") == ("large", "Please: q")
    assert await AppHooks(large).helper("q") == "large"


async def test_sets_inherit_slots_and_their_hooks() -> None:
    """A hook for a set's slot is one for the slot of every set derived from it, and the other way round."""

    class More(AppHooks):
        pass

    assert await More(large).pick("q") == "large"
    assert await AppHooks(More.pick(large)).pick("q") == "large"


async def test_the_last_hook_of_a_singleton_counts(caplog: pytest.LogCaptureFixture) -> None:
    """It replaces the one before, and the log says so with the slot's name."""

    @AppHooks.pick
    async def tiny(query: str, *, hurry: bool = False) -> str:
        return "tiny"

    with caplog.at_level(logging.WARNING, "lutum"):
        hooks = AppHooks(large, tiny)
    assert await hooks.pick("q") == "tiny"
    assert hooks.pick.hooks == (tiny,)
    assert [record.getMessage() for record in caplog.records] == [
        f"AppHooks.pick is a singleton: {tiny!r} replaces {large!r}"
    ]


async def test_callables_of_all_sorts_are_hooks() -> None:
    """A partial, a lambda that gives an awaitable, a bound method and an object with an async call."""

    async def keyed(key: str, query: str) -> str:
        return key + query

    class Callable:
        async def __call__(self, query: str) -> str:
            return f"object {query}"

        async def method(self, query: str) -> str:
            return f"method {query}"

    sorts: list[Any] = [
        functools.partial(keyed, "partial "),
        lambda query: keyed("lambda ", query),
        lambda last, query: keyed(last, query),
        Callable(),
        Callable().method,
    ]
    answers = [await AppHooks(AppHooks.rewrite(fn)).rewrite("q") for fn in sorts]
    assert answers == ["partial q", "lambda q", "qq", "object q", "method q"]


# --- nested sets -------------------------------------------------------------------------------


async def test_a_nested_set_answers_in_its_place() -> None:
    """It has no hooks until it is given; it is replaced and not merged."""

    @SearchHooks.index
    async def own(query: str) -> str:
        return f"index of {query}"

    assert await AppHooks().search.index("q") == "default of q"
    hooks = AppHooks(large, AppHooks.search(SearchHooks(own)))
    assert await hooks.search.index("q") == "index of q"
    assert await hooks.with_hooks(polite).search.index("q") == "index of q"
    assert await hooks.with_hooks(AppHooks.search(SearchHooks())).search.index("q") == "default of q"


def test_a_nested_set_has_its_kind_and_its_place() -> None:
    """Another kind, another set's place and a place for what is no set are refused by name."""

    class Other(lutum.HookSet):
        elsewhere = lutum.nested_hooks(SearchHooks)

    place: Any = AppHooks.search
    with pytest.raises(lutum.BadValue, match=r"\.search: needs an instance of SearchHooks, not of AppHooks"):
        place(AppHooks())
    other: Any = Other.elsewhere(SearchHooks())
    with pytest.raises(lutum.BadValue, match=r"Other\.elsewhere: AppHooks has no such nested set"):
        AppHooks(other)
    nested: Any = lutum.nested_hooks
    with pytest.raises(lutum.BadValue, match="not a HookSet"):
        nested(int)


# --- policies and state ------------------------------------------------------------------------


class Careful:
    def __init__(self) -> None:
        self.asked: list[str] = []

    @AppHooks.rewrite.method
    async def lower(self, last: str, query: str) -> str:
        self.asked.append(query)
        return last.lower()

    @AppHooks.pick.method
    async def pick(self, query: str, *, hurry: bool = False) -> str:
        return "careful"

    @AppHooks.rewrite.method
    async def dotted(self, last: str, query: str) -> str:
        return f"{last}."


async def test_one_object_fills_many_slots() -> None:
    """Its hook methods are registered in the order of the class, and share the object."""
    careful = Careful()
    hooks = AppHooks(polite).with_policy(careful)
    assert await hooks.rewrite("Water") == "please: water."
    assert await hooks.pick("q") == "careful"
    assert careful.asked == ["Water"]
    assert await careful.lower("LAST", "q") == "last"
    assert await AppHooks(careful.pick).pick("q") == "careful"


async def test_one_object_serves_several_sets() -> None:
    """Each set takes the methods that are meant for it."""

    class Both(Careful):
        @SearchHooks.index.method
        async def index(self, query: str) -> str:
            return "both"

    both = Both()
    assert await SearchHooks().with_policy(both).index("q") == "both"
    assert AppHooks().with_policy(both).registered == ("AppHooks.rewrite", "AppHooks.pick")


def test_a_policy_that_fits_no_slot() -> None:
    """Nothing to register is an error, and so is an override that lost its decorator."""

    class Forgetful(Careful):
        async def pick(self, query: str, *, hurry: bool = False) -> str:
            return ""

    with pytest.raises(lutum.BadValue, match="SearchHooks: Careful has no hook method for this set"):
        SearchHooks().with_policy(Careful())
    with pytest.raises(lutum.BadValue, match="AppHooks: type has no hook method"):
        AppHooks().with_policy(Careful)
    with pytest.raises(lutum.BadValue, match=r"Forgetful\.pick: overrides a hook; write @AppHooks\.pick"):
        AppHooks().with_policy(Forgetful())


class Nested(lutum.Stateful):
    """A stateful hook that asks the set it is in."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.hooks = AppHooks().with_policy(self)

    @AppHooks.rewrite.method
    async def rewrite(self, last: str, query: str) -> str:
        return f"{last} by {await getattr(self.hooks, self.slot)(query)}"


async def test_a_stateful_hook_asks_other_slots() -> None:
    """Only what would run its own hooks again is refused."""
    assert await Nested("pick").hooks.rewrite("q") == "q by small"


async def test_a_stateful_hook_is_not_entered_twice() -> None:
    """The error names slot and object, comes out of the inner dispatch, and leaves the object free."""
    nested = Nested("rewrite")
    with pytest.raises(lutum.HookBusy) as caught:
        await nested.hooks.rewrite("q")
    assert (caught.value.slot, caught.value.hook) == ("AppHooks.rewrite", "Nested")
    nested.slot = "pick"
    assert await nested.hooks.rewrite("q") == "q by small"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.slot) == (str(caught.value), "AppHooks.rewrite")


async def test_a_busy_stateful_hook_answers_what_it_says() -> None:
    """`on_busy` answers in its place, for a call from another task too, and without waiting."""
    inside, go_on = anyio.Event(), anyio.Event()

    class Slow(lutum.Stateful):
        @AppHooks.pick.method
        async def pick(self, query: str, *, hurry: bool = False) -> str:
            inside.set()
            await go_on.wait()
            return "slow"

        @SearchHooks.index.method
        async def index(self, query: str) -> str:
            return "never"

        def on_busy(self, error: lutum.HookBusy) -> str:
            return f"busy in {error.slot}"

    slow = Slow()
    hooks, search = AppHooks().with_policy(slow), SearchHooks().with_policy(slow)
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await hooks.pick("q"))

    async with anyio.create_task_group() as tg:
        tg.start_soon(ask)
        await inside.wait()
        assert await hooks.pick("q") == "busy in AppHooks.pick"
        assert await search.index("q") == "busy in SearchHooks.index"  # one guard an object
        go_on.set()
    assert answers == ["slow"]


async def test_a_cancelled_stateful_hook_is_free_again() -> None:
    """A cancel leaves the guard as it was before the call."""

    class Slow(lutum.Stateful):
        @AppHooks.pick.method
        async def pick(self, query: str, *, hurry: bool = False) -> str:
            if query == "wait":
                await anyio.sleep_forever()
            return "done"

    hooks = AppHooks().with_policy(Slow())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await hooks.pick("wait")
    assert scope.cancelled_caught
    assert await hooks.pick("q") == "done"


# --- errors and cancels ------------------------------------------------------------------------


async def test_an_error_keeps_its_type_and_says_where() -> None:
    """What a hook raises comes out as it is, with one note for each slot it came through."""

    @AppHooks.pick
    async def broken(query: str, *, hurry: bool = False) -> str:
        raise KeyError(query)

    hooks = AppHooks(broken)

    @AppHooks.rewrite
    async def picking(query: str) -> str:
        return await hooks.pick(query)

    with pytest.raises(KeyError) as caught:
        await AppHooks(picking).rewrite("q")
    assert caught.value.__notes__ == ["in hook slot AppHooks.pick", "in hook slot AppHooks.rewrite"]


async def test_an_error_that_is_raised_again_is_noted_once() -> None:
    """One exception object that a hook raises each time does not grow."""
    error = ValueError("no")

    @AppHooks.pick
    async def broken(query: str, *, hurry: bool = False) -> str:
        raise error

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await AppHooks(broken).pick("q")
    assert error.__notes__ == ["in hook slot AppHooks.pick"]


async def test_the_hooks_behind_one_that_raises_are_not_asked() -> None:
    """A failure ends the dispatch."""
    asked: list[str] = []

    @AppHooks.risk
    async def broken(query: str) -> int:
        raise KeyError

    @AppHooks.risk
    async def never(query: str) -> int:
        asked.append(query)
        return 1

    with pytest.raises(KeyError):
        await AppHooks(broken, never).risk("q")
    assert asked == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_gets_no_note(error: type[BaseException]) -> None:
    """Only exceptions are noted; what is none passes untouched."""
    raised = error()

    @AppHooks.pick
    async def ending(query: str, *, hurry: bool = False) -> str:
        raise raised

    with pytest.raises(error) as caught:
        await AppHooks(ending).pick("q")
    assert caught.value is raised
    assert not hasattr(raised, "__notes__")


async def test_a_cancel_passes_through() -> None:
    """It reaches the hook that runs, no further hook is asked, and it ends the scope that was cancelled."""
    seen: list[BaseException] = []

    @AppHooks.rewrite
    async def waits(query: str) -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as exc:
            seen.append(exc)
            raise
        return query

    @AppHooks.rewrite
    async def never(query: str) -> str:
        raise AssertionError("asked after a cancel")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await AppHooks(waits, never).rewrite("q")
    assert scope.cancelled_caught
    assert not hasattr(seen[0], "__notes__")


async def test_a_hook_that_is_not_async() -> None:
    """What it gives instead of an awaitable is named, with function and slot."""
    plain: Any = lambda query: query  # noqa: E731  # a hook as users write it inline
    with pytest.raises(lutum.BadValue, match=r"AppHooks\.rewrite: .*<lambda> returned str, which cannot be"):
        await AppHooks(AppHooks.rewrite(plain)).rewrite("q")


# --- traces ------------------------------------------------------------------------------------


class Seen:
    """A span that keeps what it is told."""

    content = False
    raw = None

    def __init__(self, name: str, fields: dict[str, object]) -> None:
        self.name = name
        self.fields = fields
        self.children: list[Seen] = []
        self.error: BaseException | None = None

    def child(self, name: str, fields: dict[str, object]) -> Seen:
        self.children.append(Seen(name, fields))
        return self.children[-1]

    def set(self, **fields: object) -> None:
        self.fields |= fields

    def event(self, name: str, **fields: object) -> None:
        """Nothing happens in these."""

    def end(self, error: BaseException | None = None) -> None:
        self.error = error


async def test_a_dispatch_is_a_span() -> None:
    """It has the slot's name and how many hooks there are; a dispatch inside it is its child."""
    root = Seen("root", {})
    token = CURRENT.set(root)
    try:
        nested = Nested("pick")
        await nested.hooks.rewrite("q")
        nested.slot = "rewrite"
        with pytest.raises(lutum.HookBusy) as caught:
            await nested.hooks.rewrite("q")
    finally:
        CURRENT.reset(token)
    outer, failed = root.children
    assert (outer.name, outer.fields) == ("hook", {"slot": "AppHooks.rewrite", "hooks": 1})
    assert [child.fields for child in outer.children] == [{"slot": "AppHooks.pick", "hooks": 0}]
    assert failed.error is caught.value
