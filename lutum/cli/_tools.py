"""`--tools module:toolset`, `--mcp COMMAND` and `--approve`: the tools that a model may call."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import anyio

import lutum
from lutum._text import printable
from lutum.cli._schema_type import imported

_IN, _OUT = ("CONIN$", "CONOUT$") if sys.platform == "win32" else ("/dev/tty", "/dev/tty")

SHOWN = 500
"""Characters of a call's arguments that are shown before it is approved."""


@asynccontextmanager
async def toolset_of(
    modules: Sequence[str], commands: Sequence[str]
) -> AsyncGenerator[lutum.Toolset[Any] | None]:
    """Yield the tools of modules and MCP servers; None if there are none. The servers are connected until
    the block ends.

    Raises:
      BadValue: a module cannot be imported, a named object is not a tool, or two tools have one name.
      ToolError, ConnectionFailed: a server did not start or did not answer.
    """
    members: list[Any] = [_tools_of(path) for path in modules]
    async with AsyncExitStack() as stack:
        if commands:
            from lutum.cli import _mcp_tools  # needs an extra

            members += [await _mcp_tools.remote_toolset(stack, command) for command in commands]
        yield lutum.Toolset(*members) if members else None


def _tools_of(path: str) -> Any:
    found = imported("--tools", path)
    if isinstance(found, list | tuple):
        return lutum.Toolset(*cast("list[Any]", found))
    if not isinstance(found, lutum.Toolset | lutum.Tool):
        wanted = "a lutum.Toolset, or a function with @lutum.tool"
        raise lutum.BadValue("--tools", f"{path!r} is a {type(found).__name__}; name {wanted}")
    return found  # pyright: ignore[reportUnknownVariableType]


async def run(round: lutum.ToolRound[Any], *, approve: bool, say: Callable[[str], None]) -> None:
    """Run the calls of a round. With `approve`, ask the user before each call."""
    for call in round.calls:
        arguments = printable(call.arguments[:SHOWN])
        if not approve:
            say(f"{printable(call.name)} {arguments}")
            continue
        question = f"Run {printable(call.name)} {arguments}? [y/N] "
        if not await anyio.to_thread.run_sync(_approved, question, abandon_on_cancel=True):
            call.reject("the user did not approve this call")
    await round.run()


def _approved(question: str) -> bool:
    """Ask on the terminal, because standard input may contain the prompt."""
    try:
        with open(_OUT, "w", encoding="utf-8", errors="replace") as out:
            out.write(question)
        with open(_IN, encoding="utf-8", errors="replace") as person:
            return person.readline().strip().lower() in ("y", "yes")
    except OSError:
        raise lutum.UsageError(
            "--approve asks on a terminal, and this process does not have one; start it in a terminal"
        ) from None
