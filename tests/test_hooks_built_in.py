"""The hooks that lutum asks itself: what a turn reserves, and each adapter's model and options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from fakes import VIRTUAL, WHOLE, FakeAdapter

import lutum
from lutum.abc import Adapter, Prepared, TurnRequest
from lutum.testing import RecordingAdapter, ReplayAdapter
from lutum.testing.wire import Reply, Status, WireServer
from lutum_claude import ClaudeAdapter, ClaudeHooks, ClaudeOptions
from lutum_openai import (
    OpenAIAdapter,
    OpenAIChatAdapter,
    OpenAICompletionsAdapter,
    OpenAIHooks,
    OpenAIOptions,
)
from lutum_openrouter import OpenRouterAdapter, OpenRouterHooks, OpenRouterOptions

ESTIMATE = lutum.Estimate(7, 70)


class Tier(msgspec.Struct, frozen=True):
    """An option of the application's own, which no adapter reads."""

    name: str


# --- what a turn reserves ----------------------------------------------------------------------


@lutum.LutumHooks.resolve_usage_estimate
async def estimated(adapter: Adapter, prepared: Prepared) -> lutum.Estimate:
    tier = prepared.request.settings.option(Tier)
    return ESTIMATE if tier is None else lutum.Estimate(len(tier.name), 0)


def fake(**given: Any) -> lutum.Lutum:
    return lutum.Lutum(FakeAdapter(WHOLE, unbounded=("a page",)), budget=lutum.Budget(tokens=1000), **given)


async def test_the_hook_says_what_is_reserved() -> None:
    """Under a limit too, where nothing bounds the request; it is what the ledger holds meanwhile."""
    llm = fake(hooks=lutum.LutumHooks(estimated))
    async with llm.text_turn("q").stream():
        assert llm.budget.reserved.total_tokens == 77
    assert await llm.text_turn("q").estimate() == ESTIMATE
    with pytest.raises(lutum.EstimateRequired, match="a page"):
        await fake(hooks=lutum.LutumHooks()).text_turn("q").estimate()


async def test_the_turn_says_it_before_the_hook() -> None:
    """`.reserve()` wins; the hook is not asked."""

    @lutum.LutumHooks.resolve_usage_estimate
    async def never(adapter: Adapter, prepared: Prepared) -> lutum.Estimate:
        raise AssertionError("asked")

    given = lutum.Estimate(1, 2)
    assert await fake(hooks=lutum.LutumHooks(never)).text_turn("q").reserve(given).estimate() == given


async def test_the_hook_sees_options_by_type() -> None:
    """Those of the turn over those of `Lutum`, also options that no adapter knows."""
    llm = fake(hooks=lutum.LutumHooks(estimated), ext=(Tier("four"),))
    assert (await llm.text_turn("q").estimate()).input_tokens == 4
    assert (await llm.text_turn("q").ext(Tier("eleven chrs")).estimate()).input_tokens == 11


async def test_the_hook_sees_what_the_request_is_for() -> None:
    """Each of the four kinds of request has its name."""
    seen: list[str] = []

    @lutum.LutumHooks.resolve_usage_estimate
    async def noted(adapter: Adapter, prepared: Prepared) -> lutum.Estimate:
        seen.append(prepared.request.operation)
        return ESTIMATE

    llm = fake(hooks=lutum.LutumHooks(noted))
    session = lutum.Session(llm)
    session.push_user("q")
    await llm.text_turn("q").estimate()
    await session.text_turn().estimate()
    await llm.structured_turn(int, "q").estimate()
    await session.structured_turn(int).estimate()
    await llm.completion("q").estimate()
    await llm.structured_completion(int, "q").estimate()
    assert seen == [
        *("text_turn", "text_turn", "structured_turn", "structured_turn"),
        *("completion", "structured_completion"),
    ]


async def test_scoped_lutums_keep_the_hooks() -> None:
    """A block with its own budget asks the same ones."""
    async with fake(hooks=lutum.LutumHooks(estimated)).within(tokens=500) as scoped:
        assert await scoped.text_turn("q").estimate() == ESTIMATE


def test_one_question_has_one_answer() -> None:
    """`estimate=` beside a hook for it is refused; beside a set without one it is what counts."""
    with pytest.raises(lutum.BadValue, match=r"estimate: .*resolve_usage_estimate"):
        fake(hooks=lutum.LutumHooks(estimated), estimate=lutum.exact_estimate)
    fake(hooks=lutum.LutumHooks(), estimate=lutum.exact_estimate)


def test_a_boundary_takes_its_own_hooks() -> None:
    """An adapter's set, or one of the application's own, is refused."""
    with pytest.raises(lutum.BadValue, match=r"hooks: needs a lutum\.LutumHooks, not a ClaudeHooks"):
        fake(hooks=ClaudeHooks())


