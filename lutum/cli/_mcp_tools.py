"""`--mcp`: the tools of MCP servers. It needs the extra `mcp`."""

from __future__ import annotations

import shlex
from contextlib import AsyncExitStack
from typing import Any

import lutum
import lutum.mcp


async def remote_toolset(stack: AsyncExitStack, command: str) -> lutum.Toolset[dict[str, Any]]:
    """Return the tools of a server. The server is connected until the stack closes.

    Raises:
      ToolError, ConnectionFailed: the server did not start or did not answer.
    """
    given = command if command.startswith(("http://", "https://")) else shlex.split(command)
    server = await stack.enter_async_context(lutum.mcp.connect(given))
    return await server.toolset()
