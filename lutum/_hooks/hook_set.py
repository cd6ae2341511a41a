"""Hook sets: classes of named, typed, async slots, and the hooks that are registered in them.

A set is an immutable value: each change returns a new set. Tasks can therefore share it, and a change does
not affect a running dispatch. The module `slots` contains slots and hooks, `dispatch` runs the hooks of a
slot, and `define` contains the decorator of slots.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, NoReturn, ParamSpec, Self, TypeVar, cast, final, overload

from lutum._hooks.dispatch import HookPlan, dispatch
from lutum._hooks.slots import Hook, HookMethod, Registration, Slot, ThreadedSlot, name_of
from lutum._telemetry.spans import inside, span
from lutum._values.errors import BadValue, added_notes

P = ParamSpec("P")
R = TypeVar("R")
L = TypeVar("L")
O = TypeVar("O")
O_co = TypeVar("O_co", covariant=True)
S = TypeVar("S", bound="HookSet")
N = TypeVar("N", bound="HookSet")
S_contra = TypeVar("S_contra", bound="HookSet", contravariant=True)

logger = logging.getLogger("lutum")


@final
class Dispatch(Generic[P, O_co]):
    """A slot of a set, such as `hooks.pick_model`. Calling it runs the set's hooks for that slot."""

    def __init__(self, hooks: HookSet, definition: Definition[Any, Any, Any]) -> None:
        self._set = hooks
        self._definition = definition

    @property
    def hooks(self) -> tuple[Hook[Any, ..., Any], ...]:
        """The hooks of this slot, in order of registration."""
        return self._set._hooks.get(self._definition.name, ())

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O_co:
        """Run the default and the hooks, one at a time. It suspends only if one of them does.

        Cancellation reaches the running hook. An exception of a hook propagates unchanged, with a note that
        names the slot, and the other hooks do not run.
        """
        definition, hooks = self._definition, self.hooks
        name = f"{type(self._set).__name__}.{definition.name}"
        with span("hook", slot=name, hooks=len(hooks)) as opened, inside(opened):
            try:
                default = Default(definition.default, self._set)
                answer: O_co = await dispatch(definition.plan, default, hooks, args, kwargs)
            except Exception as exc:
                note = f"in hook slot {name}"
                if note not in added_notes(exc):
                    exc.add_note(note)
                raise
            return answer

    def __repr__(self) -> str:
        name = f"{type(self._set).__name__}.{self._definition.name}"
        return f"<{self._definition.plan.kind} slot {name}, {len(self.hooks)} hooks>"


