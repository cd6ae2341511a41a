"""Tools that are functions. The signature becomes a frozen Struct; the docstring becomes the descriptions."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    ParamSpec,
    TypeVar,
    cast,
    final,
    get_args,
    get_origin,
)

import anyio.to_thread
import msgspec
from msgspec import NODEFAULT, Struct

from lutum._schema.metadata import describes, facts_of, is_field
from lutum._tools.call import ToolCall
from lutum._tools.docstrings import parse
from lutum._tools.threads import THREADS, LoopSlots
from lutum._tools.tool import RESULT_LIMIT, TypedTool
from lutum._values.errors import BadValue

P = ParamSpec("P")
O = TypeVar("O")

if TYPE_CHECKING:

    class Arguments(Generic[P]):
        """The input of a function tool: its parameters, by name."""

        def __getattr__(self, name: str) -> Any: ...

else:

    class Arguments(Struct, frozen=True):
        """The input of a function tool: its parameters, by name."""

        def __class_getitem__(cls, parameters: object) -> type[Arguments]:
            return cls


@final
class Injected:
    """Marks a parameter that the model does not see: `db: Annotated[Db, lutum.Injected]`.

    `tools.bind(db=...)` sets its value. A parameter `call: Annotated[lutum.ToolCall, lutum.Injected]` gets
    the call itself, so that the tool can pass on `call.key` as an idempotency key.
    """


@final
class FunctionTool(TypedTool[Arguments[P]], Generic[P, O]):
    """A function that a model may call; made by `tool`. Calling this object calls the function.

    Attributes:
      Input: the Struct of the parameters, for `match`: `case weather.Input(city=city)`. For a type checker
        the inputs of all functions are one class, so it may accept a `match` in which a function is missing.
        Inputs that are your own types (`tool_input`) are distinct.
    """

    if TYPE_CHECKING:
        Input = Arguments
    else:
        Input: type[Arguments]

    def __init__(
        self,
        fn: Callable[P, O],
        *,
        name: str | None,
        description: str | None,
        thread: bool,
        abandon: bool,
        local_names: Mapping[str, object],
        strict: bool | None = None,
        result_limit: int | None = RESULT_LIMIT,
        threads: int = THREADS,
    ) -> None:
        inner = _without_partial(fn)
        if name is None:
            name = str(getattr(inner, "__name__", type(inner).__name__))
        _check_callable(fn, inner, name)
        if thread and _is_a(inspect.iscoroutinefunction, inner):
            raise BadValue(
                f"tool {name!r}: thread", "an async function does not run in a thread; leave thread= out"
            )
        if abandon and not thread:
            raise BadValue(
                f"tool {name!r}: abandon", "only a thread can be left running; give thread=True too"
            )
        if threads < 1:
            raise BadValue(f"tool {name!r}: threads", f"{threads} is below 1")
        text, of = parse(getattr(inner, "__doc__", None))
        fields, injected, self._calls, self._filled = _fields(fn, name, of, local_names)
        title = "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))
        made = msgspec.defstruct(
            title or "Input",
            fields,
            bases=(cast("Any", Arguments),),
            module=getattr(fn, "__module__", None),
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
        )
        made.__qualname__ = f"{getattr(fn, '__qualname__', name)}.Input"  # where pickle finds it
        self.__dict__["Input"] = made
        self.__wrapped__ = fn
        self._thread = thread
        self._abandon = abandon
        self._slots = LoopSlots(threads) if thread else None
        self._names = tuple(field[0] for field in fields)
        super().__init__(
            name,
            text if description is None else description,
            cast("type[Arguments[P]]", made),
            injected,
            strict=strict,
            result_limit=result_limit,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O:
        """Call the function itself, with every parameter."""
        if self._filled:
            given = inspect.signature(self.__wrapped__).bind_partial(*args, **kwargs).arguments
            kwargs.update((name, make()) for name, make in self._filled.items() if name not in given)
        return self.__wrapped__(*args, **kwargs)

    def slot(self) -> AbstractAsyncContextManager[object]:
        """Return a block that holds one of the tool's threads, if the tool runs in a thread.

        Entering the block is a checkpoint only if it has to wait.
        """
        return super().slot() if self._slots is None else self._slots.one()

    async def run(self, input: Any, bound: Mapping[str, object]) -> object:
        """Call the function with an input and the values of its Injected parameters.

        If this is cancelled, it waits for a function in a thread, unless the tool has `abandon`.

        This is a checkpoint only if the function is one.
        """
        async with self.slot():
            return await self._run(input, {name: bound[name] for name in self.dependencies})

    async def run_call(self, call: ToolCall[Any], input: Any, bound: Mapping[str, object]) -> object:
        """Call the function as `run` does. Injected parameters of the type `ToolCall` get the call.

        This is a checkpoint only if the function is one.
        """
        injected = {name: bound[name] for name in self.dependencies}
        return await self._run(input, injected | dict.fromkeys(self._calls, call))

    async def _run(self, input: Any, injected: Mapping[str, object]) -> object:
        keywords = {name: getattr(input, name) for name in self._names} | dict(injected)
        call = functools.partial(cast("Callable[..., Any]", self.__wrapped__), **keywords)
        if self._thread:
            # The result is in a list, because a wrapper may return a coroutine, and trio refuses a coroutine
            # as the result of a thread.
            [output] = await anyio.to_thread.run_sync(
                lambda: [call()], abandon_on_cancel=self._abandon, limiter=anyio.CapacityLimiter(1)
            )
        else:
            output = call()
        return await output if inspect.isawaitable(output) else output

    @property
    def left_running(self) -> bool:
        """True if a cancelled run continues in its thread."""
        return self._abandon


@typing.overload
def tool(fn: Callable[P, O], /) -> FunctionTool[P, O]: ...
@typing.overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    thread: bool = False,
    abandon: bool = False,
    threads: int = THREADS,
    strict: bool | None = None,
    result_limit: int | None = RESULT_LIMIT,
) -> Decorator: ...
def tool(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    thread: bool = False,
    abandon: bool = False,
    threads: int = THREADS,
    strict: bool | None = None,
    result_limit: int | None = RESULT_LIMIT,
) -> Any:
    """Make a function a tool. Its signature becomes the schema.

    The function's docstring (Google, numpy or Sphinx style) describes the tool and its parameters for the
    model. A parameter may have any type that `structured_turn` accepts. A parameter with the annotation
    `Annotated[Db, lutum.Injected]` is left out of the schema, and `tools.bind(db=db)` sets its value.

    Args:
      name: the tool's name for the model; default: the function's name.
      description: the tool's description for the model; default: the docstring before its first section.
      thread: run a sync function in a worker thread. Without it a sync function runs in the caller's task.
      abandon: after a timeout or a cancellation, do not wait for the thread. The function continues to run,
        and its result is dropped.
      threads: the number of threads that the tool may use at once. Other tools do not use these threads. The
        wait for a thread does not count for a call's timeout.
      strict: whether the schema has the form that a provider can enforce. Default: True, except for types
        that a strict schema cannot express, such as `dict[str, str]`, `Any` or a tuple.
      result_limit: the maximum bytes of text in one result. Longer text is cut. None means no limit.

    Raises:
      BadValue: a parameter has no annotation, or one that a schema (with `strict=True`, a strict schema)
        cannot express. The message names the tool, the parameter and the path.
    """
    names = sys._getframe(1).f_locals  # the caller's local names, which annotations may refer to

    def decorate(fn: Any) -> Any:
        return FunctionTool[Any, Any](
            fn,
            name=name,
            description=description,
            thread=thread,
            abandon=abandon,
            local_names=names,
            strict=strict,
            result_limit=result_limit,
            threads=threads,
        )

    return decorate if fn is None else decorate(fn)


class Decorator(typing.Protocol):
    """The decorator that `tool(...)` with options returns."""

    def __call__(self, fn: Callable[P, O], /) -> FunctionTool[P, O]:
        """Make a function a tool."""
        ...


def _fields(
    fn: Any, tool: str, texts: dict[str, str], local_names: Mapping[str, object]
) -> tuple[list[tuple[str, Any, Any]], frozenset[str], frozenset[str], dict[str, Callable[[], object]]]:
    """Read the parameters of a function.

    Return the Struct's fields, the names of the parameters that `bind` sets, and the names of the parameters
    that get their call. The fourth value has a function for each parameter whose default is pydantic's
    `Field(...)`; the function makes the default.
    """
    inner = _unwrapped(fn)
    target = inner if inspect.isroutine(inner) else type(inner).__call__
    try:
        hints = _hints(target, dict(local_names))
    except (NameError, AttributeError, TypeError, SyntaxError) as exc:
        told = f"an annotation cannot be resolved: {exc}; its names must be defined at run time, too"
        raise BadValue(f"tool {tool!r}", told) from None
    fields = list[tuple[str, Any, Any]]()
    injected, calls, filled = set[str](), set[str](), dict[str, Callable[[], object]]()
    given = _given_keywords(fn)
    for parameter in inspect.signature(fn).parameters.values():
        name, default = parameter.name, parameter.default
        if name in given:
            continue  # `functools.partial` sets it, and the model must not change it
        where = f"tool {tool!r}: parameter {name!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise BadValue(where, f"is {parameter.kind.description}; a model gives arguments by name")
        if name not in hints:
            told = "decorate the bound method: lutum.tool(obj.method)" if name == "self" else "give its type"
            raise BadValue(where, f"has no annotation; {told}")
        if _is_injected(hints[name]):
            (calls if _is_call(hints[name]) else injected).add(name)
            continue
        if _holds_injected(hints[name]):
            raise BadValue(
                where, "has Injected inside its type; write Annotated[<its whole type>, lutum.Injected]"
            )
        if name.startswith("__"):
            raise BadValue(where, "begins with __, which is Python's; give it another name")
        hint = hints[name]
        if is_field(default):
            hint = Annotated[hint, default]
            facts = facts_of(where, [default])
            default = inspect.Parameter.empty if facts.default is NODEFAULT else facts.default
            made = (
                _default(default)
                if facts.default_factory is NODEFAULT
                else msgspec.field(default_factory=facts.default_factory)
            )
            if made is not NODEFAULT:
                filled[name] = functools.partial(_made, facts.default, facts.default_factory)
        else:
            made = _default(default)
        fields.append((name, _annotated(hint, texts.get(name)), made))
    return fields, frozenset(injected), frozenset(calls), filled


def _made(default: Any, factory: Any) -> object:
    return copy.deepcopy(default) if factory is NODEFAULT else factory()


def _given_keywords(fn: Any) -> frozenset[str]:
    """Return the names of the parameters that `functools.partial` sets by name."""
    found = set[str]()
    while isinstance(fn, functools.partial):
        found |= fn.keywords.keys()
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of what is Any
    return frozenset(found)


def _is_injected(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        one is Injected or isinstance(one, Injected) for one in get_args(hint)[1:]
    )


def _is_call(hint: Any) -> bool:
    """Return whether the type of an injected parameter is `ToolCall`, with or without an input type."""
    type = get_args(hint)[0]
    return type is ToolCall or get_origin(type) is ToolCall


def _holds_injected(hint: Any) -> bool:
    """Return whether `Injected` is where it has no effect. The model would see such a parameter."""
    return hint is Injected or _is_injected(hint) or any(map(_holds_injected, get_args(hint)))


def _annotated(hint: Any, text: str | None) -> Any:
    """Return the annotation with the description from the docstring, unless it has its own description."""
    metas = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    if text is None or describes(metas):
        return hint
    return Annotated[hint, msgspec.Meta(description=text)]


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return NODEFAULT
    try:
        other = copy.deepcopy(default)
    except Exception:  # a default that cannot be copied is shared by all calls, as in any Python function
        return default
    if other is default:
        return default
    return msgspec.field(default_factory=functools.partial(copy.deepcopy, default))


def _check_callable(fn: Any, inner: Any, tool: str) -> None:
    """Raise BadValue for a class, an unbound class method, a generator, or an object that is not callable."""
    if isinstance(inner, type):
        raise BadValue(f"tool {tool!r}", "is a class; decorate it with @lutum.tool_input")
    if isinstance(fn, classmethod):
        raise BadValue(f"tool {tool!r}", "is a class method; decorate it bound: lutum.tool(Cls.method)")
    if not callable(fn):
        raise BadValue("tool", f"{fn!r} is not a function")
    if _is_a(inspect.isgeneratorfunction, inner) or _is_a(inspect.isasyncgenfunction, inner):
        raise BadValue(f"tool {tool!r}", "is a generator; a tool returns one result")


def _is_a(kind: Callable[[Any], bool], fn: Any) -> bool:
    return kind(fn) or kind(getattr(cast("object", type(fn)), "__call__", None))  # noqa: B004  # callable() gives no method


def _hints(target: Any, local_names: dict[str, object]) -> dict[str, Any]:
    """Return the annotations of the parameters.

    The return annotation is left out, because its names may exist for type checkers only.
    """
    parameters = types.FunctionType((lambda: None).__code__, getattr(target, "__globals__", {}))
    annotations: dict[str, Any] = getattr(target, "__annotations__", {})
    parameters.__annotations__ = {name: one for name, one in annotations.items() if name != "return"}
    own = {one.__name__: one for one in getattr(target, "__type_params__", ())}  # since 3.12
    return typing.get_type_hints(parameters, localns=local_names | own, include_extras=True)


def _without_partial(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of what is Any
    return fn


def _unwrapped(fn: Any) -> Any:
    return inspect.unwrap(_without_partial(fn))
