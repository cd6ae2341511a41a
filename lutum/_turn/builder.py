"""Builders: immutable descriptions of a request.

Running a builder does not change it, so one builder may run many times, also concurrently.

A checkpoint, in the docstrings of lutum, is a point where a call may suspend and where it can be cancelled.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Never, Self, cast, final

import msgspec
from typing_extensions import TypeVar

from lutum._tools.round import Finished, NeedsTools
from lutum._tools.tool import Tool
from lutum._tools.toolset import Selector, Toolset
from lutum._turn.gate import PrefixGate
from lutum._turn.outcome import Finish, structured_result, text_result, with_tools
from lutum._turn.plan import TurnSpec, join_label, structured
from lutum._turn.prepare import TurnContext
from lutum._turn.preview import Preview
from lutum._turn.reducer import Reducer
from lutum._turn.stream import Stream
from lutum._values.check import describe
from lutum._values.errors import BadValue, Stopped, UsageError
from lutum._values.events import Completed, Event
from lutum._values.frames import shortened
from lutum._values.results import Estimate, PartialResult, StructuredResult, TextResult, Usage
from lutum._values.settings import Effort, RequestBudget, RetryPolicy, Settings, Timeouts
from lutum._values.wrong_calls import BUILDER, Pending, no_such_name

R = TypeVar("R", default=TextResult, covariant=True)
I = TypeVar("I")
T = TypeVar("T")
S = TypeVar("S", default=StructuredResult[T], covariant=True)


class Stop(enum.Enum):
    """The type of `lutum.STOP`."""

    STOP = "stop"


STOP = Stop.STOP
"""A handler of `collect_with` returns this value to end the turn."""


@final
@dataclass(frozen=True, slots=True)
class View:
    """The second argument of a handler of `collect_with`: the turn's state after the event.

    `remaining` is the amount that is left now in the budget of the `Lutum`. `ext` contains the turn's
    provider options.
    """

    partial: PartialResult
    usage: Usage
    remaining: Usage
    ext: tuple[object, ...]


Handler = Callable[[Event, View], Awaitable[Stop | None]]


class Builder(Generic[R]):
    """A request that has not started. Change its settings with the methods, then call `stream`, `collect`,
    `collect_with`, `preview` or `estimate`.

    Each method that changes a setting returns a changed copy. For an invalid value it raises BadValue, which
    names the field.
    """

    __slots__ = ("_context", "_finish", "_spec")

    def __init__(self, context: TurnContext, spec: TurnSpec, finish: Finish[R]) -> None:
        self._context = context
        self._spec = spec
        self._finish = finish

    def model(self, name: str) -> Self:
        """Use this model instead of the adapter's."""
        return self._set(model=name)

    def temperature(self, value: float) -> Self:
        """Set the sampling temperature. Each provider has its own range, and some models refuse it."""
        return self._set(temperature=value)

    def top_p(self, value: float) -> Self:
        """Sample only from the most likely tokens whose probabilities sum to this value, between 0 and 1."""
        return self._set(top_p=value)

    def max_output_tokens(self, tokens: int) -> Self:
        """Limit the tokens of the answer, including reasoning.

        The limit is sent to the provider, and this number of output tokens is reserved in the budget.
        """
        return self._set(max_output_tokens=tokens)

    def stop(self, *sequences: str) -> Self:
        """End the answer before the first occurrence of any of these texts."""
        return self._set(stop=sequences)

    def seed(self, value: int) -> Self:
        """Request a repeatable answer, if the provider supports it."""
        return self._set(seed=value)

    def effort(self, level: Effort) -> Self:
        """Set how much the model reasons. The adapter sends the corresponding setting of its provider.

        If the provider has no such setting, the adapter raises an error.
        """
        return self._set(effort=level)

    def timeout(
        self,
        *which: Never,
        total: float | msgspec.UnsetType | None = msgspec.UNSET,
        first_event: float | msgspec.UnsetType | None = msgspec.UNSET,
        idle: float | msgspec.UnsetType | None = msgspec.UNSET,
        connect: float | msgspec.UnsetType | None = msgspec.UNSET,
        reserve: float | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> Self:
        """Set timeouts in seconds; see `Timeouts`. None removes a timeout. Timeouts that are not given stay
        unchanged."""
        if which:
            kinds = "first_event=, idle=, connect= or reserve="
            raise BadValue("timeout", f"needs a name: .timeout(total={which[0]!r}), or {kinds}")
        given = Timeouts(total=total, first_event=first_event, idle=idle, connect=connect, reserve=reserve)
        return self._set(timeout=given.over(self._spec.settings.timeout))

    def retry(self, policy: RetryPolicy | None) -> Self:
        """Send the request again if it fails before the answer begins. None turns retries off."""
        return self._set(retry=policy)

    def reserve(self, estimate: Estimate) -> Self:
        """Reserve this amount instead of the estimated one."""
        return self._set(estimate=estimate)

    def limit(self, budget: RequestBudget) -> Self:
        """Set a limit for this turn alone. The ledger's limits also apply."""
        return self._set(limit=budget)

    def ext(self, *options: object) -> Self:
        """Set provider options. An option replaces an earlier option of the same type."""
        merged = Settings(ext=options).over(self._spec.settings)
        return self._set(ext=merged.ext)

    def label(self, *parts: str | int) -> Self:
        """Name the turn in traces, recordings and stores. Slashes join the parts; 200 bytes at most.

        The label does not change the request. If the `Lutum` has a label too, that label is put before this
        one. A second call replaces the parts of the first call.
        """
        return self._replace(label=join_label("", parts))

    def after(self, gate: PrefixGate) -> Self:
        """Wait at a gate before reserving. Of the turns that wait at one gate, only one writes their common
        prefix to the provider's prompt cache.

        Raises:
          UsageError: the turn has a gate already.
        """
        if not isinstance(gate, PrefixGate):
            raise BadValue("after", f"takes a lutum.PrefixGate, not {type(gate).__name__}")
        if self._spec.gate is not None:
            raise UsageError("after: this turn waits at a gate already; give it one gate")
        return self._replace(gate=gate)

    def stream(self) -> Stream[R]:
        """Return a new turn as an async context manager. The request is sent when its block is entered."""
        spec = self._spec
        reducer = Reducer(spec.toolset, spec.available, spec.shape, lenient=spec.lenient)
        return Stream(lambda: self._context.start(spec), reducer, self._finish)

    def collect(self) -> Coroutine[Any, Any, R]:
        """Run the turn to its end. Cancellation closes the socket and settles the budget.

        A checkpoint.

        Raises:
          TurnError: the turn did not complete. The class of the error shows the cause.
        """
        return Pending(self._collect(), "collect")

    def collect_with(self, handler: Handler) -> Coroutine[Any, Any, R]:
        """Run the turn. Call `handler` with each event and the turn's state after that event.

        If the handler returns `lutum.STOP`, the turn ends in the same way as a stream whose block is left
        early. After `Completed`, `STOP` has no effect. An exception of the handler ends the turn and
        propagates unchanged.

        A checkpoint.

        Raises:
          Stopped: the handler returned `STOP`. The error contains the answer up to and including that event.
          TurnError: the turn did not complete. The class of the error shows the cause.
        """
        if not callable(handler):
            raise BadValue("handler", f"needs an async function, not {describe(handler)}")
        return Pending(self._collect_with(handler), "collect_with")

    async def _collect(self) -> R:
        async with self.stream() as turn:
            async for _ in turn:
                pass
        return turn.result

    async def _collect_with(self, handler: Handler) -> R:
        stopped, budget = False, self._context.budget
        ext = self._spec.settings.over(self._context.settings).ext
        async with self.stream() as turn:
            async for event in turn:
                answer = await handler(event, View(turn.partial, turn.usage, budget.remaining, ext))
                if answer is STOP and not isinstance(event, Completed):
                    stopped = True
                    break
        if stopped:
            error = Stopped("the handler stopped the turn")
            error.partial, error.usage, error.started = turn.partial, turn.usage, turn.started
            error.response = turn.partial.response
            raise error
        return turn.result

    def preview(self) -> Preview:
        """Return exactly the request that would be sent. Nothing is sent or reserved.

        If the adapter has hooks, they run only when the turn starts, and may still change the request.
        `Preview.pending_hooks` names them. To see the request with their changes, call `resolve` first.

        Raises:
          UsageError: the request is not possible; the message names the field.
        """
        return self._context.preview(self._spec)

    async def resolve(self) -> Self:
        """Run the adapter's hooks now and return the turn with their settings. Nothing is sent or reserved.

        The returned turn sends exactly the request that its `preview` shows. The hooks do not run again.
        Settings that you make after this call replace the settings of the hooks. If the adapter has no hooks,
        the returned turn has the same settings. An exception of a hook propagates unchanged.

        This is a checkpoint only if a hook is a checkpoint.
        """
        return type(self)(self._context, await self._context.resolve(self._spec), self._finish)

    async def estimate(self) -> Estimate:
        """Return the amount that the turn would reserve. The provider is queried only if the `Lutum` has
        `exact_estimate`.

        This is a checkpoint only if the provider is queried, or a hook is a checkpoint.

        Raises:
          EstimateRequired: the size of an item is unknown; the message names the item.
        """
        return await self._context.estimate(self._spec)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._spec.base!r}>"

    def _set(self, **changes: Any) -> Self:
        try:
            return self._replace(settings=msgspec.structs.replace(self._spec.settings, **changes))
        except UsageError as error:
            shortened(error)
            raise

    def _replace(self, **changes: Any) -> Self:
        spec = msgspec.structs.replace(self._spec, **changes)
        return type(self)(self._context, spec, self._finish)

    if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name

        def __getattr__(self, name: str) -> object:
            raise no_such_name(self, name, BUILDER)


