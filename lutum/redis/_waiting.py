"""Waiters for an answer of the server. The courier delivers the results."""

from __future__ import annotations

from typing import Any

import anyio


class Waiting:
    """A reservation, or another operation, without a result yet. `queued`: it waits in the server's queue."""

    def __init__(self) -> None:
        self.results = list[Any]()
        self.event = anyio.Event()
        self.queued = False

    def put(self, result: Any) -> None:
        self.results.append(result)
        self.event.set()

    async def get(self) -> Any:
        while not self.results:
            await self.event.wait()
        self.event = anyio.Event()
        return self.results.pop(0)
