"""Spans of the core's work, named `turn attempt request tool hook wait`.

A span is recorded only if `lutum.trace.capture()` has put a root into the context, or `lutum.trace.otel()`
listens to the whole process; else it costs one look at the context. A span's parent is the current span of
the task that opens it; tasks inherit it from the task that starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, final

from msgspec import Struct


class RawCapture(Struct, frozen=True, kw_only=True):
    """The raw parts of each request to keep. As an option of a turn (`.ext(RawCapture(...))`) it limits what
    a capture keeps of that turn; without a capture that wants raw data nothing is kept.

    Attributes:
      request: method, URL, headers and body, before they are sent; secrets are masked.
      frames: the events of each piece that was received.
      errors: the exception that ended a request or a turn, with the body of an error answer.
    """

    request: bool = True
    frames: bool = True
    errors: bool = True


class LiveSpan(Protocol):
    """An open span of a trace. Plain calls that never block."""

    @property
    def fields(self) -> Mapping[str, object]:
        """The fields recorded so far."""
        ...

    @property
    def content(self) -> bool:
        """True if a listener wants prompts and answers."""
        ...

    @property
    def raw(self) -> RawCapture | None:
        """The raw parts of a request that a listener wants."""
        ...

    def child(self, name: str, fields: dict[str, object]) -> LiveSpan | None:
        """Open a span under this one; None when the capture is over."""
        ...

    def set(self, /, **fields: object) -> None:
        """Record fields; a later value replaces an earlier one."""
        ...

    def add(self, field: str, amount: int) -> None:
        """Count in a field. Listeners get the count when the span ends."""
        ...

    def event(self, name: str, /, **fields: object) -> None:
        """Record something that happened in it."""
        ...

    def keep(self, kind: str, /, **data: object) -> None:
        """Keep something raw; `kind` is `request`, `frame` or `error`."""
        ...

    def hide(self, *secrets: str) -> None:
        """These texts are masked in whatever is recorded from now on."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """Close it, with the exception that ended it."""
        ...


CURRENT: ContextVar[LiveSpan | None] = ContextVar("lutum span", default=None)


class Outlet(Protocol):
    """Where the spans of the whole process go, beside the captures. Set by `lutum.trace.otel`."""

    @property
    def root(self) -> LiveSpan:
        """The parent of spans outside of any capture."""
        ...

    def enter(self, span: LiveSpan) -> Callable[[], None] | None:
        """Make a span current for other instrumentation; returns what puts back what was current."""
        ...

    def headers(self, span: LiveSpan | None, url: str) -> Sequence[tuple[str, str]]:
        """The headers that a request to that URL gets when it is sent."""
        ...

    def header_names(self, url: str) -> tuple[str, ...]:
        """The names of those headers."""
        ...


_outlet: Outlet | None = None


def set_outlet(outlet: Outlet | None) -> None:
    """Send the spans of the process there, or nowhere."""
    global _outlet
    _outlet = outlet


def current_span() -> LiveSpan | None:
    """Return the span that is current in this task; None without a listener."""
    current = CURRENT.get()
    if current is None and _outlet is not None:
        return _outlet.root
    return current


def headers_when_sent(url: str) -> Sequence[tuple[str, str]]:
    """Return the headers that a request gets at the moment it is sent."""
    return () if _outlet is None else _outlet.headers(CURRENT.get(), url)


def names_when_sent(url: str) -> tuple[str, ...]:
    """Return the names of the headers that a request gets at the moment it is sent."""
    return () if _outlet is None else _outlet.header_names(url)


@final
class inside:
    """`with inside(span):` other instrumentation sees the span as its parent.

    Only around a function that lutum awaits in one piece, never around a block of the user: what was current
    is put back in the task and the context in which the block began.
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
    """Open a span under the current one, which stays current; None without a listener."""
    current = current_span()
    return None if current is None else current.child(name, fields)


def event(name: str, /, **fields: object) -> None:
    """Record an event in the current span; does nothing without a listener."""
    current = current_span()
    if current is not None:
        current.event(name, **fields)


@final
class span:
    """`with span("tool", tool=name) as opened:` a span that is current in its block; None without
    a listener. It holds no context token: the block restores the earlier span."""

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
