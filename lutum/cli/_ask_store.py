"""`lutum ask --store`: a session of a stored branch. The store is loaded only if one is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import lutum
import lutum.store


@asynccontextmanager
async def stored_session(
    llm: lutum.Lutum, url: str, name: str
) -> AsyncGenerator[tuple[lutum.Session, Callable[[], Awaitable[None]]]]:
    """A session at a branch, which is made if it is missing, and the function that saves it.

    Raises:
      StoreError: the store cannot be opened, or the name cannot be one of a branch.
    """
    async with lutum.store.connect(url) as store:
        branch = await store.branch(name, create=True)
        session = branch.session(llm)

        async def save() -> None:
            await branch.save(session)

        yield session, save
