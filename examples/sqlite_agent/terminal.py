"""The dialogue with the person: questions, streamed text, approvals. Lines only: it works in any terminal."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import anyio.to_thread

import lutum

from .agent import Accept, Agent, AgentHooks, Decision, Edit, Reject
from .database import Databases, Write

HELP = """\
Ask about the databases. Ctrl-C stops an answer. The commands:
  /write     allow changes, or forbid them again; you must approve each change
  /sql       show the statements that were run
  /new       begin a new conversation
  /quit      end the program; the conversation is kept"""


def printable(text: str) -> str:
    """Replace characters that could move the cursor or reverse the line, in text of a model or a database."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def say(text: str = "", end: str = "\n") -> None:
    """Print text of a model or a database."""
    print(printable(text), end=end, flush=True)


async def ask(prompt: str) -> str:
    """Read a line from the person. Raises EOFError at the end of the input, which leaves the chat."""
    return (await anyio.to_thread.run_sync(input, prompt)).strip()


class Approvals:
    """Hooks of an agent that ask a person."""

    @AgentHooks.approve_mode.method
    async def approve_mode(self, reason: str) -> bool:
        """Ask whether the model may write."""
        say(f"\nThe model asks for writable mode: {reason}")
        return (await ask("allow it? [y/n] ")).lower().startswith("y")

    @AgentHooks.approve_write.method
    async def approve_write(self, write: Write) -> Decision:
        """Show a write after its dry run, and ask whether to run it."""
        say(f"\n{write.database}: {write.sql}\n  a dry run changed {write.changed} rows")
        while True:
            match (await ask("run it? [y]es, [n]o why, [e]dit: ")).partition(" "):
                case ("y" | "yes", _, _):
                    return Accept()
                case ("n" | "no" | "", _, why):
                    return Reject(why or "no reason given")
                case ("e" | "edit", _, _):
                    return Edit(await ask("new statement: "))
                case _:
                    pass


class Terminal:
    """The conversation of a folder, kept in its `session.jsonl`."""

    def __init__(self, llm: lutum.Lutum, folder: Path) -> None:
        self._llm = llm
        self._file = folder / "session.jsonl"
        self._databases = Databases(folder)
        self.agent = self._new(self._load())

    def _new(self, transcript: lutum.Transcript) -> Agent:
        hooks = AgentHooks().with_policy(Approvals())
        return Agent(self._llm, self._databases, hooks, transcript=transcript)

    def _load(self) -> lutum.Transcript:
        if not self._file.exists():
            return lutum.Transcript()
        try:
            return lutum.Transcript.load(self._file.read_bytes())
        except lutum.TranscriptError as error:
            kept = self._file.rename(self._file.with_suffix(".broken"))
            say(f"the last conversation cannot be read; its file is now {kept.name}: {error}")
            return lutum.Transcript()

    def _save(self, saved: lutum.Transcript) -> None:
        """Append the new items as whole lines, so that a kill loses at most the last answer."""
        with self._file.open("ab" if saved else "wb") as file:
            file.write(self.agent.session.transcript.dump(since=saved or None))

    async def run(self) -> None:
        """Talk until /quit or the end of the input."""
        say(HELP)
        try:
            while True:
                mode = "write" if self.agent.desk.writable else "read"
                try:
                    line = await ask(f"[{mode}, {self._llm.budget.spent.total_tokens} tokens] > ")
                except EOFError:
                    return
                match line:
                    case "":
                        pass
                    case "/quit":
                        return
                    case "/write":
                        self.agent.desk.writable = not self.agent.desk.writable
                    case "/sql":
                        for run in self.agent.desk.statements:
                            say(f"{run.database}: {run.sql} [{run.rows} rows]")
                    case "/new":
                        self._file.unlink(missing_ok=True)
                        self.agent = self._new(lutum.Transcript())
                    case _:
                        await self._answer(line)
        finally:
            self._databases.close()

    async def _answer(self, question: str) -> None:
        before = self.agent.session.transcript

        async def stop_on_interrupt() -> None:
            with anyio.open_signal_receiver(signal.SIGINT) as signals:
                async for _ in signals:
                    # between two turns a tool runs: then the whole question is cancelled
                    (self.agent.running or group.cancel_scope).cancel()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(stop_on_interrupt)
                answer = await self.agent.ask(question, lambda piece: say(piece, end=""))
                group.cancel_scope.cancel()
                say("" if answer.ended == "finished" else f"\n({answer.ended})")
        except* lutum.LutumError as failed:
            say(f"\n{failed.exceptions[0]}")
        self._save(before)