@final
class Default:
    """The body of a slot's method. It runs like a hook, but never gets `last`, the previous answer in the
    same dispatch."""

    __slots__ = ("_fn", "_set")

    def __init__(self, fn: Callable[..., Awaitable[Any]], hooks: HookSet) -> None:
        self._fn = fn
        self._set = hooks

    def ask(self, last: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        return self._fn(self._set, *args, **kwargs)


class Definition(Generic[P, R, O]):
    """The descriptor that `@lutum.hook` creates. On the class it is a `Slot`, on an instance a `Dispatch`."""

    def __init__(self, default: Callable[..., Awaitable[Any]], plan: HookPlan) -> None:
        self.name: str = name_of(default).rpartition(".")[2]
        self.default = default
        self.plan = plan
        signature = inspect.signature(default)
        parameters = list(signature.parameters.values())[1:]
        self.signature: inspect.Signature = signature.replace(parameters=parameters)
        self.__doc__ = default.__doc__

    @overload
    def __get__(self, obj: None, owner: type[S]) -> Slot[S, P, R]: ...
    @overload
    def __get__(self, obj: HookSet, owner: Any) -> Dispatch[P, O]: ...
    def __get__(self, obj: HookSet | None, owner: Any) -> Slot[Any, P, R] | Dispatch[P, O]:
        if not issubclass(owner, HookSet):
            raise BadValue(
                f"{owner.__name__}.{self.name}",
                "is a slot in a class that is not a HookSet; derive the class from lutum.HookSet",
            )
        if obj is not None:
            return Dispatch(obj, self)
        return ThreadedSlot[Any, P, R, Any](self, owner) if self.plan.threads else Slot(self, owner)

    def __set__(self, obj: HookSet, value: NoReturn) -> None:
        raise AttributeError(
            f"{self.name} is a slot and cannot be set; with_hooks() returns a set with another hook"
        )


class ThreadedDefinition(Definition[P, R, O], Generic[P, R, L, O]):
    """A definition whose hooks may take `last`."""

    @overload
    def __get__(self, obj: None, owner: type[S]) -> ThreadedSlot[S, P, R, L]: ...
    @overload
    def __get__(self, obj: HookSet, owner: Any) -> Dispatch[P, O]: ...
    def __get__(self, obj: HookSet | None, owner: Any) -> Any:
        return super().__get__(obj, owner)


@final
class _Inner(Registration[S_contra]):
    """A nested set and its place in the outer set."""

    def __init__(self, place: Place[Any, Any], hooks: HookSet) -> None:
        self._place = place
        self._hooks = hooks

    def _put_into(self, hooks: S_contra) -> None:
        place = self._place
        if hooks._places.get(place.name) is not place.nested:
            raise BadValue(str(place), f"{type(hooks).__name__} has no such nested set")
        hooks._inner = {**hooks._inner, place.name: self._hooks}


@final
class Place(Generic[S, N]):
    """The place of a nested set in the class of the outer set, such as `AppHooks.search`."""

    def __init__(self, nested: Nested[N], owner: type[S]) -> None:
        self.nested = nested
        self.owner = owner

    @property
    def name(self) -> str:
        """Its name in the class."""
        return self.nested.name

    def __call__(self, hooks: N, /) -> Registration[S]:
        """Return a registration that puts a set into this place, instead of the present one.

        Raises:
          BadValue: the set is of another class.
        """
        if not isinstance(hooks, self.nested.kind):
            raise BadValue(
                str(self), f"needs an instance of {self.nested.kind.__name__}, not of {type(hooks).__name__}"
            )
        return _Inner[S](self, hooks)

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


@final
class Nested(Generic[N]):
    """The descriptor that `nested_hooks` creates: on the class a `Place`, on an instance the nested set."""

    def __init__(self, kind: type[N]) -> None:
        self.kind = kind
        self.name: str = ""
        self._empty = kind()

    def __set_name__(self, owner: Any, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, obj: None, owner: type[S]) -> Place[S, N]: ...
    @overload
    def __get__(self, obj: HookSet, owner: Any) -> N: ...
    def __get__(self, obj: HookSet | None, owner: Any) -> Place[Any, N] | N:
        if obj is None:
            return Place(self, owner)
        return cast("N", obj._inner.get(self.name, self._empty))

    def __set__(self, obj: HookSet, value: NoReturn) -> None:
        raise AttributeError(
            f"{self.name} is a nested set and cannot be set; with_hooks() returns a set with another one"
        )


def nested_hooks(kind: type[N]) -> Nested[N]:
    """Return a place for another set: write `search = lutum.nested_hooks(SearchHooks)` in the class.

    `AppHooks(AppHooks.search(SearchHooks(...)))` fills it. Until then the nested set has no hooks.

    Raises:
      BadValue: `kind` is not a subclass of `HookSet`.
    """
    if not (isinstance(kind, type) and issubclass(kind, HookSet)):
        raise BadValue("nested_hooks", f"{name_of(kind)} is not a HookSet")
    return Nested(kind)


class HookSet:
    """Base class of hook sets. Each slot is an async method with the decorator `@lutum.hook`.

    Instances are immutable values.

    Args:
      hooks: functions decorated by a slot of this class, in the order in which they run.

    Raises:
      BadValue: an argument is not a hook, or is a hook for another class.
    """

    _slots: dict[str, Definition[Any, Any, Any]] = {}  # noqa: RUF012  # each subclass assigns a new one
    _places: dict[str, Nested[Any]] = {}  # noqa: RUF012  # likewise
    _hooks: dict[str, tuple[Hook[Any, ..., Any], ...]] = {}  # noqa: RUF012  # each change assigns a new one
    _inner: dict[str, HookSet] = {}  # noqa: RUF012  # likewise

    def __init__(self, *hooks: Registration[Self]) -> None:
        self._put(hooks)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        slots: dict[str, Definition[Any, Any, Any]] = {}
        places: dict[str, Nested[Any]] = {}
        for base in reversed(cls.__mro__):
            for name, member in vars(base).items():
                where = f"{cls.__name__}.{name}"
                if name in slots or name in places:
                    raise BadValue(where, "is a slot already; to change its answer, register a hook")
                if not isinstance(member, Definition | Nested):
                    continue
                if name.startswith("_") or hasattr(HookSet, name):
                    raise BadValue(where, "is not a valid name for a slot")
                if isinstance(member, Definition):
                    if name != member.name:
                        raise BadValue(where, f"is defined by a method with another name, {member.name!r}")
                    slots[name] = member
                else:
                    places[name] = member
        cls._slots, cls._places = slots, places

    @property
    def registered(self) -> tuple[str, ...]:
        """The names of the slots that have a hook, such as `AppHooks.pick_model`."""
        return tuple(f"{type(self).__name__}.{name}" for name in self._hooks)

    def with_hooks(self, *hooks: Registration[Self]) -> Self:
        """Return a set with these hooks after the present ones.

        In a singleton slot, a new hook replaces the present one and a warning is logged.

        Raises:
          BadValue: an argument is not a hook, or is a hook for another class.
        """
        changed = copy.copy(self)
        changed._put(hooks)
        return changed

    def with_policy(self, policy: object) -> Self:
        """Return a set with all hook methods of an object added after the present hooks, in the order in
        which its class defines them.

        Methods for slots of other classes are left out.

        Raises:
          BadValue: the object has no hook method for this class, or a method overrides a hook method without
            `@slot.method`.
        """
        hooks = [
            hook for hook in _hooks_of(policy) if self._slots.get(hook.slot.name) is hook.slot.definition
        ]
        if not hooks:
            raise BadValue(type(self).__name__, f"{type(policy).__name__} has no hook method for this set")
        return self.with_hooks(*hooks)

    def _put(self, hooks: tuple[Registration[Self], ...]) -> None:
        for hook in hooks:
            if not isinstance(hook, Registration):
                raise BadValue(
                    type(self).__name__, f"{name_of(hook)} is not a hook: decorate it with one of the slots"
                )
            hook._put_into(self)

    def _add(self, hook: Hook[Any, ..., Any]) -> None:
        name, definition = hook.slot.name, hook.slot.definition
        if self._slots.get(name) is not definition:
            raise BadValue(type(self).__name__, f"{hook!r} is a hook for another set")
        before = self._hooks.get(name, ())
        if definition.plan.kind == "singleton" and before:
            logger.warning("%s is a singleton: %r replaces %r", hook.slot, hook, before[0])
            before = ()
        self._hooks = {**self._hooks, name: (*before, hook)}

    def __repr__(self) -> str:
        held = "".join(f" {name}={len(hooks)}" for name, hooks in self._hooks.items())
        return f"<{type(self).__name__}{held}>"


def _hooks_of(policy: object) -> Iterator[Hook[Any, ..., Any]]:
    seen: dict[str, HookMethod[Any, ..., Any]] = {}
    for base in reversed(type(policy).__mro__):
        for name, member in vars(base).items():
            if isinstance(member, HookMethod):
                seen[name] = member
            elif name in seen:
                slot = seen[name].slot
                raise BadValue(f"{base.__name__}.{name}", f"overrides a hook; write @{slot}.method before it")
    for method in seen.values():
        yield method.__get__(policy, type(policy))
