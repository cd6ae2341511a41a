"""`lutum demo`: the library's main job in a few seconds, on real HTTP, with no key and no network.

Each scene is what a user would write. The provider is a wire server in this process, or with
`--provider claude` the real one, which is not asked to fail.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

import lutum
from lutum.cli import _scripts
from lutum.cli._terminal import Terminal
from lutum_claude import ClaudeAdapter, ClaudeOptions

WIRE_MODEL = "claude-sonnet-4-5"
THINK = ClaudeOptions(thinking=1024)


def run_demo(args: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    if args.replay_child:
        return lutum.run(_replay_child, *args.replay_child, args.model or WIRE_MODEL, backend=args.backend)
    try:
        return lutum.run(Demo(args).play, backend=args.backend)
    except lutum.LutumError as error:
        print(f"lutum demo: {error}", file=sys.stderr)
        return 1


class Demo:
    """The scenes, in order, on one adapter and one ledger."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._out = Terminal()
        self._shown = list[str]()

    async def play(self) -> int:
        out = self._out
        out.line(f"lutum demo on {self._args.backend}, provider {self._args.provider}")
        async with self._provider() as (adapter, server):
            self._adapter, self._server = adapter, server
            self._llm = llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
            session = lutum.Session(llm)
            session.push_system("You are concise.")
            session.push_user(_scripts.RIVERS)
            await self._thinking(session)
            await self._branches(session)
            await self._timeout(session)
            await self._cut(session)
            await self._refused(session)
            same = await self._replay(session)
            self._summary(same)
        return 0 if same else 1

    async def _thinking(self, session: lutum.Session) -> None:
        self._scene("A turn, as it streams", "reasoning dimmed; stored only by session.commit_text(...)")
        async with session.text_turn().max_output_tokens(2048).ext(THINK).stream() as turn:
            async for event in turn:
                match event:
                    case lutum.ReasoningDelta(text=text):
                        self._out.piece(text, dim=True)
                    case lutum.TextDelta(text=text):
                        self._out.piece(text)
                    case _:
                        pass
        session.commit_text(turn.result)
        self._out.line()

    async def _branches(self, session: lutum.Session) -> None:
        self._scene("Three branches of one session, in a nursery", "a fork copies a reference; all share what was said")
        voices = ["pirate", "poet", "lawyer"]
        shown = self._out.columns(voices)

        async def branch(column: int, voice: str) -> None:
            fork = session.fork()
            fork.push_user(_scripts.describe_as(voice))
            async with fork.text_turn().max_output_tokens(300).stream() as turn:
                async for piece in turn.text():
                    shown.piece(column, piece)

        async with anyio.create_task_group() as nursery:
            for column, voice in enumerate(voices):
                nursery.start_soon(branch, column, voice)
        shown.close()

    async def _timeout(self, session: lutum.Session) -> None:
        self._scene("A turn that takes too long", ".timeout(total=0.4): the socket closes, what came is kept")
        fork = session.fork()
        fork.push_user(_scripts.ENDLESS)
        try:
            async with fork.text_turn().max_output_tokens(1000).timeout(total=0.4).stream() as turn:
                async for piece in turn.text():
                    self._out.piece(piece)
        except lutum.TurnTimeout as error:
            self._out.line(f"  TurnTimeout: {error}")
            self._money(error)

    async def _cut(self, session: lutum.Session) -> None:
        if self._server is None:
            return  # a real provider does not cut its stream on demand
        self._scene("A stream that is cut in the middle", "half an answer is an error, and cannot be committed")
        fork = session.fork()
        fork.push_user(_scripts.CUT)
        try:
            async with fork.text_turn().max_output_tokens(200).stream() as turn:
                async for piece in turn.text():
                    self._out.piece(piece)
        except lutum.Interrupted as error:
            self._out.line(f"  Interrupted: {error}")
            self._money(error)
        try:
            fork.commit_text(turn.result)
        except lutum.Interrupted:
            self._out.line("  turn.result raises the same, so there is nothing to commit")

    async def _refused(self, session: lutum.Session) -> None:
        self._scene("A budget that refuses", "before a byte is sent")
        small = lutum.Lutum(self._adapter, budget=lutum.Budget(tokens=500))
        fork = session.fork(small)
        fork.push_user("Write a very long poem.")
        before = self._requests()
        try:
            await fork.text_turn().max_output_tokens(2000).collect()
        except lutum.BudgetExceeded as error:
            self._out.line(f"  BudgetExceeded: {error}")
        if before is not None:
            self._out.line(f"  requests that reached the server: {(self._requests() or 0) - before}")

    async def _replay(self, session: lutum.Session) -> bool:
        self._scene("Dump, load in a second process, replay", "the next request must be the same, byte for byte")
        session.push_user(_scripts.LONGEST)
        turn = session.text_turn().max_output_tokens(2048).ext(THINK)
        here = turn.preview()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "session.jsonl"
            path.write_bytes(session.transcript.dump())
            there = await self._second_process(path)
        same = there == here.body
        forms = ", ".join("exact" if form.exact else form.reason for form in here.forms)
        self._out.line(f"  {len(session.transcript)} items, turns replayed: {forms}")
        self._out.line(f"  request here {len(here.body)} bytes, there {len(there)}: {'equal' if same else 'DIFFERENT'}")
        async with turn.stream() as stream:
            async for piece in stream.text():
                self._out.piece(piece)
        session.commit_text(stream.result)
        if self._server is not None:
            sent = self._server.requests[-1].body
            self._out.line(f"  and what the server got is that request: {'yes' if sent == there else 'NO'}")
            same = same and sent == there
        return same

    async def _second_process(self, path: Path) -> bytes:
        command = [sys.executable, "-m", "lutum.cli", "demo", "--backend", self._args.backend]
        command += ["--replay-child", self._server.url if self._server is not None else "", str(path)]
        if self._args.model:
            command += ["--model", self._args.model]
        run = partial(subprocess.run, command, capture_output=True, check=True, env=os.environ)
        return (await anyio.to_thread.run_sync(run)).stdout

    def _summary(self, same: bool) -> None:
        spent = self._llm.budget.spent
        self._scene("What was shown", "")
        for title in self._shown[:-1]:
            self._out.line(f"  - {title}")
        self._out.line(
            f"  cost: {spent.input_tokens} tokens in, {spent.output_tokens} out ({spent.known}),"
            f" {spent.reasoning_tokens} of them reasoning; {self._llm.budget.reserved.total_tokens} still reserved"
        )
        self._out.line(f"  exact replay: {'yes' if same else 'NO'}")

    def _scene(self, title: str, note: str) -> None:
        self._shown.append(title)
        self._out.heading(f"{len(self._shown)}. {title}" if note else title)
        if note:
            self._out.note(note)

    def _money(self, error: lutum.TurnError) -> None:
        usage, partial = error.usage or lutum.Usage(), error.partial or lutum.PartialResult()
        self._out.line(
            f"  kept: {len(partial.text)} characters; charged: {usage.total_tokens} tokens ({usage.known})"
        )

    def _requests(self) -> int | None:
        return None if self._server is None else len(self._server.requests)

    @asynccontextmanager
    async def _provider(self) -> AsyncIterator[tuple[ClaudeAdapter, _scripts.WireServer | None]]:
        if self._args.provider == "claude":
            async with ClaudeAdapter(model=self._args.model or WIRE_MODEL) as adapter:
                yield adapter, None
            return
        async with (
            _scripts.server() as server,
            ClaudeAdapter(model=WIRE_MODEL, base_url=server.url) as adapter,
        ):
            yield adapter, server


async def _replay_child(url: str, path: str, model: str) -> int:
    """The second process: load the file, and say what its next request would be."""
    adapter = ClaudeAdapter(model=model, base_url=url or None)
    transcript = lutum.Transcript.load(await anyio.Path(path).read_bytes())
    turn = lutum.Session(lutum.Lutum(adapter), transcript).text_turn()
    sys.stdout.buffer.write(turn.max_output_tokens(2048).ext(THINK).preview().body)
    return 0
