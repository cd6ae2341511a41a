"""`lutum chat`: a conversation with branches, in a terminal.

Each turn runs in its own event loop. Between turns no event loop runs, so that the line editor controls the
terminal. During a turn, Ctrl-C is a signal that cancels the turn. If standard input is not a terminal, the
whole input is one message, except with `--lines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, final

import anyio
from msgspec import Struct

import lutum
from lutum import trace
from lutum.cli import _attach, _chat_commands, _connect, _history, _interrupt, _settings, _show
from lutum.cli._answer import shown
from lutum.cli._busy import BusyRetry
from lutum.cli._report import report
from lutum.cli._terminal import Terminal
from lutum.cli._typed import Typed

if TYPE_CHECKING:
    from lutum.cli._store_history import StoreHistory

RETRY = BusyRetry(attempts=6, max_delay=30.0)
"""The request is sent again if the provider is busy (429, 529). The chat counts down the pause, and Ctrl-C
ends the pause and the turn."""


@final
class ChatCommand(Struct, frozen=True, kw_only=True):
    """The arguments of the command; the fields have the names of the options."""

    endpoint: _connect.Endpoint
    system: str | None = None
    attach: Sequence[str] = ()
    option: Sequence[str] = ()
    max_output_tokens: int | None = None
    effort: str | None = None
    session: str | None = None
    store: str | None = None
    branch: str | None = None
    plain: bool = False
    lines: bool = False
    raw: bool = False


def run_chat(command: ChatCommand) -> int:
    """Run the chat until /quit or the end of the input. Return the exit code."""
    out = Terminal(raw=command.raw)
    with ExitStack() as stack:
        try:
            _connect.check(command.endpoint)
            history: _history.History | StoreHistory | None = None
            if command.store is not None:
                history = stack.enter_context(_store_history(command.store, command.branch or _history.MAIN))
            elif command.session is not None:
                history = stack.enter_context(_history.History(Path(command.session)))
            chat = Chat(command, out, Typed(), history)
            chat.begin(command.session if command.store is None else command.store)
        except (lutum.LutumError, OSError) as error:
            report("chat", error)
            return 1
        return chat.talk()


def _store_history(store: str, branch: str) -> StoreHistory:
    from lutum.cli._store_history import StoreHistory  # loaded only if a store is named

    return StoreHistory(store, branch)


class Chat:
    """The state of a chat: its branches, the current branch, and the values that commands change.

    Raises:
      BadValue: the session began with another system prompt, or an attachment is not an image or a document.
      OSError: an attachment cannot be read.
    """

    def __init__(
        self,
        command: ChatCommand,
        out: Terminal,
        typed: Typed,
        history: _history.History | StoreHistory | None,
    ) -> None:
        self.out = out
        self.budget = lutum.Budget()
        self.trace: trace.Trace | None = None
        tree = _history.Tree({_history.MAIN: lutum.Transcript()}) if history is None else history.tree
        self.branches = dict(tree.branches)
        self.current = tree.current
        self.endpoint = command.endpoint
        self.effort = command.effort
        self.pending: lutum.Message | None = None
        self.attached: list[lutum.Part] = [_attach.attachment(source) for source in command.attach]
        self._command = command
        self.typed = typed
        self._history = history
        self._failed = False
        if command.system is not None:
            self._begin_with(command.system)

    @property
    def here(self) -> lutum.Transcript:
        """The transcript of the current branch."""
        return self.branches[self.current]

    def begin(self, session: str | None) -> None:
        """Show the endpoint and the stored session. A last message without an answer is removed from the
        branch and kept for /retry."""
        # The title is left out if a program reads the answer.
        if self.typed.terminal or self._command.lines:
            self.out.title(f"Talking to {self.endpoint}. /help lists commands, /quit ends.")
        if session is not None and any(self.branches.values()):
            count = f", {len(self.branches)} branches" if len(self.branches) > 1 else ""
            if self.typed.terminal or self._command.lines:
                self.out.note(f"{session}: on {self.current}, {len(self.here)} items{count}.")
            if (message := _unanswered(self.here)) is not None:
                self.move(self.current, self.here[: len(self.here) - 1])
                self.keep(message)
                self.out.note(f"Removed, because it has no answer; /retry sends it again: {message.text}")
            if self.typed.terminal or self._command.lines:
                _show.last_exchange(self.out, self.here)

    def talk(self) -> int:
        """Read lines and answer them until the end."""
        self.typed.complete(_chat_commands.Completer(self))
        if not self.typed.terminal and not self._command.lines:
            words = self.typed.everything().strip()
            if words:
                self._obey_or_answer(words, command=False)
            return 1 if self._failed else 0
        while (line := self.typed.line(f"{self.current}> ")) is not None:
            if not self._obey_or_answer(line, command=line.startswith("/")):
                break
        self.typed.close()
        # In a pipe a failed turn is easy to miss, so the exit code shows it.
        return 1 if self._failed and not self.typed.terminal else 0

    def move(self, branch: str, at: lutum.Transcript) -> None:
        """Make a branch current and set its transcript. If storing raises an error, nothing has changed."""
        if self._history is not None:
            self._history.mark(branch, at)
        self.branches[branch] = at
        self.current = branch

    def grow(self, to: lutum.Transcript, session: lutum.Session | None = None) -> None:
        """Store the new items of the current branch."""
        if self._history is not None:
            self._history.append(self.here, to, session)
        self.branches[self.current] = to

    def keep(self, message: lutum.Message) -> None:
        """Keep a message that has no answer. /retry sends it again, /edit opens it, and the arrow-up key
        recalls it."""
        self.pending = message
        self.typed.offer(message.text)

    def answer(self, content: str | Sequence[lutum.Part]) -> None:
        """Ask and show the answer, then store the exchange."""
        self.out.gap()
        interrupts = _interrupt.Interrupts()
        interrupts.run(self._exchange, content, interrupts)
        self.out.gap()

    def check(self, endpoint: _connect.Endpoint, effort: str | None) -> None:
        """Check whether the next turn is possible with these settings.

        Raises:
          BadValue: the key is missing, or the model does not take a setting.
        """
        _connect.check(endpoint, lambda adapter: self._settings(adapter, effort))

    def _obey_or_answer(self, line: str, *, command: bool) -> bool:
        """Execute a line; return whether the chat continues."""
        try:
            if command:
                return _chat_commands.obey(self, line)
            if line.strip():
                self.answer([*self.attached, lutum.Text(line.strip())] if self.attached else line.strip())
                self.attached.clear()
        except (lutum.LutumError, OSError) as error:
            self.out.gap()
            report("chat", error)
            self._failed = True
        except KeyboardInterrupt:  # Ctrl-C between two event loops
            self.out.gap()
        return True

    def _begin_with(self, system: str) -> None:
        given = lutum.ModelInput().system(system).transcript
        if not self.here:
            self.grow(given)
        elif self.here[:1] != given:
            raise lutum.BadValue(
                "--system",
                "the session begins with another system prompt, which cannot be replaced; leave --system out",
            )

    def _settings(self, adapter: lutum.abc.Adapter, effort: str | None) -> lutum.Settings:
        return _settings.settings_of(adapter, self._command.option, effort, self._command.max_output_tokens)

    async def _exchange(self, content: str | Sequence[lutum.Part], interrupts: _interrupt.Interrupts) -> None:
        """Send the question, show the answer, store both. Ctrl-C stops the answer but not the storing."""
        async with _connect.connected(self.endpoint) as adapter, trace.capture() as self.trace:
            llm = lutum.Lutum(adapter, budget=self.budget, retry=RETRY)
            session = lutum.Session(llm, self.here)
            session.defaults = self._settings(adapter, self.effort)
            session.push_user(content)
            message = session.transcript[-1]
            assert isinstance(message, lutum.Message)
            self.keep(message)  # until it is answered
            turn = session.text_turn().stream()
            with interrupts.cancelling(anyio.CancelScope()) as scope:
                await shown(turn, self.out, plain=self._command.plain)
            if scope.cancelled_caught:
                self._stopped(session, turn)
                return
            session.commit_text(turn.result)
            self.grow(session.transcript, session)
            self.pending = None
            self._note_end(turn.result)

    def _stopped(self, session: lutum.Session, turn: lutum.Stream[lutum.TextResult]) -> None:
        """Keep the question. Keep the received part of the answer as an assistant message."""
        used = f"{turn.usage.total_tokens} tokens, {turn.usage.known}"
        if turn.partial.text.strip():
            session.push_assistant(turn.partial.text)
            self.grow(session.transcript, session)
            self.pending = None
            kept = "The question and the partial answer are kept; /undo removes them, /retry asks again."
        else:
            kept = "No text arrived. The question is kept for /retry and /edit."
        self.out.note(f"Stopped. {kept} Charged: {used}.")

    def _note_end(self, result: lutum.TextResult) -> None:
        if result.finish_reason == "length":
            self.out.note(
                f"The answer was cut at {result.usage.output_tokens:,} output tokens. Say `go on`, or start"
                " the chat with a higher --max-output-tokens."
            )
        elif result.finish_reason != "stop":
            self.out.note(f"The answer ended with the finish reason {result.finish_reason!r}.")


def _unanswered(transcript: lutum.Transcript) -> lutum.Message | None:
    """Return the last item if it is a user message, which has no answer yet."""
    last = transcript[-1] if transcript else None
    return last if isinstance(last, lutum.Message) and last.role == "user" else None