class Turn(Builder[R]):
    """A builder of a turn in a conversation, which may offer tools."""

    __slots__ = ()

    def available(
        self,
        *,
        only: Sequence[Selector] | None = None,
        plus: Sequence[Selector] | None = None,
        all: bool = False,
    ) -> Self:
        """Set which tools the model may call. A later call replaces an earlier one.

        With `only`, the model may call exactly the named tools. With `plus`, it may call the default tools
        and also the named tools. A named tool can be one that is `off`. With `all=True`, the model may call
        all tools. To name a tool, pass the tool itself, its input type, its name, a nested toolset, or the
        name that a model chose in a structured turn of the type `toolset.selector`.
        """
        toolset = self._spec.toolset
        if toolset is None:
            raise BadValue("available", "this turn has no tools")
        if (only is not None) + (plus is not None) + all != 1:
            raise BadValue("available", "takes one of only=, plus= and all=True")
        if all:
            return self._replace(only=toolset.names)
        usual = toolset.default_names if only is None else ()
        named = toolset.select("available", only or plus or ())
        return self._replace(only=tuple(dict.fromkeys((*usual, *named))))

    def require(self, tool: Selector | None = None) -> Self:
        """Force the model to call this tool, or any tool if none is given."""
        if self._spec.toolset is None:
            raise BadValue("require", "this turn has no tools")
        if tool is None:
            return self._replace(choice="any", tool=None)
        return self._replace(choice="tool", tool=self._selected("require", tool))

    def describe(self, tool: Selector, text: str) -> Self:
        """Replace the description of a tool in this turn. A later text replaces an earlier one."""
        name = self._selected("describe", tool)
        kept = tuple(pair for pair in self._spec.descriptions if pair[0] != name)
        return self._replace(descriptions=(*kept, (name, text)))

    def _with_tools(self, toolset: Toolset[Any]) -> TurnSpec:
        if self._spec.toolset is not None:
            raise UsageError("tools: this turn has tools; put all of them into one Toolset")
        if not isinstance(toolset, Toolset):
            raise BadValue("tools", _as_toolset(toolset))
        toolset.check_bound()
        return msgspec.structs.replace(self._spec, toolset=toolset)

    def _selected(self, field: str, tool: Selector) -> str:
        if self._spec.toolset is None:
            raise BadValue(field, "this turn has no tools")
        names = self._spec.toolset.select(field, [tool])
        if len(names) != 1:
            raise BadValue(field, f"takes one tool, not {len(names)}")
        return names[0]


