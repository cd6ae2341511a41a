"""`check_adapter` against adapters that are wrong on purpose: each lie is found, on both backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import anyio
import httpx
import msgspec
import pytest

import lutum
from lutum.abc import Exchange, Phase, Prepared
from lutum.testing import check_adapter
from lutum.testing.wire import Reply, WireServer
from lutum_claude import ClaudeAdapter


class Wrapped:
    """An exchange that does as the one inside."""

    def __init__(self, inner: Exchange) -> None:
        self.inner = inner

    @property
    def response(self) -> lutum.Response | None:
        return self.inner.response

    async def open(self, mark: Callable[[Phase], None]) -> None:
        await self.inner.open(mark)

    async def receive(self, out: list[lutum.Event]) -> bool:
        return await self.inner.receive(out)

    async def aclose(self) -> None:
        await self.inner.aclose()


class CompletesAtEof(Wrapped):
    """Takes the end of the response for the end of the turn."""

    text = ""
    over = False

    async def receive(self, out: list[lutum.Event]) -> bool:
        before = len(out)
        try:
            more = await self.inner.receive(out)
        except lutum.Interrupted:
            more = False
        for event in out[before:]:
            self.over = self.over or isinstance(event, lutum.Completed)
            self.text += event.text if isinstance(event, lutum.TextDelta) else ""
        if not more and not self.over:
            self.over = True
            items = (lutum.TextItem(self.text),)
            turn = lutum.CommittedTurn("claude", "x", "m", b"{}", items)
            out.append(lutum.Completed("stop", lutum.Usage(5, 5), turn))
            return True
        return more


class SwallowsInTheBody(Wrapped):
    """Goes on after a cancellation."""

    async def receive(self, out: list[lutum.Event]) -> bool:
        try:
            return await self.inner.receive(out)
        except anyio.get_cancelled_exc_class():
            return True


class SwallowsForEver(Wrapped):
    """Tries again for as long as it is cancelled."""

    async def receive(self, out: list[lutum.Event]) -> bool:
        while True:
            try:
                return await self.inner.receive(out)
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)


class SwallowsInOpen(Wrapped):
    """Takes a cancellation for a failed connection."""

    async def open(self, mark: Callable[[Phase], None]) -> None:
        try:
            await self.inner.open(mark)
        except anyio.get_cancelled_exc_class():
            return


class LeaksATask(Wrapped):
    """Starts a task in the background, and forgets it."""

    started: ClassVar[list[Any]] = []

    async def open(self, mark: Callable[[Phase], None]) -> None:
        await self.inner.open(mark)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio

            self.started.append(trio.lowlevel.spawn_system_task(trio.sleep_forever))
        else:
            self.started.append(loop.create_task(asyncio.sleep(3600)))


class KeepsTheSocket(Wrapped):
    """Closes nothing."""

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class KeepsTheSocketWhenCancelled(Wrapped):
    """Closes in a step that a cancellation skips."""

    async def receive(self, out: list[lutum.Event]) -> bool:
        self.done = False
        more = await self.inner.receive(out)
        self.done = True
        return more

    async def aclose(self) -> None:
        if getattr(self, "done", True):
            await self.inner.aclose()


class ReportsZero(Wrapped):
    """Gives zeros for what was streamed."""

    async def receive(self, out: list[lutum.Event]) -> bool:
        more = await self.inner.receive(out)
        if out and isinstance(end := out[-1], lutum.Completed):
            out[-1] = msgspec.structs.replace(end, usage=lutum.Usage())
        return more


class ReportsNoOutput(Wrapped):
    """Gives a zero for the output alone."""

    async def receive(self, out: list[lutum.Event]) -> bool:
        more = await self.inner.receive(out)
        if out and isinstance(end := out[-1], lutum.Completed):
            out[-1] = msgspec.structs.replace(end, usage=lutum.Usage(end.usage.input_tokens))
        return more


class Lying(ClaudeAdapter):
    lie: Callable[[Exchange], Exchange] = staticmethod(lambda exchange: exchange)

    def exchange(self, prepared: Prepared) -> Any:
        return self.lie(super().exchange(prepared))


async def bodies() -> list[bytes]:
    """A body as Claude streams it."""
    server = WireServer([Reply("Hello there, this is an answer.")])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        response = await client.post(
            f"{server.url}/v1/messages",
            headers={"x-api-key": "k", "anthropic-version": "2023-06-01"},
            json={
                "model": "claude-sonnet-4-5",
                "max_tokens": 100,
                "stream": True,
                "messages": [{"role": "user", "content": "hello"}],
            },
        )
    return [response.content]


@pytest.mark.parametrize(
    ("lie", "promise"),
    [
        (CompletesAtEof, "promise 1"),
        (SwallowsInTheBody, "promise 5: cancelled in the body"),
        (SwallowsForEver, "promise 5: cancelled in the body"),
        (SwallowsInOpen, "promise 5"),
        (LeaksATask, "promise 5: a task"),
        (KeepsTheSocket, "promise 5: the response"),
        (KeepsTheSocketWhenCancelled, "promise 5: the response"),
        (ReportsZero, "promise 4"),
        (ReportsNoOutput, "promise 4"),
        (Wrapped, None),
    ],
)
async def test_a_wrong_adapter(lie: Callable[[Exchange], Exchange], promise: str | None) -> None:
    """It is found, and the message names the promise; the right one passes."""

    def connect(client: httpx.AsyncClient) -> ClaudeAdapter:
        adapter = Lying("claude-sonnet-4-5", api_key="k", base_url="http://x", http_client=client)
        adapter.lie = lie
        return adapter

    found: str | None = None
    try:
        await check_adapter(connect, await bodies(), cuts=40)
    except AssertionError as error:
        found = str(error)
    for task in LeaksATask.started:
        if isinstance(task, asyncio.Task):
            task.cancel()
    LeaksATask.started.clear()
    if promise is None:
        assert found is None
    else:
        assert promise in (found or "nothing found")
