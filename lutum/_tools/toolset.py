"""Toolsets: tools that are offered together.

A toolset is immutable. Nesting, `off` and `bind` make new objects.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, cast, final, overload

from typing_extensions import TypeIs, TypeVar

from lutum._tools.tool import Tool
from lutum._values.errors import BadValue
from lutum._values.results import ToolDef

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
I_co = TypeVar("I_co", covariant=True, default=dict[str, Any])


@final
class Off(Generic[I_co]):
    """A member that is offered only if a turn adds it; made by `off`."""

    __slots__ = ("member",)

    def __init__(self, member: Tool[I_co] | Toolset[I_co] | type[I_co]) -> None:
        self.member: Tool[I_co] | Toolset[I_co] | type[I_co] = member


def off(member: Tool[T] | Toolset[T] | type[T]) -> Off[T]:
    """Exclude a tool or toolset from the offered tools, until `.available(plus=...)` adds it."""
    return member if _is_off(member) else Off(member)


@final
class Toolset(Generic[I_co]):
    """Tools that are offered together. Toolsets can be nested.

    Names are unique. The same tool object counts once, even if it is added twice. A bound toolset keeps its
    own dependencies inside another toolset.

    Type checkers know the union of the inputs. With more than six members, mypy needs the union explicitly:
    `Toolset[A | B | ...](...)`.

    Raises:
      BadValue: two tools have the same name, a member is not a tool, or a parameter of one tool is bound to
        two different values.
    """

    __slots__ = ("_bound", "_members", "_off", "_own", "_tools")

    @overload
    def __init__(self: Toolset[A], a: Tool[A] | Toolset[A] | Off[A] | type[A], /) -> None: ...
    @overload
    def __init__(
        self: Toolset[A | B],
        a: Tool[A] | Toolset[A] | Off[A] | type[A],
        b: Tool[B] | Toolset[B] | Off[B] | type[B],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Toolset[A | B | C],
        a: Tool[A] | Toolset[A] | Off[A] | type[A],
        b: Tool[B] | Toolset[B] | Off[B] | type[B],
        c: Tool[C] | Toolset[C] | Off[C] | type[C],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Toolset[A | B | C | D],
        a: Tool[A] | Toolset[A] | Off[A] | type[A],
        b: Tool[B] | Toolset[B] | Off[B] | type[B],
        c: Tool[C] | Toolset[C] | Off[C] | type[C],
        d: Tool[D] | Toolset[D] | Off[D] | type[D],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Toolset[A | B | C | D | E],
        a: Tool[A] | Toolset[A] | Off[A] | type[A],
        b: Tool[B] | Toolset[B] | Off[B] | type[B],
        c: Tool[C] | Toolset[C] | Off[C] | type[C],
        d: Tool[D] | Toolset[D] | Off[D] | type[D],
        e: Tool[E] | Toolset[E] | Off[E] | type[E],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Toolset[A | B | C | D | E | F],
        a: Tool[A] | Toolset[A] | Off[A] | type[A],
        b: Tool[B] | Toolset[B] | Off[B] | type[B],
        c: Tool[C] | Toolset[C] | Off[C] | type[C],
        d: Tool[D] | Toolset[D] | Off[D] | type[D],
        e: Tool[E] | Toolset[E] | Off[E] | type[E],
        f: Tool[F] | Toolset[F] | Off[F] | type[F],
        /,
    ) -> None: ...
    @overload
    def __init__(self, *members: Tool[I_co] | Toolset[I_co] | Off[I_co] | type[I_co]) -> None: ...
    def __init__(self, *members: Any) -> None:
        self._members = members
        self._bound: dict[str, dict[str, object]] = {}  # by tool
        self._own: dict[str, dict[str, object]] = {}  # by tool, without the values that a member has bound
        self._tools: dict[str, Tool[Any]] = {}
        self._off: set[str] = set()
        for member in members:
            inner: object = member.member if _is_off(member) else member
            nested = inner if _is_toolset(inner) else None
            for made in _tools_of(member):
                known = self._tools.get(made.name)
                if known is not None and known is not made:
                    remote = hasattr(known, "remote_name") or hasattr(made, "remote_name")  # of lutum.mcp
                    remedy = "; `server.toolset(prefix=...)` renames the tools of an MCP server"
                    raise BadValue("tools", f"two tools are called {made.name!r}{remedy if remote else ''}")
                off = inner is not member or (nested is not None and made.name in nested._off)
                if known is None:
                    self._tools[made.name] = made
                    self._off |= {made.name} if off else set()
                elif not off:
                    self._off.discard(made.name)
                if nested is not None:
                    self._keep(made.name, nested._bound.get(made.name, {}))

    @property
    def definitions(self) -> tuple[ToolDef, ...]:
        """All tools as providers see them, in order, including tools that are off."""
        return tuple(tool.definition for tool in self._tools.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools, in order, including tools that are off."""
        return tuple(self._tools)

    @property
    def default_names(self) -> tuple[str, ...]:
        """The names of the tools that a turn offers by default."""
        return tuple(name for name in self._tools if name not in self._off)

    def get(self, name: str) -> Tool[I_co] | None:
        """Return the tool with this name; None if there is none."""
        return self._tools.get(name)

    def definition(self, tool: Selector) -> ToolDef:
        """Return one tool as providers see it. Raises BadValue if it is not a member."""
        [name] = self.select("definition", [tool])
        return self._tools[name].definition

    @property
    def selector(self) -> type[str]:
        """An enum of the names. In a structured turn of this type, the model answers with one name.

        `available`, `require` and `describe` accept the answer.
        """
        return cast("type[str]", enum.StrEnum("Selector", {f"tool_{name}": name for name in self._tools}))

    @property
    def selection(self) -> type[list[str]]:
        """A list of `selector`. In a structured turn of this type, the model answers with several names."""
        return cast("type[list[str]]", list.__class_getitem__(self.selector))

    def bind(self, **dependencies: object) -> Toolset[I_co]:
        """Return this toolset with values for `Injected` parameters. A later value replaces an earlier one.

        A nested toolset that is already bound keeps its values.

        Raises:
          BadValue: no tool has such a parameter, or nested toolsets have already bound it for all of them.
        """
        bound = cast("Toolset[I_co]", Toolset(*self._members))
        for name, value in dependencies.items():
            takers = [tool.name for tool in self._tools.values() if name in tool.dependencies]
            if not takers:
                raise BadValue(f"bind.{name}", "no tool of this set has such an Injected parameter")
            free = [tool for tool in takers if name not in bound._bound.get(tool, {})]
            if not free:
                raise BadValue(
                    f"bind.{name}",
                    f"is bound already, for {', '.join(takers)}, in toolsets within this one",
                )
            for tool in free:
                bound._own.setdefault(tool, {})[name] = value
        for tool, own in self._own.items():
            bound._own[tool] = {**own, **bound._own.get(tool, {})}
        for tool, own in bound._own.items():
            bound._bound[tool] = {**bound._bound.get(tool, {}), **own}
        return bound

    def bound(self, tool: Selector) -> Mapping[str, object]:
        """Return the values for the `Injected` parameters of a tool, by name.

        Raises:
          BadValue: the tool is not a member.
        """
        [name] = self.select("bound", [tool])
        return self._bound.get(name, {})

    def check_bound(self) -> None:
        """Raise BadValue if a tool has an `Injected` parameter without a value."""
        for tool in self._tools.values():
            for name in sorted(tool.dependencies - self._bound.get(tool.name, {}).keys()):
                raise BadValue(f"tools.{tool.name}.{name}", f"is not bound; give tools.bind({name}=...)")

    def _keep(self, tool: str, bound: Mapping[str, object]) -> None:
        """Take over the values that a nested toolset has bound for a tool."""
        here = self._bound.setdefault(tool, {})
        for name, value in bound.items():
            if name in here and here[name] is not value:
                raise BadValue(
                    "tools", f"{tool!r} is in the set twice, and its {name!r} is bound to two values"
                )
            here[name] = value

    def select(self, field: str, selectors: Iterable[Selector]) -> tuple[str, ...]:
        """Return the names of the selected tools, each once, in the order of the selectors.

        Raises:
          BadValue: a selected tool is not a member; the message begins with `field`.
        """
        found = dict[str, None]()
        for selector in selectors:
            one = isinstance(selector, str)
            for name in [str(selector)] if one else [tool.name for tool in _tools_of(selector)]:
                if name not in self._tools:
                    raise BadValue(field, f"{name!r} is not a tool of this turn")
                found[name] = None
        return tuple(found)

    def __iter__(self) -> Iterator[Tool[I_co]]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        names = (f"{name} (off)" if name in self._off else name for name in self._tools)
        return f"<Toolset {', '.join(names)}>"


Selector = str | Tool[Any] | type[Any] | Off[Any] | Toolset[Any]
"""A selection of tools of a toolset: a name, the tool or input type itself, or a nested toolset."""


def _tools_of(member: object) -> Iterable[Tool[Any]]:
    inner = member.member if _is_off(member) else member
    if _is_toolset(inner):
        return inner._tools.values()
    made = inner.__dict__.get("__lutum_tool__") if isinstance(inner, type) else inner
    if _is_tool(made):
        return [made]
    shown = getattr(inner, "__name__", None) or repr(inner)
    raise BadValue("tools", f"{shown} is not a tool; decorate it with @lutum.tool or @lutum.tool_input")


# isinstance() alone leaves pyright with an unknown type argument.
def _is_off(member: object) -> TypeIs[Off[Any]]:
    return isinstance(member, Off)


def _is_tool(member: object) -> TypeIs[Tool[Any]]:
    return isinstance(member, Tool)


def _is_toolset(member: object) -> TypeIs[Toolset[Any]]:
    return isinstance(member, Toolset)
