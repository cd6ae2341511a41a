"""Builders: frozen values that say what to ask. Running one changes nothing, so one value may run
many times, also at once."""

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
"""Returned by a handler of `collect_with`: end the turn here."""


@final
@dataclass(frozen=True, slots=True)
class View:
    """The second argument of a handler of `collect_with`: the state after the event was applied.

    `remaining` is what the ledger has left now; `ext` are the turn's provider options.
    """

    partial: PartialResult
    usage: Usage
    remaining: Usage
    ext: tuple[object, ...]


Handler = Callable[[Event, View], Awaitable[Stop | None]]


class Builder(Generic[R]):
    """Something to be run: set it up with its methods, end with `stream`, `collect`, `collect_with`,
    `preview` or `estimate`.

    Each method returns a changed copy and raises BadValue, naming the field, for what cannot be right.
    """

    __slots__ = ("_context", "_finish", "_spec")

    def __init__(self, context: TurnContext, spec: TurnSpec, finish: Finish[R]) -> None:
        self._context = context
        self._spec = spec
        self._finish = finish

    def model(self, name: str) -> Self:
        """Ask another model than the adapter's."""
        return self._set(model=name)

    def temperature(self, value: float) -> Self:
        """Set the sampling temperature. Each provider has its own range, and some models refuse it."""
        return self._set(temperature=value)

    def top_p(self, value: float) -> Self:
        """Choose among the likeliest words that make up this share, between 0 and 1."""
        return self._set(top_p=value)

    def max_output_tokens(self, tokens: int) -> Self:
        """Bound the answer, reasoning included, in tokens. The bound is sent, and it is reserved."""
        return self._set(max_output_tokens=tokens)

    def stop(self, *sequences: str) -> Self:
        """End the answer before any of these texts."""
        return self._set(stop=sequences)

    def seed(self, value: int) -> Self:
        """Ask for a repeatable answer, where the provider can."""
        return self._set(seed=value)

    def effort(self, level: Effort) -> Self:
        """Let the model reason this much. Each adapter sends its provider's own setting, or refuses."""
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
        """Seconds, see `Timeouts`; None means none, what is not given stays."""
        if which:
            kinds = "total=, first_event=, idle=, connect= or reserve="
            raise BadValue("timeout", f"needs to know which: .timeout(total={which[0]!r}); there are {kinds}")
        given = Timeouts(total=total, first_event=first_event, idle=idle, connect=connect, reserve=reserve)
        return self._set(timeout=given.over(self._spec.settings.timeout))

    def retry(self, policy: RetryPolicy | None) -> Self:
        """Send the request again when it fails before the answer begins; None means never."""
        return self._set(retry=policy)

    def reserve(self, estimate: Estimate) -> Self:
        """Reserve this much, instead of what is estimated."""
        return self._set(estimate=estimate)

    def limit(self, budget: RequestBudget) -> Self:
        """A limit for this turn alone, beside the ledger's."""
        return self._set(limit=budget)

    def ext(self, *options: object) -> Self:
        """Provider options, one of a type; a later one replaces an earlier one of its type."""
        merged = Settings(ext=options).over(self._spec.settings)
        return self._set(ext=merged.ext)

    def label(self, *parts: str | int) -> Self:
        """Name the turn in traces, recordings and stores: parts with slashes between them, 200 bytes at most.

        The request does not depend on it. It is appended to the label of the `Lutum`; a second call
        replaces the first.
        """
        return self._replace(label=join_label("", parts))

    def after(self, gate: PrefixGate) -> Self:
        """Wait at a gate before reserving, so that turns with one prefix write the prompt cache once.

        Raises:
          UsageError: the turn waits at a gate already.
        """
        if not isinstance(gate, PrefixGate):
            raise BadValue("after", f"takes a lutum.PrefixGate, not {type(gate).__name__}")
        if self._spec.gate is not None:
            raise UsageError("after: this turn waits at a gate already; give it one gate")
        return self._replace(gate=gate)

    def stream(self) -> Stream[R]:
        """The turn as an async context manager; each call is a new turn, and sends nothing yet."""
        spec = self._spec
        reducer = Reducer(spec.toolset, spec.available, spec.shape, lenient=spec.lenient)
        return Stream(lambda: self._context.start(spec), reducer, self._finish)

    def collect(self) -> Coroutine[Any, Any, R]:
        """Run the turn to its end. Cancelled, the socket is closed and the budget settled.

        A checkpoint.

        Raises:
          TurnError: it did not complete; the class shows whose fault it is.
        """
        return Pending(self._collect(), "collect")

    def collect_with(self, handler: Handler) -> Coroutine[Any, Any, R]:
        """Run the turn, giving each event to `handler` after it was applied.

        Returning `lutum.STOP` ends the turn as leaving its block does; on `Completed` it changes
        nothing. An exception of the handler ends the turn and propagates unchanged.

        A checkpoint.

        Raises:
          Stopped: the handler returned `STOP`; it carries the received part, that event included.
          TurnError: the turn did not complete; the class shows whose fault it is.
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
        """Return the request as it would be sent, byte for byte. Sends and reserves nothing.

        Hooks of the adapter, if it has any, run when the turn starts: then `pending_hooks` names them, and
        `resolve` runs them now.

        Raises:
          UsageError: the request is not possible; the message names the field.
        """
        return self._context.preview(self._spec)

    async def resolve(self) -> Self:
        """Run the adapter's hooks and return the turn with their settings. It sends what it previews, the
        hooks do not run again, and your later settings win. Without such hooks, return the same turn.

        Sends and reserves nothing itself. An exception of a hook propagates unchanged.

        A checkpoint only if a hook is one.
        """
        return type(self)(self._context, await self._context.resolve(self._spec), self._finish)

    async def estimate(self) -> Estimate:
        """Return the amount that the turn would reserve. It queries the provider only if the Lutum has
        `exact_estimate`.

        A checkpoint only if it queries the provider, or a hook is one.

        Raises:
          EstimateRequired: nothing bounds it; the message names the item.
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

    if not TYPE_CHECKING:  # a checker would take any name for one that exists

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
        """Say which tools the model may call: exactly some, the usual ones and some that are `off`, or all.

        What is named is a tool, its input type, its name, a nested toolset, or what a model answered with
        as `toolset.selector`. A later call replaces an earlier one.
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
        """Have the model call some tool, or that one."""
        if self._spec.toolset is None:
            raise BadValue("require", "this turn has no tools")
        if tool is None:
            return self._replace(choice="any", tool=None)
        return self._replace(choice="tool", tool=self._selected("require", tool))

    def describe(self, tool: Selector, text: str) -> Self:
        """Describe a tool otherwise in this turn; the last text for a tool counts."""
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
        """Offer tools. The outcome is `NeedsTools` exactly when the turn holds a call or an issue.

        Raises:
          UsageError: the turn has tools already.
        """
        return TextTurn(self._context, self._with_tools(toolset), with_tools(self._finish, toolset))


@final
class StructuredTurn(Turn[S], Generic[T, S]):
    """A turn whose outcome is a value of a type; made by `structured_turn(T)`."""

    __slots__ = ()

    def tools(self, toolset: Toolset[I]) -> StructuredTurn[T, Finished[S] | NeedsTools[I]]:
        """Offer tools. The outcome is `NeedsTools` exactly when the turn holds a call or an issue.

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
        f" .tools(lutum.Toolset({', '.join(names)})), whose type is that of the outcome's calls{decorate}"
    )


def text_turn(context: TurnContext, spec: TurnSpec) -> TextTurn:
    """Return the builder of a text turn."""
    return TextTurn(context, spec, text_result)


def structured_turn(
    context: TurnContext, type: type[T], spec: TurnSpec, *, lenient: bool = False
) -> StructuredTurn[T]:
    """Return the builder of a structured turn.

    Raises:
      BadValue: no schema can express the type; the field is the path.
    """
    shape, spec = structured(type, spec, "structured_turn", lenient=lenient)
    return StructuredTurn(context, spec, structured_result(shape))
