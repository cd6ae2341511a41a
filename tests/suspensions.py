"""Whether an awaitable suspends its task, on either backend."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any


@types.coroutine
def counted(make: Callable[[], Awaitable[object]], steps: list[int]) -> Generator[Any, Any, object]:
    """Await `make()`, and count how often it suspends the task."""
    inner: Any = make().__await__()
    sent: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            asked = inner.send(sent) if thrown is None else inner.throw(thrown)
            steps[0] += 1
            sent = thrown = None
            try:
                sent = yield asked
            except BaseException as exc:  # a cancellation inside goes to where it waits
                thrown = exc
    except StopIteration as stop:
        return stop.value


async def suspends(make: Callable[[], Awaitable[object]]) -> bool:
    steps = [0]
    await counted(make, steps)
    return steps[0] > 0
