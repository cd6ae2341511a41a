"""`lutum demo`: the library's main job in a few seconds, on real HTTP, with no key and no network.

Each scene contains the code that a user would write. The provider is a wire server in this process. With
`--provider claude` it is the real API, and the scene with the cut stream is left out.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import anyio

import lutum
from lutum.cli import _interrupt, _providers, _replay, _scripts
from lutum.cli._report import first_of, report
from lutum.cli._terminal import GREEN, RED, Terminal
from lutum.cli._version import installed_version
from lutum.testing.wire import WireServer


def run_demo(backend: Literal["trio", "asyncio"], provider: _providers.Provider, model: str) -> int:
    """Run the demo and return the exit code."""

    async def main() -> bool:
        async with _provider(provider, model) as (adapter, server):
            return await Demo(backend, provider, adapter, server, model).play()

    try:
        try:
            return 0 if _interrupt.run(main, backend=backend) else 1
        except BaseExceptionGroup as group:
            # One branch failed, and the nursery ended the others.
            raise first_of(group) from group
    except lutum.LutumError as error:
        report("demo", error)
        return 1


@asynccontextmanager
async def _provider(
    provider: _providers.Provider, model: str
) -> AsyncGenerator[tuple[_providers.Adapter, WireServer | None]]:
    if provider == "claude":
        async with _providers.adapter(provider, "", model) as adapter:
            yield adapter, None
        return
    # No proxies: a proxy cannot reach a server in this process, and this program opens no other connection.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["no_proxy"] = "*"
    async with _scripts.server() as server, _providers.adapter(provider, server.url, model) as adapter:
        yield adapter, server


class Demo:
    """The scenes, in order, on one adapter and one ledger."""

    def __init__(
        self,
        backend: str,
        provider: _providers.Provider,
        adapter: _providers.Adapter,
        server: WireServer | None,
        model: str,
    ) -> None:
        self._backend = backend
        self._provider: _providers.Provider = provider
        self._adapter = adapter
        self._server = server
        self._model = model
        self._out = Terminal()
        self._llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=100_000))
        self._scenes = list[tuple[str, list[lutum.Usage]]]()

    async def play(self) -> bool:
        """Play all scenes and show their cost. Return whether the replay was exact."""
        session = lutum.Session(self._llm)
        session.push_system("You are concise.")
        session.push_user(_scripts.RIVERS)
        first = _providers.reasoning_turn(
            self._provider, session
        )  # before anything is shown, because it raises if the key is missing
        where = f"{self._model} at {self._adapter.scope}"
        if self._server is not None:
            protocol = _providers.PROTOCOLS[self._provider]
            where = f"a wire server in this process, {self._server.url}, in {protocol}"
        self._out.title(f"lutum {installed_version()} on {self._backend}, talking to {where}")
        await self._thinking(session, first)
        await self._branches(session)
        await self._timeout(session)
        if self._server is not None:
            await self._cut(session)
        await self._refused(session)
        exact = await self._replayed(session)
        self._summary(exact)
        return exact

    async def _thinking(self, session: lutum.Session, first: lutum.TextTurn) -> None:
        self._scene(
            "A turn, as it streams",
            "The events are typed. session.commit_text(turn.result) stores the answer.",
        )
        self._out.asked(_scripts.RIVERS)
        session.commit_text(await self._streamed(first))

    async def _branches(self, session: lutum.Session) -> None:
        self._scene(
            "Three branches of one session, in a nursery",
            "session.fork() copies a reference. All three share the conversation, and none changes it.",
        )
        self._out.asked(_scripts.describe_as("..."))
        voices = list(_scripts.VOICES)

        async def branch(column: int, voice: str) -> None:
            fork = session.fork()
            fork.push_user(_scripts.describe_as(voice))
            async with fork.text_turn().max_output_tokens(300).stream() as turn:
                async for piece in turn.text():
                    shown.piece(column, piece)
            self._spent(turn.usage)

        with self._out.branches(voices) as shown:
            async with anyio.create_task_group() as nursery:
                for column, voice in enumerate(voices):
                    nursery.start_soon(branch, column, voice)

    async def _timeout(self, session: lutum.Session) -> None:
        # A real provider takes a moment to begin.
        seconds = 1 if self._server is not None else 4
        self._scene(
            "A turn that takes too long",
            f".timeout(total={seconds}) closes the socket; the received text is kept.",
        )
        self._out.asked(_scripts.ENDLESS)
        fork = session.fork()
        fork.push_user(_scripts.ENDLESS)
        try:
            with self._out.answer() as answer:
                async with fork.text_turn().max_output_tokens(1000).timeout(total=seconds).stream() as turn:
                    async for piece in turn.text():
                        answer.piece(piece)
            self._spent(turn.usage)
            self._out.line("The turn ended before its timeout.")
        except lutum.TurnTimeout as error:
            self._failed(error)

    async def _cut(self, session: lutum.Session) -> None:
        self._scene(
            "A stream cut in the middle", "An incomplete answer is an error. There is no result to commit."
        )
        self._out.asked(_scripts.CUT)
        fork = session.fork()
        fork.push_user(_scripts.CUT)
        async with fork.text_turn().max_output_tokens(200).stream() as turn:
            try:
                with self._out.answer() as answer:
                    async for piece in turn.text():
                        answer.piece(piece)
            except lutum.Interrupted as error:
                self._failed(error)
            try:
                fork.commit_text(turn.result)
            except lutum.Interrupted:
                self._out.line("fork.commit_text(turn.result) raises the same error.")

    async def _refused(self, session: lutum.Session) -> None:
        self._scene("A budget that refuses", "lutum.Budget(tokens=500) refuses the request. Nothing is sent.")
        self._out.asked(_scripts.POEM)
        fork = session.fork(lutum.Lutum(self._adapter, budget=lutum.Budget(tokens=500)))
        fork.push_user(_scripts.POEM)
        before = self._requests()
        try:
            self._spent((await fork.text_turn().max_output_tokens(2000).collect()).usage)
        except lutum.BudgetExceeded as error:
            self._failed(error)
        if self._server is not None:
            self._out.line(f"Requests that reached the server: {self._requests() - before}.")

    async def _replayed(self, session: lutum.Session) -> bool:
        self._scene(
            "Dump, load in a second process, replay",
            "session.transcript.dump() is the whole conversation. It makes the same next request elsewhere.",
        )
        session.push_user(_scripts.LONGEST)
        turn = _providers.reasoning_turn(self._provider, session)
        here = turn.preview()
        items, dumped = len(session.transcript), session.transcript.dump()
        url = "" if self._server is None else self._server.url
        there = await _replay.next_request(url, self._model, dumped, self._provider)
        self._out.asked(_scripts.LONGEST)
        session.commit_text(await self._streamed(turn))
        forms = ", ".join("exact" if form.exact else f"inexact ({form.reason})" for form in here.forms)
        self._out.gap()
        self._out.line(f"{items} items, dumped as {len(dumped)} bytes. Committed turn replayed: {forms}.")
        if isinstance(there, str):
            self._out.line(f"The second process failed: {there}", RED)
            return False
        requests = [there, here.body, *([] if self._server is None else [self._server.requests[-1].body])]
        same = len(set(requests)) == 1
        who = "there and here" if self._server is None else "there, here and at the server"
        self._out.line(
            f"The request {who}: {' / '.join(str(len(body)) for body in requests)} bytes,"
            f" {'equal' if same else 'different'}.",
            GREEN if same else RED,
        )
        return same and all(form.exact for form in here.forms)

    async def _streamed(self, builder: lutum.TextTurn) -> lutum.TextResult:
        with self._out.answer() as answer:
            async with builder.stream() as turn:
                async for event in turn:
                    match event:
                        case lutum.ReasoningDelta(text=text):
                            answer.piece(text, reasoning=True)
                        case lutum.TextDelta(text=text):
                            answer.piece(text)
                        case _:
                            pass
        self._spent(turn.usage)
        return turn.result

    def _summary(self, exact: bool) -> None:
        budget = self._llm.budget
        self._out.heading("What was shown, and what it cost")
        rows = [("", "tokens in", "out", "")]
        for number, (title, usages) in enumerate(self._scenes, 1):
            rows.append((f"{number}. {title}", *_figures(sum(usages, lutum.Usage()))))
        rows.append(("total in the ledger", *_figures(budget.spent)))
        self._out.table(rows)
        note = "exact: the provider's final figures; estimated: lutum counted some of the tokens."
        if budget.spent.known == "lower_bound":
            note += " lower_bound: the model may have used more tokens for hidden thinking."
        self._out.note(note)
        self._out.gap()
        self._out.line(
            f"Still reserved: {budget.reserved.total_tokens} tokens."
            f" {'Exact' if exact else 'No exact'} replay in a second process."
        )
        if self._server is not None:
            self._out.line(f"{self._requests()} requests, all inside this process: they cost nothing.")
            self._out.line("Next: lutum demo --provider claude, with ANTHROPIC_API_KEY.")

    def _scene(self, title: str, note: str) -> None:
        self._scenes.append((title, []))
        self._out.heading(f"{len(self._scenes)}. {title}")
        self._out.note(note)

    def _failed(self, error: lutum.TurnError) -> None:
        self._out.error(error)
        usage, kept = error.usage or lutum.Usage(), error.partial or lutum.PartialResult()
        self._spent(usage)
        if error.started:
            tokens = f"{usage.total_tokens} tokens, {usage.known}"
            self._out.line(f"Kept: {len(kept.text)} characters. Charged: {tokens}.")

    def _spent(self, usage: lutum.Usage) -> None:
        self._scenes[-1][1].append(usage)

    def _requests(self) -> int:
        return 0 if self._server is None else len(self._server.requests)


def _figures(usage: lutum.Usage) -> tuple[str, str, str]:
    return f"{usage.input_tokens:,}", f"{usage.output_tokens:,}", usage.known
