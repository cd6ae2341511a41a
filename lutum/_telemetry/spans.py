"""Spans of lutum's own work. Their names are `turn`, `attempt`, `request`, `tool`, `hook` and `wait`.

A span is recorded only if `lutum.trace.capture()` has put a root into the context, or `lutum.trace.otel()`
listens to the whole process. Otherwise it takes only the time to read one context variable. A span's parent
is the current span of the task that opens it. A new task inherits the current span of the task that starts
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, final

from msgspec import Struct


class RawCapture(Struct, frozen=True, kw_only=True):
    """The raw parts of each request that a capture keeps.

    As an option of a turn (`.ext(RawCapture(...))`), it limits the parts that a capture keeps of that turn.
    The option alone keeps nothing: a capture must keep raw data too.

    Attributes:
      request: keep method, URL, headers and body, before they are sent; secrets are masked.
      frames: keep the events of each piece that was received.
      errors: keep the exception that ended a request or a turn, with the body of an error answer.
    """

    request: bool = True
    frames: bool = True
    errors: bool = True


class LiveSpan(Protocol):
    """An open span of a trace. Its methods never block."""

    @property
    def fields(self) -> Mapping[str, object]:
        """The fields recorded so far."""
        ...

    @property
    def content(self) -> bool:
        """True if a listener records prompts and answers."""
        ...

    @property
    def raw(self) -> RawCapture | None:
        """The raw parts of a request that a listener keeps; None if it keeps none."""
        ...

    def child(self, name: str, fields: dict[str, object]) -> LiveSpan | None:
        """Open a span under this one; None if the capture is over."""
        ...

    def set(self, /, **fields: object) -> None:
        """Record fields. A later value replaces an earlier one."""
        ...

    def add(self, field: str, amount: int) -> None:
        """Add an amount to a field. Listeners get the sum when the span ends."""
        ...

    def event(self, name: str, /, **fields: object) -> None:
        """Record an event in this span."""
        ...

    def keep(self, kind: str, /, **data: object) -> None:
        """Keep raw data. `kind` is `request`, `frame` or `error`."""
        ...

    def hide(self, *secrets: str) -> None:
        """Mask these strings in all later records."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """Close the span. `error` is the exception that ended it."""
        ...


CURRENT: ContextVar[LiveSpan | None] = ContextVar("lutum span", default=None)


class Outlet(Protocol):
    """The receiver of the spans of the whole process, in addition to captures. Set by `lutum.trace.otel`."""

    @property
    def root(self) -> LiveSpan:
        """The parent of spans outside of any capture."""
        ...

    def enter(self, span: LiveSpan) -> Callable[[], None] | None:
        """Make a span current for other instrumentation. Return a function that restores the earlier one."""
        ...

    def headers(self, span: LiveSpan | None, url: str) -> Sequence[tuple[str, str]]:
        """Return the headers that are added to a request to this URL when it is sent."""
        ...

    def header_names(self, url: str) -> tuple[str, ...]:
        """Return the names of the headers that are added to a request to this URL when it is sent."""
        ...


_outlet: Outlet | None = None


def set_outlet(outlet: Outlet | None) -> None:
    """Send the spans of the process to this outlet; None ends this."""
    global _outlet
    _outlet = outlet


def current_span() -> LiveSpan | None:
    """Return the span that is current in this task; None without a listener."""
    current = CURRENT.get()
    if current is None and _outlet is not None:
        return _outlet.root
    return current


def headers_when_sent(url: str) -> Sequence[tuple[str, str]]:
    """Return the headers that are added to a request when it is sent."""
    return () if _outlet is None else _outlet.headers(CURRENT.get(), url)


def names_when_sent(url: str) -> tuple[str, ...]:
    """Return the names of the headers that are added to a request when it is sent."""
    return () if _outlet is None else _outlet.header_names(url)


@final
class inside:
    """`with inside(span):` makes the span the parent of other instrumentation's spans in the block.

    Use it only around a function that lutum itself awaits, never around a block of the user, because the
    block must end in the task and the context in which it began.
    """

    __slots__ = ("_leave", "_span")

    def __init__(self, span: LiveSpan | None) -> None:
        self._span = span
        self._leave: Callable[[], None] | None = None

    def __enter__(self) -> None:
        if self._span is not None and _outlet is not None:
            self._leave = _outlet.enter(self._span)

    def __exit__(self, *exc: object) -> None:
        if self._leave is not None:
            self._leave()


def open_span(name: str, /, **fields: object) -> LiveSpan | None:
    """Open a span under the current span; None without a listener. The new span does not become current."""
    current = current_span()
    return None if current is None else current.child(name, fields)


def event(name: str, /, **fields: object) -> None:
    """Record an event in the current span. Without a listener, do nothing."""
    current = current_span()
    if current is not None:
        current.event(name, **fields)


@final
class span:
    """`with span("tool", tool=name) as opened:` opens a span that is current in the block.

    `opened` is None without a listener. At its end, the block sets the earlier span; it uses no context
    token.
    """

    __slots__ = ("_fields", "_found", "_name", "_opened")

    def __init__(self, name: str, /, **fields: object) -> None:
        self._name = name
        self._fields = fields

    def __enter__(self) -> LiveSpan | None:
        self._found = CURRENT.get()
        parent = current_span()
        if parent is None:
            self._opened: LiveSpan | None = None
            return None
        self._opened = opened = parent.child(self._name, self._fields)
        if opened is not None:
            CURRENT.set(opened)
        return opened

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened = self._opened
        if opened is not None:
            CURRENT.set(self._found)
            opened.end(exc)
