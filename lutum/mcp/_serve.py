"""A toolset as an MCP server. Its calls have hooks, a time limit and spans, like the calls of a round."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Any, final

import msgspec
from anyio.lowlevel import current_token
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server as LowLevelServer
from mcp.server.stdio import stdio_server
from mcp.types import (
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    TextResourceContents,
    Tool as Listed,
)

from lutum._tools.call import CallIssue, ToolCall, check_seconds, typed_call
from lutum._tools.round import ToolHook, decided_by
from lutum._tools.threads import LoopSlots
from lutum._tools.toolset import Toolset
from lutum._values.errors import BadValue, UsageError
from lutum._values.items import Document, Image, Part, Raw, Text, ToolResult

Context = ServerRequestContext[Any]


def serve(
    toolset: Toolset[Any],
    *,
    name: str = "lutum",
    version: str | None = None,
    instructions: str | None = None,
    hooks: ToolHook | None = None,
    timeout: float | None = None,
    limit: int = 16,
) -> ToolServer:
    """Return an MCP server with the tools of a toolset. Nothing runs before the server is started.

    Start it with `await server.run_stdio()` or `await server.run_http(port=...)`, mount
    `server.streamable_http_app()`, or give it to an `mcp.Client` of the same process. Tools that are off in
    the toolset are not offered.

    Args:
      name: the server's name. It is sent to clients, like `version` and `instructions`.
      hooks: hooks that run before the tool for each call, such as a `ToolHooks`. They run as in
        `ToolRound.apply_hooks`.
      timeout: seconds for each call. The wait for a slot does not count.
      limit: the most calls that run at the same time.

    Raises:
      BadValue: a tool has an `Injected` parameter that is not bound, `timeout` is not above 0, or `limit` is
        below 1.
      UsageError: a tool has no function.
    """
    check_seconds("timeout", timeout)
    if limit < 1:
        raise BadValue("limit", f"{limit} is below 1")
    toolset.check_bound()
    for tool in toolset:
        if tool.name in toolset.default_names:
            tool.check_runs()
    return ToolServer(toolset, name, version, instructions, hooks, timeout, limit)


@final
class ToolServer(LowLevelServer[Any]):
    """An MCP server of the official package, with the tools of a toolset. `serve` makes it."""

    def __init__(
        self,
        toolset: Toolset[Any],
        name: str,
        version: str | None,
        instructions: str | None,
        hooks: ToolHook | None,
        timeout: float | None,
        limit: int,
    ) -> None:
        super().__init__(
            name,
            version=version_of("lutum") if version is None else version,
            instructions=instructions,
            on_list_tools=self._listed,
            on_call_tool=self._called,
        )
        self._toolset = toolset
        self._hooks = hooks
        self._timeout = timeout
        self._slots = LoopSlots(limit)

    async def run_stdio(self) -> None:
        """Serve the process's standard input and output, until the input ends. If cancelled, the server ends.

        It waits for the input, so it is a checkpoint.
        """
        async with stdio_server() as (read, write):
            await self.run(read, write, self.create_initialization_options())

    async def run_http(self, *, host: str = "127.0.0.1", port: int = 8000, path: str = "/mcp") -> None:
        """Serve streamable HTTP with uvicorn. If cancelled, the server ends.

        It waits for connections, so it is a checkpoint.

        Raises:
          UsageError: the event loop is trio's, on which uvicorn does not run.
        """
        if type(current_token().native_token).__module__.startswith("trio"):
            raise UsageError(
                "mcp: uvicorn runs on asyncio only; use lutum.run(..., backend='asyncio'), or serve"
                " streamable_http_app() with an ASGI server for trio"
            )
        uvicorn: Any = import_module("uvicorn")  # a dependency of the official package, needed only here
        app = self.streamable_http_app(streamable_http_path=path, host=host)
        await uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="info")).serve()

    async def _listed(self, context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        tools = [tool for tool in self._toolset if tool.name in self._toolset.default_names]
        return ListToolsResult(
            tools=[
                Listed(
                    name=tool.name,
                    description=tool.definition.description or None,
                    input_schema=msgspec.json.decode(tool.open_schema),
                )
                for tool in tools
            ]
        )

    async def _called(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        arguments = msgspec.json.encode(params.arguments or {}).decode()
        call = typed_call(
            str(context.request_id),
            params.name,
            arguments,
            self._toolset,
            self._toolset.default_names,
        )
        if isinstance(call, CallIssue):
            return _result(call.answer())
        if self._hooks is not None:
            decided = await decided_by(self._hooks, call)
            if not isinstance(decided, ToolCall):
                return _result(decided)
            call = decided
        async with self._slots.one():
            return _result(await call.run(timeout=self._timeout))


def _result(result: ToolResult) -> CallToolResult:
    return CallToolResult(content=_blocks(result.content), is_error=result.is_error)


def _blocks(parts: Sequence[Part]) -> list[ContentBlock]:
    return [_block(i, part) for i, part in enumerate(parts)]


def _block(at: int, part: Part) -> ContentBlock:
    """Return a part as MCP content. A part without bytes becomes a line with its URL or file id."""
    match part:
        case Text(text=text):
            return TextContent(type="text", text=text)
        case Image(data=bytes(data), media_type=str(kind)):
            return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type=kind)
        case Document(data=bytes(data), media_type=str(kind)):
            uri = f"lutum:part/{at}"
            if kind.startswith("text/"):
                words = TextResourceContents(uri=uri, mime_type=kind, text=data.decode(errors="replace"))
                return EmbeddedResource(type="resource", resource=words)
            blob = BlobResourceContents(uri=uri, mime_type=kind, blob=base64.b64encode(data).decode())
            return EmbeddedResource(type="resource", resource=blob)
        case Image(url=url, file_id=file_id) | Document(url=url, file_id=file_id):
            return TextContent(type="text", text=f"[{type(part).__name__.lower()}: {url or file_id}]")
        case Raw(json=json):
            return TextContent(type="text", text=json)
