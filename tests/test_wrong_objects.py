"""An object of the wrong kind is refused at once, by an error that names the field and the remedy."""

from collections.abc import Callable
from typing import Any

import pytest

import lutum
from lutum.testing import ScriptedAdapter

ADAPTER = ScriptedAdapter()
LLM: Any = lutum.Lutum(ADAPTER)
SESSION: Any = lutum.Session(LLM)
TURN: Any = LLM.text_turn("x")
MAKE: Any = lutum.Lutum
CLAUDE: Any = lutum.ClaudeAdapter
INPUT: Any = lutum.ModelInput()


@lutum.tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def made_round() -> Any:
    """A round with one call."""
    llm = lutum.Lutum(ScriptedAdapter([[lutum.ToolCallReady("c1", "add", '{"a":1,"b":2}')]]))
    outcome = lutum.run(llm.text_turn("x").tools(lutum.Toolset(add)).collect)
    assert isinstance(outcome, lutum.NeedsTools)
    return outcome.round


ROUND: Any = made_round()

WRONG: list[tuple[str, str, Callable[[], object]]] = [
    ("adapter", "an adapter", lambda: MAKE(3)),
    ("adapter", "make an instance", lambda: MAKE(lutum.ClaudeAdapter)),
    ("adapter", "an adapter", lambda: MAKE("claude")),
    ("completion", "an adapter", lambda: MAKE(ADAPTER, completion=3)),
    ("recovery", "recover_usage", lambda: MAKE(ADAPTER, recovery=3)),
    ("pricing", "lutum.Pricing", lambda: MAKE(ADAPTER, pricing=3)),
    ("retry", "lutum.RetryPolicy", lambda: MAKE(ADAPTER, retry=3)),
    ("timeout", "lutum.Timeouts", lambda: MAKE(ADAPTER, timeout=3)),
    ("estimate", "function", lambda: MAKE(ADAPTER, estimate=3)),
    ("hooks", "lutum.LutumHooks", lambda: MAKE(ADAPTER, hooks=3)),
    ("ext", "a tuple of options", lambda: MAKE(ADAPTER, ext=3)),
    ("ext[0]", "options of a provider", lambda: MAKE(ADAPTER, ext=(3,))),
    ("ext[0]", "make an instance", lambda: TURN.ext(lutum.ClaudeOptions)),
    ("budget", "not a ledger", lambda: MAKE(ADAPTER, budget=3)),
    ("budget", "not a ledger", lambda: MAKE(ADAPTER, budget=lutum.Budget)),
    ("ledger", "not a ledger", lambda: LLM.charged_to(3)),
    ("llm", "Session\\(Lutum\\(adapter\\)\\)", lambda: lutum.Session(ADAPTER)),  # type: ignore[arg-type]
    ("llm", "a Lutum", lambda: SESSION.fork(3)),
    ("transcript", "lutum.Transcript", lambda: lutum.Session(LLM, 3)),  # type: ignore[arg-type]
    ("transcript", "lutum.Transcript", lambda: setattr(SESSION, "transcript", 3)),
    ("input", "lutum.ModelInput", lambda: LLM.text_turn(3)),
    ("input", "lutum.ModelInput", lambda: LLM.text_turn(SESSION)),
    ("prompt", "a str", lambda: LLM.completion(3)),
    ("tools", "lutum.Toolset", lambda: TURN.tools(3)),
    ("tools", "lutum.Toolset", lambda: TURN.tools([add])),
    ("tools", "lutum.Toolset", lambda: TURN.tools(add)),
    ("retry", "or None", lambda: TURN.retry(3)),
    ("reserve", "lutum.Estimate", lambda: TURN.reserve(3)),
    ("limit", "lutum.RequestBudget", lambda: TURN.limit(3)),
    ("model", "the name of a model", lambda: TURN.model(3)),
    ("temperature", "a number", lambda: TURN.temperature("x")),
    ("temperature", "a number", lambda: TURN.temperature(True)),
    ("max_output_tokens", "an integer", lambda: TURN.max_output_tokens("x")),
    ("max_output_tokens", "an integer", lambda: TURN.max_output_tokens(2.5)),
    ("seed", "an integer", lambda: TURN.seed("x")),
    ("stop", "texts", lambda: TURN.stop(3)),
    ("timeout.total", "above 0 s", lambda: TURN.timeout(total="x")),
    ("label", "text or numbers", lambda: TURN.label(None)),
    ("turn", "result.turn", lambda: SESSION.push_turn(3)),
    ("turn", "result.turn", lambda: SESSION.push_ephemeral_turn(3)),
    ("turn", "result.turn", lambda: INPUT.turn(3)),
    ("result", "match the outcome", lambda: SESSION.commit_text(3)),
    ("result", "match the outcome", lambda: SESSION.commit_text(TURN)),
    ("result", "a structured turn", lambda: SESSION.commit_structured(3)),
    ("round", "outcome.round", lambda: SESSION.commit_round(3, [])),
    ("results", "round.run", lambda: SESSION.commit_round(ROUND, 3)),
    ("results[0]", "call.complete", lambda: SESSION.commit_round(ROUND, ["sunny"])),
    ("tools", "lutum.Toolset", lambda: SESSION.open_round(add)),
    ("defaults", "lutum.Settings", lambda: setattr(SESSION, "defaults", 3)),
    ("raw.json", "text or bytes", lambda: SESSION.push_raw("claude", {})),
    ("item 0", "a Message", lambda: lutum.Transcript([3])),  # type: ignore[list-item]
    ("item 0", "a Message", lambda: SESSION.transcript.append("hello")),
    ("data", "the bytes of a dump", lambda: lutum.Transcript.load("x")),  # type: ignore[arg-type]
    ("prices", "by model", lambda: lutum.Pricing(3)),  # type: ignore[arg-type]
    ("retry.attempts", "an integer", lambda: lutum.RetryPolicy(attempts="x")),  # type: ignore[arg-type]
    ("retry.jitter", "a number", lambda: lutum.RetryPolicy(jitter="x")),  # type: ignore[arg-type]
    ("estimate", "lutum.Estimate", lambda: LLM.budget.reserve(3)),
    ("fn", "an async function", lambda: lutum.run(3)),  # type: ignore[arg-type]
    ("handler", "an async function", lambda: lutum.run(TURN.collect_with, 3)),
    ("user", "neither text nor parts", lambda: SESSION.push_user(3)),
    ("user", "neither text nor parts", lambda: INPUT.user(3)),
    ("role", "'bot' is not one of", lambda: lutum.Message("bot", (lutum.Text("x"),))),  # type: ignore[arg-type]
    ("content", "a tuple of parts", lambda: lutum.Message("user", "x")),  # type: ignore[arg-type]
    ("prices['m']", "lutum.Price", lambda: lutum.Pricing({"m": 3})),  # type: ignore[dict-item]
    ("turn", "the builder of the turn", lambda: lutum.result_from_body(b"{}", 3)),  # type: ignore[arg-type]
    ("model", "the name of a model", lambda: CLAUDE(3, api_key="k")),
    ("base_url", "URL", lambda: CLAUDE("m", api_key="k", base_url=3)),
    ("http_client", "AsyncClient", lambda: CLAUDE("m", api_key="k", http_client=3)),
    ("options", "ClaudeOptions", lambda: CLAUDE("m", api_key="k", options=lutum.OpenAIOptions())),
    ("hooks", "ClaudeHooks", lambda: CLAUDE("m", api_key="k", hooks=3)),
]


@pytest.mark.parametrize(("field", "remedy", "make"), WRONG, ids=[f"{i}-{w[0]}" for i, w in enumerate(WRONG)])
def test_a_wrong_object_is_refused_at_once(field: str, remedy: str, make: Callable[[], object]) -> None:
    with pytest.raises(lutum.BadValue, match=remedy) as caught:
        make()
    assert caught.value.field == field
