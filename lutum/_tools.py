"""Tools, the calls a model makes of them, and the rounds that answer those calls.

A round is answered as a whole or not at all: `answered` checks one result a call and puts them in
call order, and only then does anybody append them to a transcript.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast, final

import msgspec
from typing_extensions import TypeVar

from lutum._errors import BadValue, UsageError
from lutum._input import Document, Image, ModelInput, Raw, Text, ToolResult, parts
from lutum._results import CommittedTurn, IssueReason, TextResult, ToolCallItem, ToolDef, Usage
from lutum._transcript import Transcript

I = TypeVar("I", default=dict[str, Any])
R = TypeVar("R", default=TextResult)

# Enough of broken arguments for a model to see its slip, without paying for all of them again.
QUOTED = 200


@final
@dataclass(frozen=True, slots=True)
class RawTool:
    """A tool whose JSON schema is known only at run time; its input is the decoded object."""

    definition: ToolDef

    def decode(self, arguments: str) -> dict[str, Any]:
        """Raises msgspec.ValidationError when the arguments are not one JSON object."""
        return msgspec.json.decode(arguments, type=dict[str, Any])


def raw_tool(name: str, schema: Mapping[str, Any] | str, description: str = "") -> RawTool:
    """A tool from a name and a JSON schema (an object, or JSON text that is sent as it is).

    Raises:
      BadValue: a blank name, or a schema that is no JSON object of type `object`.
    """
    if not name.strip():
        raise BadValue("tool.name", "is blank")
    text = schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()
    try:
        decoded = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise BadValue(f"tool {name!r}: schema", str(exc)) from None
    if decoded.get("type") != "object":
        raise BadValue(f"tool {name!r}: schema", f"its type is {decoded.get('type')!r}, not 'object'")
    if "properties" not in decoded:  # Azure OpenAI refuses an object schema without it
        text = msgspec.json.encode({**decoded, "properties": {}}).decode()
    return RawTool(ToolDef(name, text, description))


@final
class Toolset(Generic[I]):
    """Tools that are offered together; names are unique.

    Raises:
      BadValue: two tools have one name.
    """

    __slots__ = ("_by_name",)

    def __init__(self, *tools: RawTool) -> None:
        self._by_name: dict[str, RawTool] = {}
        for tool in tools:
            name = tool.definition.name
            if name in self._by_name:
                raise BadValue("tools", f"two are called {name!r}")
            self._by_name[name] = tool

    @property
    def definitions(self) -> tuple[ToolDef, ...]:
        """The tools as providers see them, in order."""
        return tuple(tool.definition for tool in self._by_name.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._by_name)

    def get(self, name: str) -> RawTool | None:
        """The tool of that name."""
        return self._by_name.get(name)


@final
@dataclass(frozen=True, slots=True)
class ToolCall(Generic[I]):
    """A call the model made. Answer it with `complete`, `reject` or `fail`.

    `arguments` is the model's JSON text, `input` what it decodes to.
    """

    id: str
    name: str
    arguments: str
    input: I

    def complete(self, output: object) -> ToolResult:
        """The answer: text as it is, parts as they are, anything else as JSON.

        Raises:
          BadValue: the output cannot be encoded; the message names the tool.
        """
        return self._result(_content(self.name, output), is_error=False)

    def reject(self, why: str) -> ToolResult:
        """Tell the model that the call was not run."""
        return self._result(parts("why", f"rejected: {why}"), is_error=True)

    def fail(self, exc: BaseException) -> ToolResult:
        """Tell the model that the tool failed; of the exception it learns the type only."""
        return self._result(parts("exc", f"failed: {type(exc).__name__}"), is_error=True)

    def _result(self, content: tuple[Any, ...], *, is_error: bool) -> ToolResult:
        return ToolResult(self.id, content, is_error, self.name, self.arguments)


@dataclass(frozen=True, slots=True)
class CallIssue:
    """A call that cannot be run, and why; it is answered for you when its round is committed."""

    id: str
    name: str
    arguments: str
    reason: IssueReason
    detail: str = ""

    @property
    def message(self) -> str:
        """What the model is told."""
        match self.reason:
            case "not_available":
                return f"tool {self.name!r} is not available in this round"
            case "unknown_tool":
                return f"there is no tool {self.name!r}"
            case "invalid_arguments":
                return f"the arguments of {self.name!r} do not fit its schema: {self.detail}"
            case "malformed_arguments":
                quoted = self.arguments[:QUOTED]
                return f"the arguments of {self.name!r} are not one JSON object; they began: {quoted}"

    def answer(self) -> ToolResult:
        """What is committed unless you answer it yourself."""
        return ToolResult(self.id, (Text(self.message),), True, self.name, self.arguments)


@final
@dataclass(frozen=True, slots=True)
class ToolRound(Generic[I]):
    """A turn that waits for results: its calls, in order, and the issues that are answered for you."""

    result: TextResult
    calls: tuple[ToolCall[I], ...]
    issues: tuple[CallIssue, ...] = ()

    @property
    def turn(self) -> CommittedTurn:
        """The turn that called."""
        return self.result.turn

    @property
    def usage(self) -> Usage:
        """What the request that called is charged."""
        return self.result.usage

    @property
    def finish_reason(self) -> str:
        """Why the turn ended; a turn with calls need not say `tool_calls`."""
        return self.result.finish_reason

    @property
    def base(self) -> Transcript:
        """The transcript the turn was built on."""
        return self.result.base

    def expect_one(self) -> ToolCall[I]:
        """The only call. Raises UsageError when there are none or several."""
        if len(self.calls) != 1:
            raise UsageError(f"round: {len(self.calls)} calls where one was expected")
        return self.calls[0]

    def expect_at_most_one(self) -> ToolCall[I] | None:
        """The only call, or None. Raises UsageError when there are several."""
        return self.expect_one() if self.calls else None

    def commit_into(self, base: ModelInput, results: Iterable[ToolResult]) -> ModelInput:
        """`base` with the turn and its results; `Session.commit_round` without a session.

        Raises:
          UsageError: a result is missing, double, extra or altered.
        """
        transcript = base.transcript.append(self.turn)
        for result in self.answered(results):
            transcript = transcript.append(result)
        return ModelInput(transcript)

    def answered(self, results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
        """One result a call, in call order, with issues answered where you did not.

        Raises:
          UsageError: a result is missing, double, extra, or says another name or other arguments; or two
            calls have one id, so that no result could tell them apart.
        """
        wanted = {call.id: call for call in self.turn.tool_calls}
        if len(wanted) < len(self.turn.tool_calls):
            ids = [call.id for call in self.turn.tool_calls]
            raise UsageError(f"round: two calls of this turn have one id: {ids}")
        given = dict[str, ToolResult]()
        for result in results:
            if not isinstance(result, ToolResult):
                raise UsageError(f"round: {type(result).__name__} is no result; call.complete(it) makes one")
            call = wanted.get(result.call_id)
            if call is None:
                raise UsageError(f"round: result {result.call_id!r} answers no call of this turn")
            if result.call_id in given:
                raise UsageError(f"round: two results for call {result.call_id!r} of {call.name!r}")
            given[result.call_id] = _bare(call, result)
        for issue in self.issues:
            given.setdefault(issue.id, _bare(wanted[issue.id], issue.answer()))
        for call in self.turn.tool_calls:
            if call.id not in given:
                raise UsageError(f"round: no result for call {call.id!r} of {call.name!r}")
        return tuple(given[id] for id in wanted)


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """A turn with tools that called none: `result` may be committed."""

    result: R


@dataclass(frozen=True, slots=True)
class NeedsTools(Generic[I]):
    """A turn that called tools: run `round.calls`, then `session.commit_round(round, results)`."""

    round: ToolRound[I]


def _bare(call: ToolCallItem, result: ToolResult) -> ToolResult:
    """The result as the transcript keeps it: name and arguments stand in the turn before it."""
    if result.name is not None and result.name != call.name:
        raise UsageError(f"round: the result for {call.name!r} ({call.id!r}) says it is of {result.name!r}")
    if result.arguments is not None and result.arguments != call.arguments:
        raise UsageError(f"round: the result for {call.name!r} ({call.id!r}) says other arguments")
    return ToolResult(result.call_id, result.content, result.is_error)


def _content(tool: str, output: object) -> tuple[Any, ...]:
    if isinstance(output, str | Text | Image | Document | Raw):
        return parts(f"output of {tool!r}", output)
    if isinstance(output, list | tuple):
        several = cast("Sequence[object]", output)
        found = [part for part in several if isinstance(part, Text | Image | Document | Raw)]
        if found and len(found) == len(several):
            return parts(f"output of {tool!r}", found)
    try:
        return (Text(msgspec.json.encode(output).decode()),)
    except (TypeError, msgspec.MsgspecError, RecursionError) as exc:
        raise BadValue(f"output of {tool!r}", str(exc)) from None
