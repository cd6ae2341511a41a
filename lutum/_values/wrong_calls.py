"""The most common wrong calls: an attribute that does not exist, and an `await` that is missing.

No I/O, no clock, no tasks. Type checkers find all of these; the messages are for programs without one.
"""

from __future__ import annotations

import difflib
from collections.abc import Coroutine, Generator, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar, final

from lutum._values.errors import NoSuchName

R = TypeVar("R", covariant=True)


def _same(remedy: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, remedy)


def no_such_name(thing: object, name: str, remedies: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that `thing` does not have.

    If the name begins with an underscore, it is Python's own error, because programs look up such names to
    inspect an object.
    """
    kind = type(thing).__name__
    if name.startswith("_"):
        return AttributeError(f"{kind!r} object has no attribute {name!r}")
    public = [known for known in dir(type(thing)) if not known.startswith("_")]
    if name in remedies:
        remedy = remedies[name]
    elif near := difflib.get_close_matches(name.lower(), public, 3, 0.6):
        remedy = f"did you mean {' or '.join(f'.{one}' for one in near)}?"
    else:
        remedy = f"it has {', '.join(public)}"
    return NoSuchName(f"{kind}.{name} does not exist: {remedy}")


@final
class Pending(Coroutine[Any, Any, R], Generic[R]):
    """A coroutine that names the missing `await` when its result is read from it."""

    __slots__ = ("__weakref__", "_call", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, R], call: str) -> None:
        self._coroutine = coroutine
        self._call = call

    def __await__(self) -> Generator[Any, Any, R]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        """Resume the coroutine with a value."""
        return self._coroutine.send(value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> Any:
        """Resume the coroutine with an exception."""
        error: Any = value if isinstance(value, BaseException) else kind
        if isinstance(error, type):
            error = error() if value is None else error(value)
        return self._coroutine.throw(error if trace is None else error.with_traceback(trace))

    def close(self) -> None:
        """Close the coroutine."""
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<coroutine {self._call}(), which was not awaited>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "cr_")):  # schedulers and debuggers look at these
            return getattr(self._coroutine, name)
        self._coroutine.close()  # this error replaces the warning that it was never awaited
        raise NoSuchName(
            f"{self._call}() is a coroutine and has no .{name}: `await` is missing. Write"
            f" `result = await ....{self._call}()`, and then result.{name}"
        )


_COLLECT = "write `result = await turn.collect()`"
_PUSH = "write session.push_user(...), session.push_system(...) or session.push_assistant(...)"
_ASK = "write `result = await llm.text_turn(...).collect()`"
_CONVERSE = (
    "write session.push_user(...), `result = await session.text_turn().collect()` and then"
    " session.commit_text(result)"
)
_OUTCOME = (
    "a turn with tools ends in one of two outcomes: `match outcome:` with `case lutum.Finished(result):`,"
    " which has result.text, and `case lutum.NeedsTools(round):`, which has round.calls"
)
_EXT = "write .ext(...) with the provider's options"
_EFFORT = "write .effort('low'), or .ext(...) with the provider's options"
_BEFORE = "give the messages before: llm.text_turn(lutum.ModelInput().system(...).user(...))"
_VERBS = ("ask", "chat", "complete", "create", "execute", "generate", "invoke", "run", "send")

BUILDER: Mapping[str, str] = {
    **_same("write .max_output_tokens(n)", "max_tokens", "max_completion_tokens", "output_tokens"),
    **_same("write .tools(lutum.Toolset(f, g))", "tool", "functions", "bind_tools", "with_tools"),
    **_same(_EFFORT, "thinking", "reasoning", "reasoning_effort"),
    **_same(_EXT, "options", "extra", "extra_body", "extra_headers", "metadata"),
    **_same(_COLLECT, *_VERBS, "result", "text", "content", "value"),
    **_same(_BEFORE, "system", "user", "messages", "prompt"),
    "retries": "write .retry(lutum.RetryPolicy(attempts=n))",
    "tool_choice": "write .require() or .available(only=[...])",
    "stop_sequences": "write .stop('...')",
}

LUTUM: Mapping[str, str] = {
    **_same(_ASK, *_VERBS, "collect", "messages", "completions"),
    "stream": "write `async with llm.text_turn(...).stream() as turn:`",
    "session": "write lutum.Session(llm)",
    "model": "the adapter has the model; write .model(...) on a turn to ask another",
}

SESSION: Mapping[str, str] = {
    **_same(_PUSH, "add", "add_message", "add_user", "append", "push", "user", "system", "assistant"),
    **_same(_CONVERSE, *_VERBS, "collect"),
    **_same("its items are in session.transcript", "history", "items", "messages"),
    "stream": "write `async with session.text_turn().stream() as turn:`",
    "commit": "write session.commit_text(result), commit_structured(result) or commit_round(round, results)",
    "budget": "write session.llm.budget",
}

RESULT: Mapping[str, str] = {
    **_same("write result.text", "content", "message", "output", "output_text", "choices", "answer"),
    **_same("write llm.structured_turn(T, ...), whose result has .value", "parsed", "data", "value"),
    **_same("offer tools with .tools(...), and match the outcome", "calls", "tool_calls", "round"),
    **_same("write result.usage, which has cost_usd and total_tokens", "cost", "tokens"),
    "stop_reason": "write result.finish_reason",
    "citations": "write result.turn.citations",
}

_OF_RESULT = (
    "text",
    "reasoning",
    "refusal",
    "finish_reason",
    "usage",
    "turn",
    "model",
    "value",
    "request_id",
)
_OF_ROUND = ("calls", "tool_calls", "result", "round", "run", "content", "output", "message")

OUTCOME: Mapping[str, str] = _same(_OUTCOME, *_OF_RESULT, *_OF_ROUND)
