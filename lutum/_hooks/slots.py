"""Slots, as attributes of a set's class, and the hooks for them: functions, methods and stateful objects."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, final, overload

from lutum._hooks.dispatch import HookPlan
from lutum._hooks.signature import check_hook, is_threaded
from lutum._values.errors import BadValue, HookBusy

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
L = TypeVar("L")
R_co = TypeVar("R_co", covariant=True)


class SlotOwner(Protocol):
    """The part of a hook set that its slots use."""

    def _add(self, hook: Hook[Any, ..., Any]) -> None: ...


class SlotDefinition(Protocol):
    """The definition of a slot: its name, its signature without `self`, and how its hooks run."""

    name: str
    signature: inspect.Signature
    plan: HookPlan


S = TypeVar("S", bound=SlotOwner)
S_contra = TypeVar("S_contra", bound=SlotOwner, contravariant=True)


class Stateful:
    """Base class of hook objects with state: their hook methods never overlap.

    A call can arrive while another call of the same object runs, from another task or from inside the running
    call. Such a call does not wait, but gets the result of `on_busy`. Slots without a hook of this object can
    be called meanwhile.
    """

    _hook_busy = False

    def on_busy(self, error: HookBusy) -> Any:
        """Return the answer for a call that arrives while the object is busy. The default raises `error`."""
        raise error


class Registration(Generic[S_contra]):
    """A member of a hook set: a `Hook`, or a nested set with its place."""

    def _put_into(self, hooks: S_contra) -> None:
        raise NotImplementedError  # each subclass defines it


@final
class Hook(Registration[S_contra], Generic[S_contra, Q, R_co]):
    """A function that is marked as a hook for one slot. Calling this object calls the function."""

    def __init__(
        self, slot: Slot[Any, Any, Any], fn: Callable[Q, Awaitable[R_co]], *, threaded: bool
    ) -> None:
        self.slot = slot
        self._fn = fn
        self._threaded = threaded
        self.__doc__ = fn.__doc__

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> Awaitable[R_co]:
        return self._fn(*args, **kwargs)

    def ask(self, last: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Call the function for a dispatch. If it takes `last`, this is the first argument."""
        fn = cast("Callable[..., Awaitable[Any]]", self._fn)
        answer: object = fn(last, *args, **kwargs) if self._threaded else fn(*args, **kwargs)
        if not inspect.isawaitable(answer):
            raise BadValue(
                str(self.slot),
                f"{name_of(fn)} returned {type(answer).__name__}, which cannot be awaited; write `async def`",
            )
        return answer

    def _put_into(self, hooks: S_contra) -> None:
        hooks._add(self)

    def __repr__(self) -> str:
        return f"<hook {name_of(self._fn)} for {self.slot}>"


@final
class HookMethod(Generic[S, Q, R]):
    """A method of a class that is marked as a hook for one slot. On an instance it is a `Hook`."""

    def __init__(self, slot: Slot[S, Any, Any], fn: Callable[..., Awaitable[R]], *, threaded: bool) -> None:
        self.slot = slot
        self._fn = fn
        self._threaded = threaded
        self.__doc__ = fn.__doc__

    @overload
    def __get__(self, obj: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: Any) -> Hook[S, Q, R]: ...
    def __get__(self, obj: object, owner: Any) -> Self | Hook[S, Q, R]:
        if obj is None:
            return self
        bound = self._fn.__get__(obj, owner)
        if isinstance(obj, Stateful):
            bound = _guarded(obj, bound, str(self.slot))
        return Hook(self.slot, bound, threaded=self._threaded)


class Slot(Generic[S, P, R]):
    """A slot on a set's class, such as `AppHooks.pick_model`. It decorates functions as hooks for the slot.

    The decorator checks that the function has the slot's parameters, with the same names.
    """

    def __init__(self, definition: SlotDefinition, owner: type[S]) -> None:
        self.definition = definition
        self.owner = owner

    @property
    def name(self) -> str:
        """Its name in the class."""
        return self.definition.name

    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Hook[S, P, R]:
        """Mark a function as a hook for this slot.

        Raises:
          BadValue: the function cannot be called with the slot's arguments; the message contains both
            signatures.
        """
        return Hook(self, fn, threaded=self._checked(fn))

    def method(self, fn: Callable[Concatenate[Any, P], Awaitable[R]], /) -> HookMethod[S, P, R]:
        """Mark a method of your class as a hook for this slot. `with_policy(obj)` adds all such methods.

        Raises:
          BadValue: the method cannot be called with the slot's arguments; the message contains both
            signatures.
        """
        return HookMethod(self, fn, threaded=self._checked(fn, method=True))

    def _checked(self, fn: Callable[..., Any], *, method: bool = False) -> bool:
        check_hook(
            str(self), name_of(fn), self.definition.signature, fn, method, self.definition.plan.threads
        )
        return is_threaded(fn, method=method)

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def __repr__(self) -> str:
        return f"<{self.definition.plan.kind} slot {self}>"


class ThreadedSlot(Slot[S, P, R], Generic[S, P, R, L]):
    """A slot whose hooks may have a first parameter called `last`, which gets the previous answer."""

    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Hook[S, P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[L, P], Awaitable[R]], /) -> Hook[S, Concatenate[L, P], R]: ...
    def __call__(self, fn: Callable[..., Awaitable[R]], /) -> Any:
        """Mark a function as a hook for this slot; see `Slot`."""
        return super().__call__(fn)

    @overload
    def method(self, fn: Callable[Concatenate[Any, P], Awaitable[R]], /) -> HookMethod[S, P, R]: ...
    @overload
    def method(
        self, fn: Callable[Concatenate[Any, L, P], Awaitable[R]], /
    ) -> HookMethod[S, Concatenate[L, P], R]: ...
    def method(self, fn: Callable[..., Awaitable[R]], /) -> Any:
        """Mark a method of your class as a hook for this slot; see `Slot`."""
        return super().method(fn)


def name_of(fn: object) -> str:
    """Return the name of a function for messages."""
    return str(getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None) or repr(fn))


def _guarded(obj: Stateful, fn: Callable[Q, Awaitable[R]], slot: str) -> Callable[Q, Awaitable[R]]:
    """Return a hook method that never overlaps with another hook method of its object."""

    async def guarded(*args: Q.args, **kwargs: Q.kwargs) -> R:
        if obj._hook_busy:
            answer: R = obj.on_busy(HookBusy(slot, type(obj).__name__))
            return answer
        object.__setattr__(obj, "_hook_busy", True)  # works for a frozen dataclass, too
        try:
            return await fn(*args, **kwargs)
        finally:
            object.__setattr__(obj, "_hook_busy", False)

    guarded.__qualname__, guarded.__doc__ = name_of(fn), fn.__doc__
    return guarded
