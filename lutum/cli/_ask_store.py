"""`lutum ask --store`: a session of a stored branch. This module is imported only if a store is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import lutum
import lutum.store


@asynccontextmanager
async def stored_session(
    llm: lutum.Lutum, url: str, name: str
) -> AsyncGenerator[tuple[lutum.Session, Callable[[], Awaitable[None]]]]:
    """Yield a session at a branch, and the function that saves the session. A missing branch is created.

    Raises:
      StoreError: the store cannot be opened, or the branch name is not valid.
    """
    async with lutum.store.connect(url) as store:
        branch = await store.branch(name, create=True)
        session = branch.session(llm)

        async def save() -> None:
            await branch.save(session)

        yield session, save
