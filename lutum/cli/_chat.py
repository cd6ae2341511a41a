"""`lutum chat`: a conversation with branches, in a terminal.

Each turn has an event loop of its own, so that between turns the terminal belongs to the line that is
typed, and Ctrl-C in a turn is a signal that cancels the turn.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

import lutum
from lutum import trace
from lutum.cli import _chat_commands, _connect, _history, _interrupt, _show
from lutum.cli._report import report
from lutum.cli._terminal import Terminal
from lutum.cli._typed import Typed

if TYPE_CHECKING:
    from lutum.cli._store_history import StoreHistory


def run_chat(
    endpoint: _connect.Endpoint,
    *,
    system: str | None,
    session: str | None,
    store: str | None = None,
    branch: str | None = None,
    raw: bool = False,
) -> int:
    """Talk until /quit; returns the exit code."""
    out = Terminal(raw=raw)
    with ExitStack() as stack:
        try:
            _connect.check(endpoint)
            history: _history.History | StoreHistory | None = None
            if store is not None:
                history = stack.enter_context(_store_history(store, branch or _history.MAIN))
            elif session is not None:
                history = stack.enter_context(_history.History(Path(session)))
            chat = Chat(endpoint, out, Typed(), history, system)
            chat.begin(session if store is None else store)
        except (lutum.LutumError, OSError) as error:
            report("chat", error)
            return 1
        return chat.talk()


def _store_history(store: str, branch: str) -> StoreHistory:
    from lutum.cli._store_history import StoreHistory  # only who names a store loads one

    return StoreHistory(store, branch)


class Chat:
    """The branches, the one that is current, and what its commands change.

    Raises:
      BadValue: a system prompt for a session that has begun with another.
    """

    def __init__(
        self,
        endpoint: _connect.Endpoint,
        out: Terminal,
        typed: Typed,
        history: _history.History | StoreHistory | None,
        system: str | None,
    ) -> None:
        self.out = out
        self.budget = lutum.Budget()
        self.trace: trace.Trace | None = None
        tree = _history.Tree({_history.MAIN: lutum.Transcript()}) if history is None else history.tree
        self.branches = dict(tree.branches)
        self.current = tree.current
        self._endpoint = endpoint
        self._typed = typed
        self._history = history
        self._failed = False
        if system is not None:
            self._begin_with(system)

    @property
    def here(self) -> lutum.Transcript:
        """Where the current branch stands."""
        return self.branches[self.current]

    def begin(self, session: str | None) -> None:
        """Say where we are; a message that was never answered is given back to be sent again."""
        self.out.title(f"Talking to {self._endpoint}. /help says more, /quit ends.")
        if session is not None and any(self.branches.values()):
            count = f", {len(self.branches)} branches" if len(self.branches) > 1 else ""
            self.out.note(f"{session}: on {self.current}, {len(self.here)} items{count}.")
            if (words := _unanswered(self.here)) is not None:
                self.move(self.current, self.here[: len(self.here) - 1])
                self._typed.offer(words)
                self.out.note(f"Not answered, and taken back: {words}")
            _show.last_exchange(self.out, self.here)

    def talk(self) -> int:
        """Read lines and answer them until the end."""
        while (line := self._typed.line(f"{self.current}> ")) is not None:
            try:
                if line.startswith("/"):
                    if not _chat_commands.obey(self, line):
                        break
                elif line.strip():
                    self._answer(line.strip())
            except (lutum.LutumError, OSError) as error:
                self.out.gap()
                report("chat", error)
                self._failed = True
            except KeyboardInterrupt:  # between two event loops
                self.out.gap()
        # In a pipe nobody saw that a turn failed.
        return 1 if self._failed and not self._typed.terminal else 0

    def move(self, branch: str, at: lutum.Transcript) -> None:
        """Make a branch current, and have it stand there. Raises OSError; then nothing changed."""
        if self._history is not None:
            self._history.mark(branch, at)
        self.branches[branch] = at
        self.current = branch

    def _grow(self, to: lutum.Transcript, session: lutum.Session | None = None) -> None:
        if self._history is not None:
            self._history.append(self.here, to, session)
        self.branches[self.current] = to

    def _begin_with(self, system: str) -> None:
        given = lutum.ModelInput().system(system).transcript
        if not self.here:
            self._grow(given)
        elif self.here[:1] != given:
            raise lutum.BadValue("--system", "this session began with another one, which stays")

    def _answer(self, words: str) -> None:
        self.out.gap()
        interrupts = _interrupt.Interrupts()
        interrupts.run(self._exchange, words, interrupts)
        self.out.gap()

    async def _exchange(self, words: str, interrupts: _interrupt.Interrupts) -> None:
        """Ask, show, store; Ctrl-C stops what is asked, and never what is being stored."""
        async with _connect.connected(self._endpoint) as adapter, trace.capture() as self.trace:
            session = lutum.Session(lutum.Lutum(adapter, budget=self.budget), self.here)
            session.push_user(words)
            turn = session.text_turn().stream()
            with interrupts.cancelling(anyio.CancelScope()) as scope:
                await self._shown(turn)
            if scope.cancelled_caught:
                used = f"{turn.usage.total_tokens} tokens, {turn.usage.known}"
                self.out.note(f"Stopped; nothing is stored. Charged: {used}.")
                return
            session.commit_text(turn.result)
            self._grow(session.transcript, session)
            if turn.result.finish_reason != "stop":
                self.out.note(f"It ended by: {turn.result.finish_reason}.")

    async def _shown(self, turn: lutum.Stream[lutum.TextResult]) -> None:
        with self.out.answer() as answer:
            async with turn:
                async for event in turn:
                    match event:
                        case lutum.ReasoningDelta(text=text):
                            answer.piece(text, reasoning=True)
                        case lutum.TextDelta(text=text) | lutum.RefusalDelta(text=text):
                            answer.piece(text)
                        case _:
                            pass


def _unanswered(transcript: lutum.Transcript) -> str | None:
    """The words of a last message that waits for an answer."""
    last = transcript[-1] if transcript else None
    return last.text if isinstance(last, lutum.Message) and last.role == "user" else None
