"""Spans of the whole process: the listeners, and the recorder of spans that no capture keeps.

A span outside every capture is a `Span` too. It does not keep its children, so that a server has only the
open spans in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, final

from lutum._telemetry.spans import LiveSpan, Outlet, RawCapture, set_outlet
from lutum.trace._tree import Change, Note, Noted, RawEntry, Span, SpanOpened


class Listener(Protocol):
    """A receiver of every change in the process. Its methods do not raise."""

    @property
    def content(self) -> bool: ...
    def tell(self, change: Change) -> None: ...
    def enter(self, span: Span) -> Callable[[], None] | None: ...
    def headers(self, span: Span | None, url: str) -> Sequence[tuple[str, str]]: ...
    def header_names(self, url: str) -> tuple[str, ...]: ...


@final
class Everywhere:
    """The listeners of the process; the newest is the last one. This class is the `Outlet` of lutum's
    spans."""

    def __init__(self) -> None:
        self.handles: tuple[Listener, ...] = ()
        self.content = False
        self._root: Final = _Root()

    @property
    def root(self) -> LiveSpan:
        return self._root

    def add(self, listener: Listener) -> None:
        self._set((*self.handles, listener))

    def remove(self, listener: Listener) -> None:
        self._set(tuple(other for other in self.handles if other is not listener))

    def tell(self, change: Change) -> None:
        for listener in self.handles:
            listener.tell(change)

    def enter(self, span: LiveSpan) -> Callable[[], None] | None:
        """Make the span current for other instrumentation.

        Only the newest listener is called, because only one span can be current.
        """
        return self.handles[-1].enter(span) if isinstance(span, Span) and self.handles else None

    def headers(self, span: LiveSpan | None, url: str) -> Sequence[tuple[str, str]]:
        known = span if isinstance(span, Span) else None
        return [header for listener in self.handles for header in listener.headers(known, url)]

    def header_names(self, url: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for listener in self.handles for name in listener.header_names(url)))

    def _set(self, handles: tuple[Listener, ...]) -> None:
        self.handles = handles
        self.content = any(listener.content for listener in handles)
        outlet: Outlet | None = self if handles else None
        set_outlet(outlet)


@final
class Unkept:
    """The recorder of a span that no capture keeps, and of the spans below it."""

    __slots__ = ("secrets",)

    def __init__(self, secrets: set[str] | None = None) -> None:
        self.secrets: set[str] = set() if secrets is None else secrets

    @property
    def closed(self) -> bool:
        return not EVERYWHERE.handles

    @property
    def content(self) -> bool:
        return EVERYWHERE.content

    @property
    def raw(self) -> RawCapture | None:
        return None

    @property
    def watched(self) -> bool:
        return bool(EVERYWHERE.handles)

    @property
    def kept(self) -> bool:
        return False

    def behind(self) -> None:
        return None

    def clock(self) -> float:
        """Return the time in seconds, on one clock for all tasks and threads.

        The clock of an event loop is not used, because each loop has its own.
        """
        return time.perf_counter()

    def tell(self, change: Change) -> None:
        EVERYWHERE.tell(change)

    def keep(self, entry: RawEntry) -> None:
        """Do nothing: only a capture keeps raw data."""


@final
class _Root:
    """The parent of spans outside every capture."""

    __slots__ = ()

    @property
    def fields(self) -> dict[str, Any]:
        return {}

    @property
    def content(self) -> bool:
        return EVERYWHERE.content

    @property
    def raw(self) -> RawCapture | None:
        return None

    def child(self, name: str, fields: dict[str, Any]) -> Span | None:
        if not EVERYWHERE.handles:
            return None
        recorder = Unkept()
        span = Span(name, fields, recorder.clock(), None, recorder)
        EVERYWHERE.tell(SpanOpened(span))
        return span

    def set(self, /, **fields: Any) -> None:
        """Do nothing: a root has no fields."""

    def add(self, field: str, amount: int) -> None:
        """Do nothing: a root has no fields."""

    def event(self, name: str, /, **fields: Any) -> None:
        EVERYWHERE.tell(Noted(None, Note(name, time.perf_counter(), fields)))

    def keep(self, kind: str, /, **data: Any) -> None:
        """Do nothing: only a capture keeps raw data."""

    def hide(self, *secrets: str) -> None:
        """Do nothing: outside every span there is nothing to mask."""

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing: this root does not end."""


EVERYWHERE: Final = Everywhere()
