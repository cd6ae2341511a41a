"""`connect` and `Server`: the block in which an MCP server is connected, its toolset, and its calls."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, final

import anyio
from anyio.abc import TaskGroup
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, ContentBlock, EmbeddedResource, Prompt, Resource, ResourceLink

from lutum._lutum import Lutum
from lutum._telemetry.redact import masked_url
from lutum._telemetry.spans import current_span
from lutum._tools.toolset import Toolset
from lutum._values.check import check_type
from lutum._values.errors import BadValue, ToolError, UsageError
from lutum._values.items import Part, Text
from lutum._values.model_input import ModelInput
from lutum.mcp._connection import McpConnection, StandardError, Words, default_words
from lutum.mcp._content import parts_of, prompt_input, resource_parts
from lutum.mcp._name import client_name, command_name
from lutum.mcp._sampling import sampling as answer_sampling
from lutum.mcp._tool import LeftOut, remote_tools

Progress = Callable[[str, float, float | None, str | None], Awaitable[None]]
"""A function that is called with the progress of a call: the tool's name, the progress, the total, and the
server's message. The total and the message may be None."""

TIMEOUT: Final = 30.0
"""The most seconds for the handshake, and for each page of a list."""

RESULT_LIMIT: Final = 100_000
"""The most characters of text in one result; about 25,000 tokens."""

PAGES: Final = 100
"""The most pages of a list that are read."""

logger = logging.getLogger("lutum")

LINKS: Final = 20
"""The most links of one result that are resolved."""