async def test_a_hook_that_raises_fails_the_turn() -> None:
    """Its error comes out with the slot's name, nothing is reserved and nothing was sent."""

    @lutum.LutumHooks.resolve_usage_estimate
    async def broken(adapter: Adapter, prepared: Prepared) -> lutum.Estimate:
        raise KeyError("tariff")

    llm = fake(hooks=lutum.LutumHooks(broken))
    with pytest.raises(KeyError) as caught:
        await llm.text_turn("q").collect()
    assert caught.value.__notes__ == ["in hook slot LutumHooks.resolve_usage_estimate"]
    assert llm.budget.statistics().open_leases == 0
    assert llm.budget.spent.total_tokens == 0
    adapter = llm.adapter
    assert isinstance(adapter, FakeAdapter)
    assert adapter.exchanges == []


@VIRTUAL
async def test_a_hook_is_waited_for_as_long_as_for_an_event() -> None:
    """One that never answers ends the turn by its own timeout; with nothing reserved."""

    @lutum.LutumHooks.resolve_usage_estimate
    async def slow(adapter: Adapter, prepared: Prepared) -> lutum.Estimate:
        await anyio.sleep_forever()
        return ESTIMATE

    llm = fake(hooks=lutum.LutumHooks(slow))
    start = anyio.current_time()
    with pytest.raises(lutum.TurnTimeout) as caught:
        await llm.text_turn("q").timeout(first_event=30).collect()
    assert (caught.value.reason, anyio.current_time() - start) == ("first_event", pytest.approx(30))
    assert llm.budget.statistics().open_leases == 0


# --- model and options of an adapter -----------------------------------------------------------


@ClaudeHooks.resolve_model
async def claude_model(request: TurnRequest, model: str) -> str:
    return f"{model}-{tier_of(request)}"


@ClaudeHooks.resolve_options
async def claude_options(request: TurnRequest, options: ClaudeOptions) -> ClaudeOptions:
    return ClaudeOptions(user_id=f"user of {request.settings.model}").over(options)


@OpenAIHooks.resolve_model
async def openai_model(request: TurnRequest, model: str) -> str:
    return f"{model}-{tier_of(request)}"


@OpenAIHooks.resolve_options
async def openai_options(request: TurnRequest, options: OpenAIOptions) -> OpenAIOptions:
    return OpenAIOptions(user=f"user of {request.settings.model}").over(options)


@OpenRouterHooks.resolve_model
async def openrouter_model(request: TurnRequest, model: str) -> str:
    return f"{model}-{tier_of(request)}"


@OpenRouterHooks.resolve_options
async def openrouter_options(request: TurnRequest, options: OpenRouterOptions) -> OpenRouterOptions:
    return OpenRouterOptions(extra_body={"user": f"user of {request.settings.model}"}).over(options)


def tier_of(request: TurnRequest) -> str:
    tier = request.settings.option(Tier)
    return "none" if tier is None else tier.name


def hooked() -> Iterator[Any]:
    """Each adapter with hooks, the member of its body that its options hook fills, and one that its own
    options fill."""
    base: dict[str, Any] = {"api_key": "k", "base_url": "http://localhost:1"}
    own: dict[str, Any] = {"extra_body": {"kept": 1}}
    claude = ClaudeAdapter(
        "m", hooks=ClaudeHooks(claude_model, claude_options), options=ClaudeOptions(**own), **base
    )
    yield pytest.param(claude, lambda body: body["metadata"]["user_id"], id="claude")
    openai = OpenAIHooks(openai_model, openai_options)
    for kind in (OpenAIAdapter, OpenAIChatAdapter, OpenAICompletionsAdapter):
        adapter = kind("m", hooks=openai, options=OpenAIOptions(**own), **base)
        yield pytest.param(adapter, lambda body: body["user"], id=kind.__name__)
    for api in ("chat", "responses"):
        router = OpenRouterAdapter(
            "m",
            api=api,  # type: ignore[arg-type]  # one of its literals
            hooks=OpenRouterHooks(openrouter_model, openrouter_options),
            options=OpenRouterOptions(transforms=(), provider={"kept": 1}),
            **base,
        )
        yield pytest.param(router, lambda body: body["user"], id=f"openrouter-{api}")


def body_of(preview: lutum.Preview) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(preview.body)
    return body


@pytest.mark.parametrize(("adapter", "user"), list(hooked()))
async def test_hooks_settle_model_and_options(adapter: Any, user: Any) -> None:
    """They see the turn's options and what it would use, the options' hook sees the chosen model, and the
    adapter's own options stay under what they answer."""
    turn = lutum.Lutum(adapter).text_turn("q").ext(Tier("gold"))
    shown = (await turn.resolve()).preview()
    body = body_of(shown)
    assert (shown.model, body["model"], user(body)) == ("m-gold", "m-gold", "user of m-gold")
    assert b'"kept":1' in shown.body
    named = body_of((await turn.model("other").resolve()).preview())
    assert (named["model"], user(named)) == ("other-gold", "user of other-gold")


@pytest.mark.parametrize(("adapter", "user"), list(hooked()))
async def test_a_preview_says_which_hooks_are_to_come(adapter: Any, user: Any) -> None:
    """It shows the request as it is without them, and names them; once they were asked it has none."""
    turn = lutum.Lutum(adapter).text_turn("q")
    shown, settled = turn.preview(), (await turn.resolve()).preview()
    assert body_of(shown)["model"] == "m"
    assert [name.partition(".")[2] for name in shown.pending_hooks] == ["resolve_model", "resolve_options"]
    assert settled.pending_hooks == ()
    assert (await (await turn.resolve()).resolve()).preview() == settled


