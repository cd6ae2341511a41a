"""The cases of `lutum smoke`, one function each, and the judgement of their errors.

A case returns a remark if it works. It raises `Lacking` if the endpoint does not offer the feature. All other
errors propagate to `judged`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

import lutum
from lutum.cli import _providers

Verdict = Literal["works", "lacking", "broken", "not run"]

SHORT = 2_048
"""The output limit of a turn. A model that reasons even if it is not asked to spends some of these tokens on
reasoning."""

LONG = 4_096
"""The output limit of a turn with thinking, and of the turn that the case `cancel` ends early. Claude's
thinking needs at least 1,024 tokens."""

ROUNDS = 4


class Lacking(Exception):
    """The endpoint does not have the feature; the message has the evidence."""


class Weather(msgspec.Struct):
    """The weather in a city."""

    city: str
    degrees: int


_PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = lutum.Toolset(lutum.raw_tool("weather", _PLACE, "The temperature in a city, in degrees Celsius."))


@dataclass(frozen=True, slots=True)
class Bench:
    """The environment of a case: a `Lutum` with its own ledger, and the provider's name."""

    llm: lutum.Lutum
    provider: str


async def text(bench: Bench) -> str:
    """The answer's text arrives as a stream, and the provider ends the stream."""
    pieces = list[str]()
    async with bench.llm.text_turn(_COUNT).max_output_tokens(SHORT).stream() as turn:
        async for piece in turn.text():
            pieces.append(piece)
    if not turn.result.text.strip():
        raise Lacking(_wordless(turn.result))
    if len(pieces) == 1:
        return "the text came in one piece, so it is not streamed"
    return f"{len(pieces)} pieces"


async def thinking(bench: Bench) -> str:
    """The model thinks on request, and its reasoning is shown or at least counted."""
    turn = bench.llm.text_turn("Is 91 a prime number? Think first.").max_output_tokens(LONG)
    result = await _providers.reasoning(bench.provider, turn).collect()
    if result.reasoning.strip():
        return f"{len(result.reasoning):,} characters of reasoning"
    if result.usage.reasoning_tokens:
        return f"hidden: {result.usage.reasoning_tokens:,} reasoning tokens without text"
    if any(isinstance(item, lutum.ReasoningItem) for item in result.turn.items):
        return "hidden: reasoning without text"
    raise Lacking("the model answered without thinking")


async def tools(bench: Bench) -> str:
    """The model makes a required call, and writes text after it got the result of the call."""
    session = lutum.Session(bench.llm)
    session.push_user("What is the temperature in Oslo? Use the tool.")
    said = ""
    for number in range(ROUNDS):
        turn = session.text_turn().tools(TOOLS).max_output_tokens(SHORT)
        outcome = await (_made_to_call(turn) if number == 0 else turn).collect()
        match outcome:
            case lutum.Finished():
                if not outcome.result.text.strip():
                    raise Lacking(_wordless(outcome.result))
                if number == 0:
                    raise Lacking("the model answered with text instead of the required call")
                session.commit_text(outcome.result)
                return f"{number} round{'s' if number > 1 else ''}, then text{said}"
            case lutum.NeedsTools(round):
                if round.issues and number == 0:
                    issue = round.issues[0]
                    raise Lacking(
                        f"the call cannot be run, {issue.reason}: {issue.detail or issue.arguments[:80]}"
                    )
                session.commit_round(round, [call.complete("3 degrees") for call in round.calls])
    return f"the model still calls the tool after {ROUNDS} rounds"


def _made_to_call(
    turn: lutum.TextTurn[lutum.Finished | lutum.NeedsTools],
) -> lutum.TextTurn[lutum.Finished | lutum.NeedsTools]:
    """Return the turn with a forced call of the tool, or the turn itself if the model cannot be forced."""
    required = turn.require("weather")
    try:
        required.preview()
    except lutum.BadValue as error:
        if error.field != "tool_choice":
            raise
        return turn
    return required


async def structured(bench: Bench) -> str:
    """The model returns a complete value of a type."""
    turn = bench.llm.structured_turn(Weather, "It is 3 degrees in Oslo. Say that in JSON: city, degrees.")
    result = await turn.max_output_tokens(SHORT).collect()
    if result.refusal is not None:
        raise Lacking("the model refused")
    return f"{result.value.city!r}, {result.value.degrees}"


async def replay(bench: Bench) -> str:
    """A conversation of two turns, stored and loaded between them. The second request extends the first."""
    session = lutum.Session(bench.llm)
    session.push_system("You are concise.")
    session.push_user("Name a river.")
    turn_of, result = await _first_turn(bench, session)
    session.commit_text(result)
    elsewhere = lutum.Session(bench.llm, lutum.Transcript.load(session.transcript.dump()))
    for one in (session, elsewhere):
        one.push_user("And another.")
    preview = turn_of(session).preview()
    if turn_of(elsewhere).preview().body != preview.body:
        raise RuntimeError("after loading, the conversation makes a different request")
    if preview.first_difference is not None:
        raise RuntimeError(f"the second request differs from the first at {preview.first_difference}")
    try:
        session.commit_text(await turn_of(session).collect())
    except lutum.ProviderError as error:
        raise RuntimeError(f"the endpoint refuses a stored turn: {error}") from error
    inexact = [form.reason for form in preview.forms if not form.exact]
    if inexact:
        raise Lacking(f"the turn is sent back, but not exactly: {inexact[0]}")
    return "exact" + (", with thinking" if result.reasoning else "")


