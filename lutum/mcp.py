"""Tools of an MCP server, as a toolset: a thin layer over `raw_tool` and the official client (extra `mcp`).

    async with lutum.mcp.connect(["uvx", "mcp-server-time"]) as server:
        tools = await server.toolset()

The server is spoken to inside the block only. A toolset is what the server listed when it was made: a list
that changes later changes no toolset, so a running session keeps its prefix.
https://modelcontextprotocol.io/specification/2025-11-25/server/tools
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, final

import msgspec
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
    Tool as Listed,
)

from lutum._telemetry.spans import CURRENT
from lutum._tools.tool import Tool, raw_tool
from lutum._tools.toolset import Toolset
from lutum._values.errors import BadValue, LutumError, ToolError, UsageError
from lutum._values.items import Document, Image, Part, Text
from lutum._values.results import ToolDef

__all__ = ["ConnectionFailed", "Progress", "Server", "connect"]

Progress = Callable[[str, float, float | None, str | None], Awaitable[None]]
"""Told how far a call is: the tool's name, progress, total where the server knows it, and its words."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")


class ConnectionFailed(LutumError):
    """The server could not be started or reached, or did not answer as an MCP server does."""


def connect(
    server: Sequence[str] | str | Client,
    *,
    env: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Server:
    """A block with an MCP server: `async with connect(...) as server`.

    Args:
      server: a command and its arguments, which is started and spoken to over stdio; the URL of a
        streamable HTTP endpoint; or an `mcp.Client` of yours, for headers, authentication and the rest.
      env: variables that the command gets, beside the few that are safe to inherit.
      progress: told what the server reports while a call runs.

    Raises:
      BadValue: no command, no URL, or `env` without a command.
    """
    if isinstance(server, Client):
        if env is not None:
            raise BadValue("env", "is for a command")
        return Server(server, progress)
    if isinstance(server, str):
        if not server.startswith(("http://", "https://")):
            raise BadValue("server", f"{server!r} is no http(s) URL; a command is a list of its words")
        if env is not None:
            raise BadValue("env", "is for a command")
        return Server(Client(server), progress)
    if not server:
        raise BadValue("server", "the command is empty")
    command, *args = server
    given = None if env is None else dict(env)
    return Server(Client(StdioServerParameters(command=command, args=args, env=given)), progress)


@final
class Server:
    """A connected MCP server; made by `connect`, used as its block.

    Leaving the block ends the connection, and a command that was started, whatever its calls do.
    """

    def __init__(self, client: Client, progress: Progress | None) -> None:
        self._client = client
        self._progress = progress
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        """Connect. Cancelled, nothing is left running.

        Raises:
          ConnectionFailed: there is no such command or host, or no MCP server there.
        """
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(self._client)
        except (MCPError, OSError, ExceptionGroup, RuntimeError) as exc:
            cause: BaseException = exc
            while isinstance(cause, BaseExceptionGroup):  # the client's own task groups
                cause = cause.exceptions[0]
            raise ConnectionFailed(f"mcp: {type(cause).__name__}: {cause}") from exc
        self._stack = stack
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.__aexit__(None, None, None)  # the client's task groups would wrap `exc` into a group

    @property
    def client(self) -> Client:
        """The official client, for what is not here: resources, prompts, subscriptions."""
        return self._client

    async def toolset(
        self, *, only: Iterable[str] | None = None, prefix: str = ""
    ) -> Toolset[dict[str, Any]]:
        """What the server lists now, as tools that run there.

        Args:
          only: the server's names of the tools to take, in that order; all of them if not given.
          prefix: put before each name, so that several servers fit into one toolset.

        Raises:
          BadValue: the server has no tool of a name in `only`, or a tool that no provider would take.
          ToolError: the server did not answer.
        """
        listed = {tool.name: tool for tool in await self._list()}
        names = list(listed) if only is None else list(only)
        for name in names:
            if name not in listed:
                raise BadValue("only", f"the server has no tool {name!r}; it has {', '.join(listed)}")
        return Toolset(*[RemoteTool(self, listed[name], prefix) for name in names])

    def check_open(self, name: str) -> None:
        """Raises UsageError outside of the block."""
        if self._stack is None:
            raise UsageError(f"mcp: {name!r} is called outside of the block of its server")

    async def call(self, name: str, arguments: dict[str, Any]) -> list[Part]:
        """Call a tool by the server's name for it. Cancelled, the server is told so.

        Raises:
          ToolError: the tool failed, with the server's words; or the server did not answer.
        """
        self.check_open(name)
        current = CURRENT.get()

        async def forward(progress: float, total: float | None, message: str | None) -> None:
            if current is not None:
                current.event("progress", progress=progress, total=total, message=message)
            if self._progress is not None:
                await self._progress(name, progress, total, message)

        try:
            result = await self._client.call_tool(name, arguments, progress_callback=forward)
        except MCPError as exc:
            raise ToolError(f"the MCP server did not answer: {exc}") from exc
        parts = _parts(result)
        if result.is_error:
            said = "\n".join(part.text for part in parts if isinstance(part, Text))
            raise ToolError(said or "the tool failed without a word")
        return parts

    async def _list(self) -> list[Listed]:
        if self._stack is None:
            raise UsageError("mcp: toolset() is called outside of the block of its server")
        found, cursor = list[Listed](), None
        while True:
            try:
                page = await self._client.list_tools(cursor=cursor, cache_mode="refresh")
            except MCPError as exc:
                raise ToolError(f"the MCP server did not answer: {exc}") from exc
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return found


@final
class RemoteTool(Tool[dict[str, Any]]):
    """A tool of an MCP server; its schema is the server's, and the server checks the arguments."""

    __slots__ = ("_listed", "_raw", "_server")

    def __init__(self, server: Server, listed: Listed, prefix: str) -> None:
        name = _NO_NAME.sub("_", prefix + listed.name)
        self._raw = raw_tool(name, listed.input_schema, listed.description or listed.title or "")
        self._server = server
        self._listed = listed
        super().__init__(ToolDef(name, self._raw.definition.schema, self._raw.definition.description))

    def decode(self, arguments: str) -> dict[str, Any]:
        """The object. Raises BadArguments."""
        return self._raw.decode(arguments)

    def check_runs(self) -> None:
        """Raises UsageError outside of the server's block."""
        self._server.check_open(self.name)

    async def run(self, input: Any, bound: Mapping[str, object]) -> object:
        """Call it on the server. As `Server.call`."""
        return await self._server.call(self._listed.name, input)


def _parts(result: CallToolResult) -> list[Part]:
    if result.content or result.structured_content is None:
        return [_part(block) for block in result.content] or [Text("")]
    return [Text(msgspec.json.encode(result.structured_content).decode())]


def _part(block: object) -> Part:
    match block:
        case TextContent(text=text):
            return Text(text)
        case ImageContent(data=data, mime_type=media_type):
            return _image(data, media_type)
        case EmbeddedResource(resource=TextResourceContents(text=text)):
            return Text(text)
        case EmbeddedResource(resource=BlobResourceContents(blob=blob, mime_type="application/pdf")):
            return _pdf(blob)
        case EmbeddedResource(resource=BlobResourceContents(blob=blob, mime_type=str(media_type))) if (
            media_type.startswith("image/")
        ):
            return _image(blob, media_type)
        case _:  # audio, links: no part says them, so the model gets what the server said
            told: Any = block
            return Text(told.model_dump_json(by_alias=True, exclude_none=True))


def _image(data: str, media_type: str) -> Part:
    """An image of a server. What is not an image becomes text, so that no later request is refused."""
    try:
        return Image.from_bytes(base64.b64decode(data, validate=True), media_type=media_type)
    except ValueError as exc:  # BadValue is one too
        return Text(f"[an image of type {media_type} that cannot be shown: {exc}]")


def _pdf(data: str) -> Part:
    try:
        return Document.from_bytes(base64.b64decode(data, validate=True), media_type="application/pdf")
    except ValueError as exc:
        return Text(f"[a PDF that cannot be read: {exc}]")
