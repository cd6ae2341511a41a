"""MCP: a server's tools as a toolset, its prompts and resources, and a toolset as a server (extra `mcp`).

    async with lutum.mcp.connect(["uvx", "mcp-server-time"]) as server:
        tools = await server.toolset()

The connection exists only inside the block. A toolset contains the tools that the server listed when the
toolset was made. If the server's list changes later, the toolset does not change, so a running session keeps
its prefix.
https://modelcontextprotocol.io/specification/2025-11-25/server/tools
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("mcp") is None:
    raise ModuleNotFoundError(
        "lutum.mcp needs the official client: pip install 'lutum[mcp]' (in a clone: '.[mcp]')", name="mcp"
    )

from lutum.mcp._connection import ConnectionFailed as ConnectionFailed
from lutum.mcp._sampling import sampling as sampling
from lutum.mcp._serve import ToolServer as ToolServer, serve as serve
from lutum.mcp._server import Progress as Progress, Server as Server, connect as connect
from lutum.mcp._tool import LeftOut as LeftOut, RemoteTool as RemoteTool

__all__ = [
    "ConnectionFailed",
    "LeftOut",
    "Progress",
    "RemoteTool",
    "Server",
    "ToolServer",
    "connect",
    "sampling",
    "serve",
]