def _wordless(result: lutum.TextResult) -> str:
    """Return a sentence about how a turn without text ended."""
    if result.finish_reason == "length":
        used = result.usage.output_tokens
        return f"the answer was cut at {used:,} output tokens, while the model was thinking"
    return f"the answer ended with the finish reason {result.finish_reason!r} and without text"


TurnOf = Callable[[lutum.Session], lutum.TextTurn]


async def _first_turn(bench: Bench, session: lutum.Session) -> tuple[TurnOf, lutum.TextResult]:
    """Run a turn with thinking, so that the case also checks whether thinking can be replayed. If the
    endpoint refuses thinking, run the turn without thinking."""

    def plain(session: lutum.Session) -> lutum.TextTurn:
        return session.text_turn().max_output_tokens(LONG)

    def thoughtful(session: lutum.Session) -> lutum.TextTurn:
        return _providers.reasoning(bench.provider, plain(session))

    try:
        return thoughtful, await thoughtful(session).collect()
    except (lutum.BadValue, lutum.ProviderError) as error:
        if isinstance(error, lutum.ProviderError) and error.kind not in _REFUSED | {"unknown"}:
            raise
    return plain, await plain(session).collect()


async def cancel(bench: Bench) -> str:
    """If a turn is ended early, at its first piece, its reservation is settled, and the endpoint still
    answers the next turn."""
    llm = bench.llm
    left = False
    async with llm.text_turn(_COUNT_ON).max_output_tokens(LONG).stream() as turn:
        async for event in turn:  # if the model thinks first, the turn is ended while it thinks
            if isinstance(event, lutum.TextDelta | lutum.ReasoningDelta):
                left = True
                break
    if not left:
        raise Lacking(f"the turn ended before it could be left: {_wordless(turn.result)}")
    if kept := llm.budget.reserved.total_tokens:
        raise RuntimeError(f"after the turn was left, {kept:,} tokens are still reserved")
    await llm.text_turn("Say OK.").max_output_tokens(SHORT).collect()
    return f"charged {turn.usage.total_tokens:,} tokens, {turn.usage.known}"


async def usage(bench: Bench) -> str:
    """The provider reports the usage of a turn."""
    result = await bench.llm.text_turn("Say OK.").max_output_tokens(SHORT).collect()
    used = result.usage
    if used.known != "exact" or not used.input_tokens:
        raise Lacking(
            f"the endpoint does not report usage, so budgets use estimates: {used.total_tokens:,} tokens here"
        )
    cost = "" if used.cost_usd is None else f", ${used.cost_usd}"
    return f"{used.input_tokens:,} tokens in, {used.output_tokens:,} out{cost}"


_COUNT = "Say the words one, two, three, up to ten."
_COUNT_ON = "Count from 1 to 500, in words."

CASES: dict[str, Callable[[Bench], Awaitable[str]]] = {
    "text": text,
    "thinking": thinking,
    "tools": tools,
    "structured": structured,
    "replay": replay,
    "cancel": cancel,
    "usage": usage,
}
"""The cases, in the order in which they run. `text` is first, because without it the others show nothing."""

# Errors that show nothing about the endpoint, because the request never reached it.
_OUTSIDE = frozenset({"authentication", "billing", "permission", "rate_limit", "overloaded"})
_OFFERED = frozenset({"thinking", "tools", "structured"})
_REFUSED = frozenset({"invalid_request", "not_found", "too_large"})


def judged(case: str, error: Exception) -> tuple[Verdict, str]:
    """Return the verdict for a case's error, and the reason as one line. No I/O."""
    name = type(error).__name__
    words = " ".join(str(error).split())
    match error:
        case Lacking():
            return "lacking", words
        case lutum.ProviderError() if error.kind in _OUTSIDE:
            return "not run", words
        case lutum.ProviderError() if case != "text" and error.kind in _REFUSED | {"unknown"}:
            return "lacking", f"refused: {words}"
        case lutum.BadValue(field="api_key" | "auth_token" | "credentials" | "token"):
            return "not run", words
        case lutum.BadValue() if case != "text":
            return "lacking", words
        case lutum.OutputInvalid() | lutum.OutputLimitExceeded() | lutum.Refused():
            return "lacking", f"{name}: {words}"
        case lutum.NetworkError() if case == "text":
            return "not run", words
        case _:
            return "broken", f"{name}: {words}"


def worth_repeating(case: str, error: Exception) -> bool:
    """Return whether to try the case again. A second server error shows that the server lacks the feature.
    No I/O."""
    return case in _OFFERED and isinstance(error, lutum.ProviderError) and error.kind == "server"


def failed_twice(error: Exception) -> tuple[Verdict, str]:
    """Return the verdict for a case that failed in the same way twice. No I/O."""
    return "lacking", f"the server failed twice: {' '.join(str(error).split())}"


def blocks(case: str, verdict: Verdict) -> bool:
    """Return whether the other cases can be skipped."""
    return verdict == "not run" or (case == "text" and verdict == "broken")
