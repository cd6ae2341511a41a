"""`lutum ask`: one prompt. Standard output gets only the answer; standard error gets everything else."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, final

import msgspec
from msgspec import Struct

import lutum
from lutum._text import Cleaner, printable
from lutum.cli import _attach, _connect, _interrupt, _settings, _spending, _tools
from lutum.cli._busy import BusyRetry
from lutum.cli._exit_codes import ANSWERED, FAILED, INCOMPLETE, REFUSED_BY_BUDGET, WRONG_ARGUMENTS
from lutum.cli._report import first_of, report

RETRY = BusyRetry(attempts=4)
"""The request is sent again if the provider is busy. A line on standard error announces it."""


@final
class AskCommand(Struct, frozen=True, kw_only=True):
    """The arguments of the command; the fields have the names of the options."""

    words: Sequence[str] = ()
    endpoint: _connect.Endpoint
    system: str | None = None
    attach: Sequence[str] = ()
    option: Sequence[str] = ()
    schema: str | None = None
    max_output_tokens: int | None = None
    effort: str | None = None
    budget: str | None = None
    json: bool = False
    tools: Sequence[str] = ()
    mcp: Sequence[str] = ()
    max_rounds: int = 10
    approve: bool = False
    store: str | None = None
    branch: str | None = None
    no_stdin: bool = False
    raw: bool = False
    verbose: bool = False


def run_ask(command: AskCommand) -> int:
    """Ask the question and return the exit code."""
    try:
        return _interrupt.run(_Ask(command).answered)
    except BaseExceptionGroup as group:
        error = first_of(group)
        if not isinstance(error, Exception):
            raise error from group
    except (lutum.LutumError, OSError) as caught:
        error = caught
    if isinstance(error, BrokenPipeError):
        raise error
    report("ask", error)
    if isinstance(error, lutum.BudgetExceeded):
        return REFUSED_BY_BUDGET
    if isinstance(error, lutum.OutputLimitExceeded | lutum.Refused):
        return INCOMPLETE
    return WRONG_ARGUMENTS if isinstance(error, lutum.UsageError) else FAILED


def prompt_of(words: Sequence[str], *, no_stdin: bool, attached: Sequence[str] = ()) -> str:
    """Return the question, followed by the piped input.

    Raises:
      BadValue: there is no question, no piped input and no attachment.
    """
    question = " ".join(words).strip()
    piped = "" if no_stdin or "-" in attached or _is_terminal() else _standard_input()
    text = "\n\n".join(part for part in (question, piped.strip("\n")) if part.strip())
    if not text and not attached:
        raise lutum.BadValue("question", "is missing; write it as in lutum ask 'QUESTION', or pipe it in")
    return text


def _is_terminal() -> bool:
    return sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode(errors="replace")


@final
class _Ask:
    """The state of one `lutum ask` while it runs."""

    def __init__(self, command: AskCommand) -> None:
        self._command = command
        self._cleaner = Cleaner()
        self._last = "\n"
        self._note_open = False

    async def answered(self) -> int:
        """Ask until there is an answer, print it and return the exit code."""
        command = self._command
        kind = None
        if command.schema is not None:
            from lutum.cli import _schema_type  # only for structured answers

            kind = _schema_type.schema_type(command.schema)
        async with (
            _connect.connected(command.endpoint) as adapter,
            _spending.boundary(adapter, command.budget, RETRY) as llm,
            self._session(llm) as (session, save),
            _tools.toolset_of(command.tools, command.mcp) as tools,
        ):
            session.defaults = _settings.settings_of(
                adapter, command.option, command.effort, command.max_output_tokens
            )
            self._push(session)
            session.text_turn().preview()  # errors are reported before anything is sent
            result = await self._exchange(session, kind, tools)
            await save()
            self._conclude(result, kind)
        return (
            INCOMPLETE if result.finish_reason in ("length", "content_filter") or result.refusal else ANSWERED
        )

    @asynccontextmanager
    async def _session(self, llm: lutum.Lutum) -> AsyncGenerator[tuple[lutum.Session, Any]]:
        command = self._command
        if command.store is None:

            async def nothing() -> None:
                pass

            yield lutum.Session(llm), nothing
            return
        from lutum.cli import _ask_store

        async with _ask_store.stored_session(llm, command.store, command.branch or "main") as stored:
            yield stored

    def _push(self, session: lutum.Session) -> None:
        command = self._command
        if command.system is not None:
            given = lutum.ModelInput().system(command.system).transcript
            if not session.transcript or session.transcript[:1] != given:
                session.push_system(command.system)
        text = prompt_of(command.words, no_stdin=command.no_stdin, attached=command.attach)
        parts: list[lutum.Part] = [_attach.attachment(source) for source in command.attach]
        if text:
            parts.append(lutum.Text(text))
        session.push_user(text if not command.attach else parts)

    async def _exchange(
        self, session: lutum.Session, kind: Any, tools: lutum.Toolset[Any] | None
    ) -> lutum.TextResult:
        """Run turns and their tools until a turn calls no tool. Commit each turn."""
        rounds = 0
        while True:
            turn: Any = session.text_turn() if kind is None else session.structured_turn(kind)
            if tools is not None:
                turn = turn.tools(tools)
            outcome = await self._streamed(turn, live=kind is None and tools is None)
            answer: Any = outcome  # stays Any; the check below narrows `outcome`
            if isinstance(outcome, lutum.NeedsTools):
                rounds += 1
                if rounds > self._command.max_rounds:
                    raise lutum.UsageError(
                        f"--max-rounds: the model called tools in more than {self._command.max_rounds}"
                        " rounds; give a larger number"
                    )
                round: lutum.ToolRound[Any] = answer.round
                await _tools.run(round, approve=self._command.approve, say=self._say)
                session.commit_round(round, round.results)
                continue
            result: lutum.TextResult = getattr(outcome, "result", outcome)  # a `Finished` contains it
            session.commit_text(result)  # a structured result is accepted too
            if tools is not None and kind is None and not self._command.json:
                self._write(result.text)
            return result

    async def _streamed(self, turn: Any, *, live: bool) -> Any:
        stream: lutum.Stream[Any] = turn.stream()
        try:
            async with stream:
                async for event in stream:
                    match event:
                        case lutum.TextDelta(text=text) if live and not self._command.json:
                            self._write(text)
                        case lutum.ReasoningDelta(text=text) if self._command.verbose:
                            self._say(text, end="")
                        case lutum.WillRetry(attempt=attempt, after=after, error=error):
                            self._say(f"{error}; attempt {attempt} follows in {after:.0f} s")
                        case _:
                            pass
        except BaseException:
            self._end_line()
            raise
        return stream.result

    def _conclude(self, result: Any, kind: Any) -> None:
        """Print the rest of the answer. On standard error, note a refusal or an unusual end; with `verbose`,
        also the usage."""
        command = self._command
        if kind is not None:
            value = result.value
            if not command.json:
                self._write(_json(value))
        if command.json:
            self._write(_json(_record(result, kind)))
        self._end_line()
        if result.refusal and kind is None:
            self._say(f"The model refused: {result.refusal}")
        elif result.finish_reason == "length":
            self._say("The answer was cut at the output limit; raise it with --max-output-tokens.")
        elif result.finish_reason not in ("stop", "tool_calls"):
            self._say(f"The answer ended with the finish reason {result.finish_reason!r}.")
        if command.verbose:
            used = result.cumulative_usage
            cost = "" if used.cost_usd is None else f", ${used.cost_usd}"
            tokens = f"{used.input_tokens:,} tokens in, {used.output_tokens:,} out"
            self._say(f"{result.model}: {tokens}{cost}; {used.known}")

    def _write(self, text: str) -> None:
        """Write a piece of the answer. Without --raw, remove the characters that steer a terminal."""
        shown = text if self._command.raw else self._cleaner.feed(text)
        if shown:
            self._end_note()
            self._last = shown[-1]
            sys.stdout.write(shown)
            sys.stdout.flush()

    def _end_line(self) -> None:
        if self._last != "\n":
            self._last = "\n"
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _end_note(self) -> None:
        if self._note_open:
            self._note_open = False
            print(file=sys.stderr, flush=True)

    def _say(self, text: str, end: str = "\n") -> None:
        self._end_line()
        if end:
            self._end_note()
        self._note_open = not end
        print(printable(text), end=end, file=sys.stderr, flush=True)


def _record(result: Any, kind: Any) -> dict[str, Any]:
    usage: lutum.Usage = result.cumulative_usage
    record: dict[str, Any] = {
        "text": result.text,
        "model": result.model,
        "finish_reason": result.finish_reason,
        "refusal": result.refusal,
        "request_id": result.request_id,
        "usage": msgspec.to_builtins(usage, enc_hook=str),
    }
    return record if kind is None else {"value": result.value, **record}


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=_other).decode()


def _other(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model
    return str(value) if dump is None else dump(mode="json")
