"""Tools that are functions: the signature becomes a frozen Struct, the docstring the descriptions."""

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
    """`db: Annotated[Db, lutum.Injected]`: the model does not see it, `tools.bind(db=...)` fills it.

    `call: Annotated[lutum.ToolCall, lutum.Injected]` is filled with the call itself, so that the tool can
    give `call.key` on as an idempotency key.
    """


@final
class FunctionTool(TypedTool[Arguments[P]], Generic[P, O]):
    """A function that a model may call; made by `tool`. Called, it is the function.

    Attributes:
      Input: the Struct of its parameters, for `match`: `case weather.Input(city=city)`. To a type checker
        the inputs of all functions are one class, so a match it calls complete may lack a function;
        inputs that are your own types (`tool_input`) are distinct.
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
            raise BadValue(f"tool {name!r}: thread", "an async function runs in no thread; leave thread= out")
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
        """A free thread of the tool's own, where it runs in one. A checkpoint only if it has to wait."""
        return super().slot() if self._slots is None else self._slots.one()

    async def run(self, input: Any, bound: Mapping[str, object]) -> object:
        """Call the function with an input and what its Injected parameters are bound to.

        Cancelled, a function in a thread is waited for, unless the tool abandons it.

        A checkpoint only if the function is.
        """
        async with self.slot():
            return await self._run(input, {name: bound[name] for name in self.dependencies})

    async def run_call(self, call: ToolCall[Any], input: Any, bound: Mapping[str, object]) -> object:
        """As `run`, with the call for the parameters that ask for it.

        A checkpoint only if the function is.
        """
        injected = {name: bound[name] for name in self.dependencies}
        return await self._run(input, injected | dict.fromkeys(self._calls, call))

    async def _run(self, input: Any, injected: Mapping[str, object]) -> object:
        keywords = {name: getattr(input, name) for name in self._names} | dict(injected)
        call = functools.partial(cast("Callable[..., Any]", self.__wrapped__), **keywords)
        if self._thread:
            # In a list: trio takes no coroutine from a thread, and a wrapper may give one.
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
    """Make a function a tool: its signature is the schema, and its docstring (Google, numpy or Sphinx style)
    describes the tool and its parameters for the model.

    Parameters are annotated with the types that `structured_turn` takes. Parameters annotated
    `Annotated[Db, lutum.Injected]` are left out of the schema and filled by `tools.bind(db=db)`.

    Args:
      name: the tool's name for the model; default: the function's name.
      description: the tool's description for the model; default: the docstring before its first section.
      thread: run a sync function in a worker thread. Without it a sync function runs where it is called.
      abandon: on timeout or cancellation leave that thread behind and drop its result, instead of waiting.
      threads: how many threads the tool may use at once. They are its own, and the wait for one is not part
        of a call's time.
      strict: whether the schema has the form that a provider can enforce. Default: True, except for types
        that a strict schema cannot express, such as `dict[str, str]`, `Any` or a tuple.
      result_limit: bytes of text of one result that are sent; None means no limit.

    Raises:
      BadValue: a parameter has no annotation, or one that a schema (with `strict=True`, a strict schema)
        cannot express; the message names tool, parameter and path.
    """
    names = sys._getframe(1).f_locals  # where annotations of a function made in a function are looked up

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
    """What `tool(...)` with options gives."""

    def __call__(self, fn: Callable[P, O], /) -> FunctionTool[P, O]:
        """The tool of a function."""
        ...


def _fields(
    fn: Any, tool: str, texts: dict[str, str], local_names: Mapping[str, object]
) -> tuple[list[tuple[str, Any, Any]], frozenset[str], frozenset[str], dict[str, Callable[[], object]]]:
    """The Struct's fields, the names of the parameters to bind, of those that are given their call, and what
    makes the default of those with pydantic's `Field(...)` as their default."""
    inner = _unwrapped(fn)
    target = inner if inspect.isroutine(inner) else type(inner).__call__
    try:
        hints = _hints(target, dict(local_names))
    except (NameError, AttributeError, TypeError, SyntaxError) as exc:
        told = f"an annotation cannot be resolved: {exc}; it has to be there at run time, too"
        raise BadValue(f"tool {tool!r}", told) from None
    fields = list[tuple[str, Any, Any]]()
    injected, calls, filled = set[str](), set[str](), dict[str, Callable[[], object]]()
    given = _given_keywords(fn)
    for parameter in inspect.signature(fn).parameters.values():
        name, default = parameter.name, parameter.default
        if name in given:
            continue  # `functools.partial` has it, and the model is not to change it
        where = f"tool {tool!r}: parameter {name!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise BadValue(where, f"is {parameter.kind.description}; a model gives arguments by name")
        if name not in hints:
            told = "; decorate the bound method: lutum.tool(obj.method)" if name == "self" else ""
            raise BadValue(where, f"has no annotation{told}")
        if _is_injected(hints[name]):
            (calls if _is_call(hints[name]) else injected).add(name)
            continue
        if _holds_injected(hints[name]):
            raise BadValue(where, "write Annotated[<its whole type>, lutum.Injected]")
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
    """The parameters that `functools.partial` has bound by name."""
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
    """Return whether the type of an injected parameter is `ToolCall`, of any input."""
    type = get_args(hint)[0]
    return type is ToolCall or get_origin(type) is ToolCall


def _holds_injected(hint: Any) -> bool:
    """Return whether `Injected` is at a place without effect, where the model would see the parameter."""
    return hint is Injected or _is_injected(hint) or any(map(_holds_injected, get_args(hint)))


def _annotated(hint: Any, text: str | None) -> Any:
    """The annotation with the docstring's words, unless it has words of its own."""
    metas = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    if text is None or describes(metas):
        return hint
    return Annotated[hint, msgspec.Meta(description=text)]


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return NODEFAULT
    try:
        other = copy.deepcopy(default)
    except Exception:  # what cannot be copied is shared, as with any function
        return default
    if other is default:
        return default
    return msgspec.field(default_factory=functools.partial(copy.deepcopy, default))


def _check_callable(fn: Any, inner: Any, tool: str) -> None:
    """Raises BadValue for what has no signature to be a tool by, or gives no one result."""
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
    """The annotations of the parameters; what a function returns may be for type checkers only."""
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