async def test_without_hooks_nothing_is_asked() -> None:
    """An empty set leaves the request as it was, and the preview whole."""
    claude = ClaudeAdapter("m", api_key="k", base_url="http://localhost:1", hooks=ClaudeHooks())
    turn = lutum.Lutum(claude).text_turn("q")
    assert turn.preview().pending_hooks == ()
    assert (await turn.resolve()).preview() == turn.preview()


def served(server: WireServer, hooks: ClaudeHooks) -> ClaudeAdapter:
    client = httpx.AsyncClient(transport=server.transport())
    return ClaudeAdapter(
        "claude-sonnet-4-5", api_key="k", base_url=server.url, hooks=hooks, http_client=client
    )


async def test_hooks_are_asked_once_a_turn() -> None:
    """Once for a stream, not for its retries; and not again for a turn that was resolved, whose preview
    is what is sent."""
    asked: list[str] = []

    @ClaudeHooks.resolve_model
    async def noted(request: TurnRequest, model: str) -> str:
        asked.append(request.operation)
        return "claude-haiku-4-5"

    server = WireServer([Status(529), Reply("a"), Reply("b"), Reply("c")])
    async with served(server, ClaudeHooks(noted)) as claude:
        llm = lutum.Lutum(claude, retry=lutum.RetryPolicy(attempts=2, initial=0))
        first = await llm.text_turn("q").collect()
        assert (asked, first.model, len(first.attempts)) == (["text_turn"], "claude-haiku-4-5", 2)
        turn = await llm.text_turn("q").resolve()
        shown = turn.preview()
        assert len(asked) == 2
        await turn.collect()
        assert len(asked) == 2
        assert server.requests[-1].body == shown.body == server.requests[-2].body
        await turn.model("claude-opus-4-5").collect()
        assert server.requests[-1].json["model"] == "claude-opus-4-5"
        assert len(asked) == 2


async def test_a_session_compares_with_what_the_hooks_sent() -> None:
    """The committed request is prepared as it went out, so its hooks are not asked for a preview."""
    server = WireServer([Reply("a"), Reply("b")])

    @ClaudeHooks.resolve_model
    async def smaller(request: TurnRequest, model: str) -> str:
        return "claude-haiku-4-5"

    async with served(server, ClaudeHooks(smaller)) as claude:
        session = lutum.Session(lutum.Lutum(claude))
        session.push_user("q")
        result = await session.text_turn().collect()
        session.commit_text(result)
        assert result.turn.model == "claude-haiku-4-5"
        session.push_user("more")
        turn = await session.text_turn().resolve()
        shown = turn.preview()
        assert (shown.first_difference, shown.forms[0].exact) == (None, True)
        session.commit_text(await turn.collect())


async def test_a_hook_of_an_adapter_that_raises_fails_the_turn() -> None:
    """Nothing is reserved or sent, and the note names the adapter's slot."""

    @ClaudeHooks.resolve_model
    async def broken(request: TurnRequest, model: str) -> str:
        raise LookupError("no such tier")

    server = WireServer([])
    async with served(server, ClaudeHooks(broken)) as claude:
        llm = lutum.Lutum(claude, budget=lutum.Budget(tokens=10))
        for end in (llm.text_turn("q").collect, llm.text_turn("q").resolve, llm.text_turn("q").estimate):
            with pytest.raises(LookupError) as caught:
                await end()
            assert caught.value.__notes__ == ["in hook slot ClaudeHooks.resolve_model"]
        assert llm.budget.statistics().open_leases == 0
    assert server.requests == []


async def test_bad_input_is_refused_before_a_hook_is_asked() -> None:
    """A turn that cannot be asks nobody."""

    @ClaudeHooks.resolve_model
    async def never(request: TurnRequest, model: str) -> str:
        raise AssertionError("asked")

    async with served(WireServer([]), ClaudeHooks(never)) as claude:
        with pytest.raises(lutum.BadValue, match="input"):
            await lutum.Session(lutum.Lutum(claude)).text_turn().collect()


async def test_recorders_ask_the_hooks_of_what_they_wrap() -> None:
    """A recording and its replay send what the adapter alone would send."""

    @ClaudeHooks.resolve_model
    async def smaller(request: TurnRequest, model: str) -> str:
        return "claude-haiku-4-5"

    server = WireServer([Reply("a")])
    async with served(server, ClaudeHooks(smaller)) as claude:
        recorder = RecordingAdapter(claude)
        first = await lutum.Lutum(recorder).text_turn("q").collect()
        assert first.model == server.requests[0].json["model"] == "claude-haiku-4-5"
        again = await lutum.Lutum(ReplayAdapter(claude, recorder.logs)).text_turn("q").collect()
        assert again.turn == first.turn
    plain = lutum.Lutum(RecordingAdapter(FakeAdapter(WHOLE))).text_turn("q")
    assert plain.preview().pending_hooks == ()
    assert (await plain.collect()).text == "hi"
