"""`@lutum.hook`: the definition of a slot.

The body of the method and its companions (`chain`, `aggregate`, `finalize`) determine the slot's types.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, get_args, overload

from lutum._hooks.dispatch import HookPlan, Kind
from lutum._hooks.hook_set import Definition, ThreadedDefinition
from lutum._hooks.signature import LAST
from lutum._hooks.slots import name_of
from lutum._values.errors import BadValue

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
O = TypeVar("O")
T_contra = TypeVar("T_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)


def first_success(answer: object) -> bool:
    """A function for `chain`: the first answer that is not None is accepted."""
    return answer is not None


def define(default: Callable[..., Any], plan: HookPlan) -> Definition[..., Any, Any]:
    """Return the slot of a method, with this plan.

    Raises:
      BadValue: the method cannot be a slot; the error's field is its name.
    """
    name = name_of(default)
    if not inspect.iscoroutinefunction(default):
        raise BadValue(name, "a slot must be an async method; write `async def`")
    parameters = list(inspect.signature(default).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise BadValue(name, "the first parameter of a slot must be self, the hook set")
    if any(parameter.name == LAST for parameter in parameters):
        raise BadValue(name, "a slot must not take `last`; only its hooks may take `last`")
    if plan.threads:
        return ThreadedDefinition[..., Any, Any, Any](default, plan)
    return Definition(default, plan)


class _Plain:
    def __init__(self, plan: HookPlan) -> None:
        self._plan = plan


class Singleton(_Plain):
    """The decorator of a slot with at most one hook."""

    def __call__(
        self, default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Definition[P, R, R]:
        return cast("Definition[P, R, R]", define(default, self._plan))


class Always(_Plain):
    """The decorator of a slot whose default runs first. Each hook gets the answer before it."""

    def __call__(
        self, default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> ThreadedDefinition[P, R, R, R]:
        return cast("ThreadedDefinition[P, R, R, R]", define(default, self._plan))


class Fallback(_Plain):
    """The decorator of a slot whose default runs only without hooks. Each hook gets the answer before it."""

    def __call__(
        self, default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> ThreadedDefinition[P, R, R | None, R]:
        return cast("ThreadedDefinition[P, R, R | None, R]", define(default, self._plan))


# The classes below have two overloads. If the companion accepts any object, the body alone determines the
# type of the answers. Otherwise the companion must accept the type that the body returns.


class Chained(_Plain, Generic[T_contra]):
    """The decorator of a slot whose hooks run until `chain` accepts an answer."""

    @overload
    def __call__(
        self: Chained[object], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Definition[P, R, R]: ...
    @overload
    def __call__(
        self: Chained[R], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Definition[P, R, R]: ...
    def __call__(self, default: Callable[..., Coroutine[Any, Any, Any]], /) -> Any:
        return define(default, self._plan)


class Aggregated(_Plain, Generic[T_contra, O_co]):
    """The decorator of a slot whose answers become a value of another type. Hooks get no earlier answers."""

    @overload
    def __call__(
        self: Aggregated[object, O], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Definition[P, R, O]: ...
    @overload
    def __call__(
        self: Aggregated[R, O], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Definition[P, R, O]: ...
    def __call__(self, default: Callable[..., Coroutine[Any, Any, Any]], /) -> Any:
        return define(default, self._plan)


class FinalizedAlways(_Plain, Generic[T_contra, O_co]):
    """As `Always`, but the last answer becomes a value of another type."""

    @overload
    def __call__(
        self: FinalizedAlways[object, O], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> ThreadedDefinition[P, R, R, O]: ...
    @overload
    def __call__(
        self: FinalizedAlways[R, O], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> ThreadedDefinition[P, R, R, O]: ...
    def __call__(self, default: Callable[..., Coroutine[Any, Any, Any]], /) -> Any:
        return define(default, self._plan)


class FinalizedFallback(_Plain, Generic[T_contra, O_co]):
    """As `Fallback`, but the last answer becomes a value of another type."""

    @overload
    def __call__(
        self: FinalizedFallback[object, O], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> ThreadedDefinition[P, R, R | None, O]: ...
    @overload
    def __call__(
        self: FinalizedFallback[R, O], default: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> ThreadedDefinition[P, R, R | None, O]: ...
    def __call__(self, default: Callable[..., Coroutine[Any, Any, Any]], /) -> Any:
        return define(default, self._plan)


Repeated = Literal["always", "fallback"]


@overload
def hook(kind: Literal["singleton"]) -> Singleton: ...
@overload
def hook(kind: Literal["always"]) -> Always: ...
@overload
def hook(kind: Literal["fallback"]) -> Fallback: ...
@overload
def hook(kind: Literal["always"], *, finalize: Callable[[T], O]) -> FinalizedAlways[T, O]: ...
@overload
def hook(kind: Literal["fallback"], *, finalize: Callable[[T], O]) -> FinalizedFallback[T, O]: ...
@overload
def hook(kind: Repeated, *, chain: Callable[[T], bool]) -> Chained[T]: ...
@overload
def hook(kind: Repeated, *, chain: Callable[[T], bool], finalize: Callable[[T], O]) -> Aggregated[T, O]: ...
@overload
def hook(
    kind: Repeated, *, aggregate: Callable[[list[T]], O], chain: Callable[[T], bool] | None = None
) -> Aggregated[T, O]: ...
def hook(
    kind: Kind,
    *,
    chain: Callable[[Any], bool] | None = None,
    aggregate: Callable[[list[Any]], Any] | None = None,
    finalize: Callable[[Any], Any] | None = None,
) -> _Plain:
    """Make an async method of a `HookSet` a slot. The body of the method is the slot's default.

    Args:
      kind: `always`: the default runs, then each hook in order. A hook whose first parameter is called
        `last` gets the answer before it. The last answer counts. `fallback`: as `always`, but the default
        runs only if there is no hook, so the first hook's `last` is None. `singleton`: at most one hook,
        which runs instead of the default.
      chain: called with each answer; if it returns true, the dispatch ends with that answer. Hooks then get
        no `last`, and the default of a `fallback` slot runs after the hooks. `lutum.first_success` is such a
        function.
      aggregate: makes the slot's answer from the list of all answers. Hooks then get no `last`.
      finalize: makes the slot's answer from the last answer. It cannot be combined with `aggregate`.

    Raises:
      BadValue: `kind` is unknown, the companions cannot be combined, or the method cannot be a slot.
    """
    if kind not in get_args(Kind):
        raise BadValue("hook", f"{kind!r} is not one of {', '.join(get_args(Kind))}")
    if kind == "singleton" and (chain or aggregate or finalize):
        raise BadValue("hook", "a singleton has no chain, aggregate or finalize")
    if aggregate and finalize:
        raise BadValue("hook", "aggregate and finalize exclude each other")
    plan = HookPlan(kind, chain, aggregate, finalize)
    if aggregate:
        return Aggregated[Any, Any](plan)
    if chain:
        return Aggregated[Any, Any](plan) if finalize else Chained[Any](plan)
    match kind:
        case "singleton":
            return Singleton(plan)
        case "always":
            return FinalizedAlways[Any, Any](plan) if finalize else Always(plan)
        case "fallback":
            return FinalizedFallback[Any, Any](plan) if finalize else Fallback(plan)