@final
class TextTurn(Turn[R]):
    """A turn whose outcome is text; made by `text_turn()`."""

    __slots__ = ()

    def tools(self, toolset: Toolset[I]) -> TextTurn[Finished[R] | NeedsTools[I]]:
        """Offer tools to the model.

        The outcome is `NeedsTools` if the answer contains a tool call, even one that cannot be run. Otherwise
        it is `Finished`.

        Raises:
          UsageError: the turn has tools already.
        """
        return TextTurn(self._context, self._with_tools(toolset), with_tools(self._finish, toolset))


@final
class StructuredTurn(Turn[S], Generic[T, S]):
    """A turn whose outcome is a value of a type; made by `structured_turn(T)`."""

    __slots__ = ()

    def tools(self, toolset: Toolset[I]) -> StructuredTurn[T, Finished[S] | NeedsTools[I]]:
        """Offer tools to the model.

        The outcome is `NeedsTools` if the answer contains a tool call, even one that cannot be run. Otherwise
        it is `Finished`.

        Raises:
          UsageError: the turn has tools already.
        """
        return StructuredTurn(self._context, self._with_tools(toolset), with_tools(self._finish, toolset))


def _as_toolset(given: object) -> str:
    what = describe(given)
    members = list(cast("Sequence[object]", given)) if isinstance(given, list | tuple) else [given]
    names = [str(getattr(one, "name", None) or getattr(one, "__name__", "f")) for one in members]
    plain = [one for one in members if callable(one) and not isinstance(one, Tool | type)]
    decorate = "; mark each function with @lutum.tool" if plain else ""
    return (
        f"needs a lutum.Toolset, not {what}: write"
        f" .tools(lutum.Toolset({', '.join(names)})), which gives the outcome's calls their type{decorate}"
    )


def text_turn(context: TurnContext, spec: TurnSpec) -> TextTurn:
    """Return the builder of a text turn."""
    return TextTurn(context, spec, text_result)


def structured_turn(
    context: TurnContext, type: type[T], spec: TurnSpec, *, lenient: bool = False
) -> StructuredTurn[T]:
    """Return the builder of a structured turn.

    Raises:
      BadValue: no schema can express the type. The error's field is the path to the part that cannot be
        expressed.
    """
    shape, spec = structured(type, spec, "structured_turn", lenient=lenient)
    return StructuredTurn(context, spec, structured_result(shape))
