"""An agent with the tools of two MCP servers and one tool of its own. A server that dies is started again.
Copy it when tools are in other processes."""

# It needs `pip install '.[mcp]'` in the clone of lutum.

import sys

from _provider import run
from mcp import Client

import lutum
import lutum.mcp
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(
        Call("stock_count", {"item": "white paper"}),
        Call("orders_count", {"item": "paper"}),
        Call("packs", {"sheets": 20_000}),
    ),
    Reply(Call("stock_count", {"item": "paper"})),
    Reply("40 packs of paper are in stock and 3 are ordered, so 20,000 sheets are there."),
]

STOCK = """
import os
from mcp.server.mcpserver import MCPServer

stock = MCPServer("stock", log_level="WARNING")


@stock.tool()
def count(item: str) -> int:
    "Count the packs in stock."
    if " " in item:
        os._exit(1)  # a bug that ends the process
    return 40


stock.run()
"""


@lutum.tool(name="count")
async def count_orders(item: str) -> int:
    """Count the ordered packs."""
    return 3


@lutum.tool
async def packs(sheets: int) -> int:
    """Return how many packs of 500 sheets are needed."""
    return -(-sheets // 500)


async def revive(server: lutum.mcp.Server) -> None:
    """Start the server again if it no longer lists its tools."""
    try:
        await server.toolset()
    except lutum.ToolError:
        await server.reconnect()
        print("stock: started again")


async def main(llm: lutum.Lutum) -> None:
    command = [sys.executable, "-c", STOCK]  # such as ["uvx", "mcp-server-time"]
    in_process = lutum.mcp.serve(lutum.Toolset(count_orders), name="orders")
    async with (
        lutum.mcp.connect(command, timeout=60) as stock,
        lutum.mcp.connect(Client(in_process)) as orders,
    ):
        # Both servers have a tool `count`. The toolset stays valid after a reconnect.
        tools = lutum.Toolset(
            await stock.toolset(prefix="stock_"), await orders.toolset(prefix="orders_"), packs
        )
        print(tools)
        session = lutum.Session(llm)
        session.push_user("Do we have 20,000 sheets of paper?")
        for _ in range(8):
            match await session.text_turn().tools(tools).collect():
                case lutum.NeedsTools(round):
                    results = await round.run(timeout=60)
                    for call, result in zip(round.calls, results, strict=True):
                        print(f"{call.name}: {'failed' if result.is_error else result.text}")
                    session.commit_round(round, results)  # the model reads why a call failed
                    if any(result.is_error for result in results):
                        await revive(stock)
                case lutum.Finished(result):
                    session.commit_text(result)
                    return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
