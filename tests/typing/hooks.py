"""What type checkers know of hook sets; checked by pyright strict and mypy strict.

Each suppression below stands where the line is wrong on purpose: mypy warns of one that is not needed, and
so does pyright here, so each of them is an error that both checkers see.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

import lutum
from lutum.abc import Adapter, Prepared, TurnRequest
from lutum_claude import ClaudeAdapter, ClaudeHooks, ClaudeOptions


def mean(answers: list[int]) -> float:
    return sum(answers) / len(answers)


def shout(answer: str) -> bytes:
    return answer.upper().encode()


def is_long(answer: str) -> bool:
    return len(answer) > 10


class SearchHooks(lutum.HookSet):
    @lutum.hook("singleton")
    async def index(self, query: str) -> int:
        return 1


class AppHooks(lutum.HookSet):
    search = lutum.nested_hooks(SearchHooks)

    @lutum.hook("singleton")
    async def pick(self, query: str, *, hurry: bool = False) -> str:
        return "small"

    @lutum.hook("always")
    async def rewrite(self, query: str) -> str:
        assert_type(await self.pick(query), str)
        return query

    @lutum.hook("fallback")
    async def cached(self, query: str) -> str:
        return query

    @lutum.hook("fallback", chain=lutum.first_success)
    async def look_up(self, query: str) -> str | None:
        return None

    @lutum.hook("always", chain=is_long)
    async def lengthen(self, query: str) -> str:
        return query

    @lutum.hook("always", aggregate=mean)
    async def risk(self, query: str) -> int:
        return 0

    @lutum.hook("fallback", chain=lutum.first_success, aggregate=len)
    async def votes(self, query: str) -> str:
        return query

    @lutum.hook("always", finalize=shout)
    async def title(self, query: str) -> str:
        return query

    @lutum.hook("fallback", chain=is_long, finalize=shout)
    async def headline(self, query: str) -> str:
        return query


@AppHooks.pick
async def large(query: str, *, hurry: bool = False) -> str:
    return "large"


@AppHooks.rewrite
async def polite(last: str, query: str) -> str:
    return f"Please: {last}"


@AppHooks.rewrite
async def plain(query: str) -> str:
    return query


@AppHooks.cached
async def remembered(last: str | None, query: str) -> str:
    return last or query


@AppHooks.look_up
async def in_memory(query: str) -> str | None:
    return None


@AppHooks.risk
async def rude(query: str) -> int:
    return 3


@AppHooks.title
async def capital(last: str, query: str) -> str:
    return last.title()


@SearchHooks.index
async def second(query: str) -> int:
    return 2


class Careful(lutum.Stateful):
    @AppHooks.pick.method
    async def pick(self, query: str, *, hurry: bool = False) -> str:
        return "careful"

    @AppHooks.rewrite.method
    async def softer(self, last: str, query: str) -> str:
        return last.lower()


async def right() -> None:
    hooks = AppHooks(large, polite, plain, remembered, in_memory, rude, capital)
    hooks = hooks.with_hooks(AppHooks.search(SearchHooks(second)), Careful().pick).with_policy(Careful())
    assert_type(hooks, AppHooks)
    assert_type(await hooks.pick("q", hurry=True), str)
    assert_type(await hooks.rewrite(query="q"), str)
    assert_type(await hooks.cached("q"), str)
    assert_type(await hooks.look_up("q"), str | None)
    assert_type(await hooks.lengthen("q"), str)
    assert_type(await hooks.risk("q"), float)
    assert_type(await hooks.votes("q"), int)
    assert_type(await hooks.title("q"), bytes)
    assert_type(await hooks.headline("q"), bytes)
    assert_type(await hooks.search.index("q"), int)
    assert_type(await polite("last", "q"), str)
    assert_type(await Careful().softer("last", "q"), str)


@lutum.LutumHooks.resolve_usage_estimate
async def thrifty(adapter: Adapter, prepared: Prepared) -> lutum.Estimate:
    return lutum.Estimate(prepared.estimate.input_tokens, 100)


@ClaudeHooks.resolve_model
async def by_length(request: TurnRequest, model: str) -> str:
    return model if len(request.transcript) < 10 else "claude-opus-4-5"


@ClaudeHooks.resolve_options
async def thoughtful(request: TurnRequest, options: ClaudeOptions) -> ClaudeOptions:
    return ClaudeOptions(effort="high").over(options)


def built_in() -> lutum.Lutum:
    adapter = ClaudeAdapter("claude-sonnet-4-5", hooks=ClaudeHooks(by_length, thoughtful))
    own = lutum.LutumHooks(lutum.LutumHooks.resolve_usage_estimate(lutum.exact_estimate), thrifty)
    return lutum.Lutum(adapter, hooks=own)


# --- what is wrong, and where -------------------------------------------------------------------


@AppHooks.pick  # type: ignore[arg-type]
async def wrong_argument(query: int, *, hurry: bool = False) -> str:
    return ""


@AppHooks.pick  # type: ignore[arg-type]
async def wrong_name_of_argument(question: str, *, hurry: bool = False) -> str:
    return ""


@AppHooks.pick  # type: ignore[arg-type]
async def missing_argument(query: str) -> str:
    return ""


@AppHooks.pick  # type: ignore[arg-type]
async def wrong_return(query: str, *, hurry: bool = False) -> int:
    return 1


@AppHooks.pick  # type: ignore[arg-type]
async def last_of_a_singleton(last: str, query: str, *, hurry: bool = False) -> str:
    return ""


@AppHooks.risk  # type: ignore[arg-type]
async def last_of_an_aggregate(last: int, query: str) -> int:
    return 1


@AppHooks.rewrite  # type: ignore[arg-type]
async def wrong_last(last: int, query: str) -> str:
    return ""


@AppHooks.cached  # type: ignore[arg-type]
async def last_of_a_fallback_may_be_none(last: str, query: str) -> str:
    return ""


@AppHooks.rewrite  # type: ignore[arg-type]
async def last_that_is_not_first(query: str, last: int) -> str:
    return ""


@AppHooks.rewrite  # type: ignore[arg-type]
def not_async(query: str) -> str:
    return ""


@AppHooks.pik  # type: ignore[attr-defined, untyped-decorator]
async def wrong_slot(query: str) -> str:
    return ""


class Wrong:
    @AppHooks.pick.method  # type: ignore[arg-type]
    async def wrong_argument(self, query: int, *, hurry: bool = False) -> str:
        return ""

    @AppHooks.rewrite.method  # type: ignore[arg-type]
    async def wrong_return(self, last: str, query: str) -> int:
        return 1

    @AppHooks.rewrite.method  # type: ignore[arg-type]
    async def wrong_last(self, last: int, query: str) -> str:
        return ""

    @AppHooks.pik.method  # type: ignore[attr-defined, untyped-decorator]
    async def wrong_slot(self, query: str) -> str:
        return ""


class WrongHooks(lutum.HookSet):
    @lutum.hook("sometimes")  # type: ignore[call-overload, untyped-decorator]
    async def kind(self) -> int:
        return 1

    @lutum.hook("always")  # type: ignore[arg-type]
    def not_async(self) -> int:
        return 1

    @lutum.hook("singleton", chain=lutum.first_success)  # type: ignore[call-overload, untyped-decorator]
    async def chained_singleton(self) -> int:
        return 1

    @lutum.hook("always", aggregate=mean, finalize=shout)  # type: ignore[call-overload, untyped-decorator]
    async def two_companions(self) -> int:
        return 1

    @lutum.hook("always", aggregate=mean)  # type: ignore[arg-type]
    async def aggregate_of_another_type(self) -> str:
        return ""

    @lutum.hook("always", chain=is_long)  # type: ignore[arg-type]
    async def chain_of_another_type(self) -> int:
        return 1


async def wrong(hooks: AppHooks) -> None:
    await hooks.pick(1)  # type: ignore[arg-type]
    await hooks.pick("q", hury=True)  # type: ignore[call-arg]
    await hooks.pik("q")  # type: ignore[attr-defined]
    assert_type(await hooks.risk("q"), int)  # type: ignore[assert-type]
    AppHooks(second)  # type: ignore[arg-type]
    AppHooks(right)  # type: ignore[arg-type]
    hooks.with_hooks(by_length)  # type: ignore[arg-type]
    AppHooks.search(AppHooks())  # type: ignore[arg-type]
    hooks.pick = large  # type: ignore[assignment]
    lutum.Lutum(ClaudeAdapter("m"), hooks=hooks)  # type: ignore[arg-type]
    ClaudeAdapter("m", hooks=hooks)  # type: ignore[arg-type]
