"""Tools of an MCP server, and names for them that providers accept. No I/O of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, final

from mcp.types import Tool as Listed
from msgspec import Struct

from lutum._tools.tool import Tool, raw_tool
from lutum._values.errors import BadValue
from lutum._values.items import Part
from lutum._values.results import ToolDef

LONGEST = 64
"""The longest tool name that every provider accepts, in characters."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")

Call = Callable[[str, dict[str, Any]], Awaitable[list[Part]]]


class LeftOut(Struct, frozen=True):
    """A tool that the server lists but that is not in the toolset, and the reason."""

    name: str
    reason: str


@final
class RemoteTool(Tool[dict[str, Any]]):
    """A tool of an MCP server. The schema comes from the server, and the server checks the arguments.

    `remote_name` is the server's name of the tool. `name` may differ from it.
    """

    __slots__ = ("_call", "_check", "_raw", "remote_name")

    def __init__(self, listed: Listed, name: str, call: Call, check: Callable[[str], None]) -> None:
        self._raw = raw_tool(name, listed.input_schema, listed.description or listed.title or "")
        self._call = call
        self._check = check
        self.remote_name: str = listed.name
        super().__init__(
            ToolDef(name, self._raw.definition.schema, self._raw.definition.description),
            result_limit=None,  # `connect` has its own limit, in characters
        )

    def decode(self, arguments: str) -> dict[str, Any]:
        """Return the arguments as an object. Raises BadArguments."""
        return self._raw.decode(arguments)

    def check_runs(self) -> None:
        """Raise UsageError outside of the server's block."""
        self._check(self.remote_name)

    async def run(self, input: Any, bound: Mapping[str, object]) -> object:
        """Call the tool on the server, like `Server.call`.

        This is a checkpoint only if it has to wait.
        """
        return await self._call(self.remote_name, input)


def remote_tools(
    listed: Iterable[Listed],
    prefix: str,
    names: Mapping[str, str],
    call: Call,
    check: Callable[[str], None],
) -> tuple[list[RemoteTool], list[LeftOut]]:
    """Return the tools that can be offered, and the other tools, each with the reason."""
    found, left_out = list[RemoteTool](), list[LeftOut]()
    able = list[Listed]()
    for tool in listed:
        execution: Any = getattr(tool, "execution", None)
        if getattr(execution, "task_support", None) == "required":
            left_out.append(LeftOut(tool.name, "the server runs it as a task only"))
        else:
            able.append(tool)
    given = fitted([tool.name for tool in able], prefix, names)
    for tool in able:
        try:
            found.append(RemoteTool(tool, given[tool.name], call, check))
        except BadValue as exc:
            left_out.append(LeftOut(tool.name, str(exc)))
    return found, left_out


def fitted(remote: Iterable[str], prefix: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return a name for each of the server's names.

    A name of `names` is used unchanged. In other names, each character that some provider does not accept
    becomes `_`. If a changed name is then equal to another name, or if a name is empty or too long, it gets a
    digest of the server's name at its end. The digest is the same in every process, and does not depend on
    the other tools.
    """
    plain = {name: names.get(name) or _NO_NAME.sub("_", prefix + name) for name in remote}
    uses = Counter(plain.values())
    found = dict[str, str]()
    for name, fit in plain.items():
        changed = fit != prefix + name and name not in names
        if len(fit) > LONGEST or not fit or (uses[fit] > 1 and changed):
            digest = blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
            fit = f"{fit[: LONGEST - 9]}_{digest}"
        found[name] = fit
    return found
