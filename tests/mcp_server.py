"""An MCP server for the tests: over stdio, or with a port as its argument over HTTP."""

import base64
import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer

server = MCPServer("test")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="say.it")
def say(text: str) -> str:
    """Say it."""
    return text


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=base64.b64decode("iVBORw0KGgo="), format="png")


@server.tool()
async def count(upto: int, ctx: Context) -> str:
    """Count, and tell how far it is."""
    for i in range(upto):
        await ctx.report_progress(i + 1, upto, f"at {i + 1}")
    return "counted"


@server.tool()
async def hang(marker: str) -> str:
    """Hang until cancelled, and leave a mark then."""
    Path(marker + ".began").touch()  # noqa: ASYNC240  # a mark, which must be there before the next await
    try:
        await anyio.sleep_forever()
    finally:
        Path(marker).touch()  # noqa: ASYNC240  # likewise: no await is left


@server.tool()
def die() -> str:
    """End the process in the middle of the call."""
    os._exit(1)


@server.tool()
async def grow(ctx: Context) -> str:
    """Add a tool to the list."""
    server.add_tool(say, name="later")
    return "grown"


@server.tool()
def key(ctx: Context) -> str:
    """The key that the request brought."""
    return (ctx.headers or {}).get("authorization", "none")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run(transport="streamable-http", port=int(sys.argv[1]), host="127.0.0.1")
    else:
        server.run()