Make = Callable[[], tuple[Client, StandardError | None]]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `connect` that apply to every kind of server."""

    progress: Progress | None
    timeout: float | None
    result_limit: int
    resolve_links: bool
    sampling: Lutum | None


def connect(
    server: Sequence[str] | str | Client | Callable[[], Client],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stderr: Words | Literal["inherit"] | None = "inherit",
    timeout: float | None = TIMEOUT,
    mode: str | None = None,
    progress: Progress | None = None,
    result_limit: int = RESULT_LIMIT,
    resolve_links: bool = False,
    sampling: Lutum | None = None,
) -> Server:
    """Return an MCP server. It is connected inside its block: `async with connect(...) as server`.

    Args:
      server: one of three: a command and its arguments, which is started and used over stdio; the URL of a
        streamable HTTP endpoint; or your own `mcp.Client`, which can have headers, authentication and other
        settings. To reconnect a client with your own transport, give a function that makes the client.
      env: environment variables of the command. It also inherits a few variables that are safe to inherit.
      cwd: the directory in which the command runs.
      stderr: the target of the command's standard error: `inherit` for the standard error of this process,
        an object with `write`, or None to discard it. If the server fails, the error contains the last lines.
      timeout: seconds for the handshake, and for each page of the list of tools; None for no limit.
      mode: how to negotiate the protocol version: the `mode` of `mcp.Client`.
      progress: a function that is called with the server's reports while a call runs. If it raises an
        exception, the call ends with this exception.
      result_limit: the most characters of text in one result. Longer text is cut, with a note in the result.
      resolve_links: read the resources that a result links to, at most 20, and replace each link by the
        content. If it is False, a link is one line of text, and `server.resource(uri)` reads its content.
      sampling: a `Lutum` that answers the server's requests for an answer of a model, under its budget.
        Without it, the server is not offered this capability.

    Raises:
      BadValue: the command is empty, the URL is not an http(s) URL, an option does not apply to this kind of
        server, `timeout` is not above 0, `result_limit` is below 1, or another option is invalid.
    """
    if timeout is not None and not timeout > 0:
        raise BadValue("timeout", f"{timeout!r} is not above 0 s; None means no limit")
    if result_limit < 1:
        raise BadValue("result_limit", f"{result_limit} is below 1")
    if sampling is not None:
        check_type("sampling", sampling, Lutum, "a lutum.Lutum")
    options = Options(progress, timeout, result_limit, resolve_links, sampling)
    given: dict[str, object] = {"env": env, "cwd": cwd, "stderr": None if stderr == "inherit" else stderr}
    if not isinstance(server, str) and isinstance(server, Sequence):
        words: list[str] = [*server]  # pyright: ignore[reportUnknownVariableType]  # a str is a Sequence too
        return Server(_command(words, env, cwd, stderr, mode), options, command_name(words))
    for field, value in given.items():
        if value is not None:
            raise BadValue(field, "applies only to a command")
    if isinstance(server, str):
        if not server.startswith(("http://", "https://")):
            raise BadValue("server", f"{server!r} is not an http(s) URL; a command is a list of its words")
        url = server
        _client(url, mode)  # refuses an unknown mode now, not when the block is entered
        return Server(lambda: (_client(url, mode), None), options, masked_url(url))
    if mode is not None:
        raise BadValue("mode", "applies only to a command or a URL; a client has its own mode")
    return Server(_again(server), options, client_name(server))


def _client(server: Any, mode: str | None) -> Client:
    try:
        return Client(server) if mode is None else Client(server, mode=mode)
    except ValueError as exc:
        raise BadValue("mode", str(exc)) from None


def _command(
    words: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    stderr: Words | Literal["inherit"] | None,
    mode: str | None,
) -> Make:
    if not words:
        raise BadValue("server", "the command is empty")
    command, *args = words
    parameters = StdioServerParameters(
        command=command,
        args=args,
        env=None if env is None else dict(env),
        cwd=None if cwd is None else os.fspath(cwd),
    )
    _client(parameters, mode)

    def make() -> tuple[Client, StandardError | None]:
        errors = StandardError(default_words() if stderr == "inherit" else stderr)
        return _client(stdio_client(parameters, errlog=errors.file), mode), errors

    return make


def _again(given: Client | Callable[[], Client]) -> Make:
    """Return a function that makes the client. A given client can be entered only once, so it is copied after
    its first use, if possible."""
    if not isinstance(given, Client):
        return lambda: (given(), None)
    used = False

    def make() -> tuple[Client, StandardError | None]:
        nonlocal used
        if not used:
            used = True
            return given, None
        if hasattr(given.server, "__aenter__"):
            raise UsageError(
                "mcp: the transport of this client can be used once; give connect() a function that makes"
                " the client"
            )
        return dataclasses.replace(given), None

    return make


@final
class Server:
    """A connected MCP server. `connect` makes it. It is an `async with` block, which may be entered again.

    A separate task holds the connection. If the server dies, its running calls fail, and their results
    contain the reason. The block, local tools and other servers continue, and `reconnect` makes a new
    connection. The end of the block ends the connection and the command that was started, even if calls are
    still running.
    """

    def __init__(self, make: Make, options: Options, name: str) -> None:
        self._make = make
        self._name = name
        self._progress = options.progress
        self._timeout = options.timeout
        self._limit = options.result_limit
        self._resolve_links = options.resolve_links
        self._sampling = options.sampling
        self._group: TaskGroup | None = None
        self._connection: McpConnection | None = None
        self._left_out: tuple[LeftOut, ...] = ()

    async def __aenter__(self) -> Self:
        """Connect. If cancelled, it leaves nothing running.

        This is a checkpoint only if it has to wait.

        Raises:
          ConnectionFailed: the command or host does not exist, is not an MCP server, or does not answer in
            time. The message contains the last lines that a command wrote to its standard error.
          UsageError: the block is already entered.
        """
        if self._group is not None:
            raise UsageError("mcp: the block of this server is already entered; leave it first")
        connection = self._new()
        group = anyio.create_task_group()
        await group.__aenter__()
        try:
            await self._start(group, connection)
        except BaseException:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)
            raise
        self._group = group
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """This is a checkpoint only if it has to wait."""
        group, self._group = self._group, None
        connection, self._connection = self._connection, None
        if group is None:
            return
        try:
            if connection is not None:
                await connection.end()
        finally:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)  # given `exc`, it would wrap it into an exception group

    @property
    def client(self) -> Client:
        """The official client, for other features: completions, subscriptions, templates of resources.

        Raises:
          UsageError: outside of the block.
        """
        return self._open("the client").client

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The tools that the last `toolset()` left out, and why."""
        return self._left_out

    async def reconnect(self) -> None:
        """End the connection and make another one, with the same command, URL or client.

        Earlier toolsets use the new connection. Running calls fail. After a cancellation the server is not
        connected, and calls fail until `reconnect` is called again.

        This is a checkpoint only if it has to wait.

        Raises:
          ConnectionFailed: as when the block is entered.
          UsageError: outside of the block, or the client cannot be made again.
        """
        self._open("reconnect()")
        assert self._group is not None
        assert self._connection is not None
        await self._connection.end()
        await self._start(self._group, self._new())

    async def toolset(
        self,
        *,
        only: Iterable[str] | None = None,
        prefix: str = "",
        names: Mapping[str, str] | None = None,
    ) -> Toolset[dict[str, Any]]:
        """Return the tools that the server lists now, as tools that run there.

        A name that providers do not accept is changed. A tool that cannot be offered is left out and logged,
        and `left_out` has the reason. The other tools are not affected.

        This is a checkpoint only if it has to wait.

        Args:
          only: the tools to return, by the server's names and in this order; None for all tools.
          prefix: text before each name, so that the tools of several servers can be in one toolset.
          names: other names for some tools. The keys are the server's names.

        Raises:
          BadValue: `only` or `names` contains a name that the server does not list.
          ToolError: the server did not answer.
        """
        listed = {tool.name: tool for tool in await self._list("tools", self.client.list_tools)}
        wanted = list(listed) if only is None else list(only)
        for field, given in (("only", wanted), ("names", list(names or ()))):
            for name in given:
                if name not in listed:
                    raise BadValue(field, f"the server has no tool {name!r}; it has {', '.join(listed)}")
        tools, left_out = remote_tools(
            [listed[name] for name in wanted], prefix, names or {}, self.call, self.check_open
        )
        self._left_out = tuple(left_out)
        for one in left_out:
            logger.warning("mcp: tool %r is left out: %s", one.name, one.reason)
        return Toolset(*tools)

    def check_open(self, name: str) -> None:
        """Raise UsageError outside of the block."""
        self._open(repr(name))

    async def call(self, name: str, arguments: dict[str, Any]) -> list[Part]:
        """Call a tool by the server's name for it. A cancellation is sent to the server.

        This is a checkpoint only if it has to wait.

        Raises:
          ToolError: the tool failed, or the server did not answer. If the tool failed, the message is the
            text of its result.
          Exception: the `progress` function raised it.
        """
        connection, current, raised = self._open(repr(name)), current_span(), list[Exception]()
        scope = anyio.CancelScope()

        async def forward(progress: float, total: float | None, message: str | None) -> None:
            if current is not None:
                current.event("progress", progress=progress, total=total, message=message)
            if self._progress is None:
                return
            try:
                await self._progress(name, progress, total, message)
            except Exception as exc:  # the client would only log it
                raised.append(exc)
                scope.cancel()

        result: CallToolResult | None = None
        with scope:
            result = await connection.ask(
                lambda: connection.client.call_tool(name, arguments, progress_callback=forward)
            )
        if raised:
            raise raised[0]
        assert result is not None
        if self._resolve_links:
            result = await self._with_links(connection, result)
        parts = parts_of(result, self._limit)
        if result.is_error:
            said = "\n".join(part.text for part in parts if isinstance(part, Text))
            raise ToolError(said or "the tool failed without a word")
        return parts

    async def prompts(self) -> list[Prompt]:
        """Return the prompts that the server lists now, as objects of the official package.

        This is a checkpoint only if it has to wait.

        Raises:
          ToolError: the server did not answer, or has no prompts.
        """
        return await self._list("prompts", self.client.list_prompts)

    async def prompt(self, name: str, arguments: Mapping[str, str] | None = None) -> ModelInput:
        """Return the messages of a prompt, as the input of a turn.

        This is a checkpoint only if it has to wait.

        Raises:
          ToolError: the server did not answer, has no such prompt, or refuses the arguments.
        """
        connection = self._open("prompt()")
        given = dict(arguments or {})
        found = await connection.ask(lambda: connection.client.get_prompt(name, given), self._timeout)
        return prompt_input(found.messages)

    async def resources(self) -> list[Resource]:
        """Return the resources that the server lists now, as objects of the official package.

        This is a checkpoint only if it has to wait.

        Raises:
          ToolError: the server did not answer, or has no resources.
        """
        return await self._list("resources", self.client.list_resources)

    async def resource(self, uri: str) -> list[Part]:
        """Return the content of a resource as parts, for a message or a result.

        `uri` may be the uri of a link in a result.

        This is a checkpoint only if it has to wait.

        Raises:
          ToolError: the server did not answer, or has no such resource.
        """
        connection = self._open("resource()")
        found = await connection.ask(lambda: connection.client.read_resource(uri), self._timeout)
        return resource_parts(found.contents, self._limit)

    async def _with_links(self, connection: McpConnection, result: CallToolResult) -> CallToolResult:
        """Replace the links of a result by the content of their resources. Unreadable links stay."""
        blocks: list[ContentBlock] = []
        links = 0
        for block in result.content:
            if not isinstance(block, ResourceLink) or links == LINKS:
                blocks.append(block)
                continue
            links += 1
            read = partial(connection.client.read_resource, block.uri)
            try:
                found = await connection.ask(read, self._timeout)
            except ToolError as exc:
                logger.warning("mcp: the link to %r cannot be resolved: %s", block.uri[:200], exc)
                blocks.append(block)
                continue
            blocks += [
                EmbeddedResource(type="resource", resource=one, annotations=block.annotations)
                for one in found.contents
            ]
        return result.model_copy(update={"content": blocks})

    async def _list(self, what: str, list_page: Any) -> list[Any]:
        """Return the entries of all pages. The list ends at a repeated cursor, and after `PAGES` pages."""
        connection = self._open(f"{what}()")
        found, cursor, seen = list[Any](), None, set[str]()
        for _ in range(PAGES):
            ask = partial(list_page, cursor=cursor, cache_mode="refresh")
            page = await connection.ask(ask, self._timeout)
            found += getattr(page, what)
            cursor = page.next_cursor
            if cursor is None:
                return found
            if cursor in seen:
                logger.warning("mcp: the server gave one cursor twice; its list of %s ends there", what)
                return found
            seen.add(cursor)
        logger.warning("mcp: the list of %s has more than %d pages; the others are not read", what, PAGES)
        return found

    def _new(self) -> McpConnection:
        client, errors = self._make()
        if self._sampling is not None and client.sampling_callback is None:
            answer: Any = answer_sampling(self._sampling)
            client = dataclasses.replace(client, sampling_callback=answer)
        return McpConnection(client, errors, self._name)

    async def _start(self, group: TaskGroup, connection: McpConnection) -> None:
        self._connection = connection
        group.start_soon(connection.hold, name="lutum mcp")
        await connection.connect(self._timeout)

    def _open(self, what: str) -> McpConnection:
        if self._group is None or self._connection is None:
            raise UsageError(f"mcp: {what} is called outside of the block of its server")
        return self._connection
