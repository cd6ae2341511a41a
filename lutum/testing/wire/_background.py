"""A task outside any block, so that a fixture may start it in one task and stop it in another."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, final

import anyio
from anyio.lowlevel import current_token

__all__ = ["Background"]


@final
class Background:
    """One task of the running event loop.

    pytest-asyncio runs the two halves of a fixture in two tasks, so a fixture cannot use a task group.
    """

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._failure: BaseException | None = None
        self._task: object = None  # keeps the task alive, because asyncio has only weak references to tasks

    def start(self) -> None:
        """Start it in the current loop."""
        if type(current_token().native_token).__module__.partition(".")[0] == "trio":
            trio: Any = sys.modules["trio"]
            trio.lowlevel.spawn_system_task(self._hold, name="lutum wire server")
            return
        import asyncio

        self._task = asyncio.get_running_loop().create_task(self._hold(), name="lutum wire server")

    async def _hold(self) -> None:
        try:
            with self._scope:
                await self._run()
        except Exception as exc:
            self._failure = exc
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Stop the task and wait for its end, even if cancelled. Raises the exception of the task.

        On asyncio, a native cancellation passes through the shield. The first one is raised after the wait;
        the second one ends the wait.

        This is a checkpoint only if it has to wait.
        """
        self._scope.cancel()
        interrupted: BaseException | None = None
        while not self._ended.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await self._ended.wait()
            except BaseException as exc:
                if interrupted is not None:
                    raise
                interrupted = exc
        if interrupted is not None:
            raise interrupted
        if self._failure is not None:
            raise self._failure
