"""`capture()`: begins and ends a trace, and sends its changes to listeners.

`capture()` puts a root span into the context. The trace therefore contains everything that the block and its
task groups start, and nothing that other tasks start. An inner capture and its outer capture share the span
objects.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, final

from lutum._telemetry.spans import CURRENT, LiveSpan, RawCapture
from lutum._values.errors import UsageError
from lutum.trace._everywhere import EVERYWHERE, Unkept
from lutum.trace._trace import Subscription, Trace
from lutum.trace._tree import (
    Change,
    Note,
    Noted,
    RawEntry,
    Span,
    SpanOpened,
    _longer,
    _masked,
    error_words,
)

logger = logging.getLogger("lutum.trace")


@final
class capture:
    """Capture a trace of everything that a block starts: `async with capture() as trace:`.

    Args:
      raw: keep unchanged requests, event frames and errors in `trace.raw`; `RawCapture` selects some of them.
      content: keep prompts and answers in the fields `input`, `output` and `tools` of each turn.
      to: a file to which each change is written when it happens, so that the trace of a killed process is not
        lost.

    Entering and leaving the block do not wait. The spans of an inner capture are in the outer trace too, with
    the content that the inner capture keeps. After the block only the ends of open spans are recorded. Work
    that is still running is shown as open. `trace.error` is the class of the exception that ended the block.

    Raises:
      OSError: the file cannot be written (on entry).
      UsageError: this capture was entered before.
    """

    __slots__ = ("_content", "_found", "_raw", "_recorder", "_root", "_to")

    def __init__(
        self,
        *,
        raw: bool | RawCapture = False,
        content: bool = False,
        to: str | PathLike[str] | None = None,
    ) -> None:
        self._raw = RawCapture() if raw is True else raw or None
        self._content = content
        self._to = to
        self._recorder: Capturing | None = None
        self._found: LiveSpan | None = None
        self._root: Root | None = None

    async def __aenter__(self) -> Trace:
        """This is a checkpoint only if it has to wait."""
        if self._recorder is not None:
            raise UsageError("capture: this context manager was entered before; call capture() again")
        found = CURRENT.get()
        outer = found if isinstance(found, Span | Root) else None
        around = None if outer is None else outer._recorder
        under = outer if isinstance(outer, Span) else None
        if not isinstance(around, Capturing) or around.closed:
            outer = around = None
        clock = loop_clock()
        trace = Trace(time.time(), clock())
        recorder = Capturing(trace, clock, around, content=self._content, raw=self._raw)
        if self._to is not None:
            from lutum.trace._file import Writer

            recorder.writer = Writer(trace, self._to)
            recorder.subscribe(recorder.writer.write)
        trace._subscribe = recorder.subscribe
        self._recorder, self._found = recorder, found
        self._root = Root(recorder, outer, under)
        CURRENT.set(self._root)
        return trace

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """This is a checkpoint only if it has to wait."""
        recorder = self._recorder
        assert recorder is not None
        now: object = CURRENT.get()
        if now is self._root:  # if the block ends in another context, there is nothing to restore
            CURRENT.set(self._found)
        if exc is not None and (said := error_words(exc)) is not None:
            said = _masked(said, recorder.secrets)
            recorder.trace.error, recorder.trace.message = said["error"], said.get("message", "")
        recorder.close()


@final
class Capturing:
    """The recorder of one capture. Spans send their changes to this object. `around` is the outer capture."""

    __slots__ = (
        "_callbacks",
        "_clock",
        "_inner",
        "_over",
        "_watched",
        "around",
        "closed",
        "content",
        "own_raw",
        "raw",
        "secrets",
        "trace",
        "writer",
    )

    def __init__(
        self,
        trace: Trace,
        clock: Callable[[], float],
        around: Capturing | None,
        *,
        content: bool,
        raw: RawCapture | None,
    ) -> None:
        outer = around
        self.trace: Trace = trace
        self._clock = clock
        self.around: Capturing | None = outer
        self.own_raw = raw
        self.content: bool = content or EVERYWHERE.content or (outer is not None and outer.content)
        self.raw: RawCapture | None = raw if outer is None else _either(raw, outer.raw)
        self.secrets: set[str] = set() if outer is None else outer.secrets
        self._watched: bool = outer is not None and outer._watched
        self.closed: bool = False
        self.writer: Any = None
        self._over = False
        self._callbacks: tuple[Callable[[Change], object], ...] = ()
        self._inner = list[Capturing]()
        if outer is not None:
            outer._inner.append(self)

    @property
    def watched(self) -> bool:
        """True if changes have a listener."""
        return self._watched or bool(EVERYWHERE.handles)

    @property
    def kept(self) -> bool:
        """True, because the spans of a capture keep their children."""
        return True

    def behind(self) -> Unkept | None:
        """Return the recorder for spans that begin after this capture; None if the process has no
        listeners."""
        return Unkept(self.secrets) if EVERYWHERE.handles else None

    def clock(self) -> float:
        """Return the time of the event loop that the capture runs on."""
        return self._clock()

    def tell(self, change: Change) -> None:
        """Send a change to the listeners of this capture, of its outer captures and of the process."""
        capturing: Capturing | None = self
        while capturing is not None:
            for callback in capturing._callbacks:
                try:
                    callback(change)
                except Exception:
                    logger.exception("a subscriber of a trace raised an exception; it is not called again")
                    capturing._drop(callback)
            capturing = capturing.around
        if EVERYWHERE.handles:
            EVERYWHERE.tell(change)

    def keep(self, entry: RawEntry) -> None:
        """Add a raw entry to the trace of this capture and of its outer captures, if they keep this kind."""
        capturing: Capturing | None = self
        while capturing is not None:
            own = capturing.own_raw
            if own is not None and not capturing._over and _takes(own, entry.kind):
                capturing.trace.raw.append(entry)
                if capturing.writer is not None:
                    capturing.writer.raw(entry)
            capturing = capturing.around

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """See `Trace.subscribe`."""
        if self._over:
            raise UsageError("subscribe: the capture of this trace has ended; subscribe while it runs")
        self._callbacks += (callback,)
        self._watch()
        return Subscription(lambda: self._drop(callback))

    def close(self) -> None:
        """End the capture when its block ends. If there is an outer capture, open spans continue in its
        trace."""
        self._over = True
        self.trace.ended = self.clock()
        self.trace._subscribe = None
        if self.writer is not None:
            self.writer.close()
        self._callbacks = ()
        if self.around is None:
            self._close()
        else:
            self._watch()

    def _close(self) -> None:
        self.closed = True
        for inner in self._inner:
            inner._close()
        self._inner.clear()

    def _drop(self, callback: Callable[[Change], object]) -> None:
        self._callbacks = tuple(other for other in self._callbacks if other != callback)
        self._watch()

    def _watch(self) -> None:
        self._watched = bool(self._callbacks) or (self.around is not None and self.around._watched)
        for inner in self._inner:
            inner._watch()


@final
class Root:
    """The parent of the first spans of a capture. It is put into the context like a span."""

    __slots__ = ("_outer", "_recorder", "_under")

    def __init__(self, recorder: Capturing, outer: Span | Root | None, under: Span | None = None) -> None:
        self._recorder = recorder
        self._outer = outer
        self._under = under  # the span around the capture; only the process's listeners know it

    @property
    def fields(self) -> dict[str, Any]:
        return {}

    @property
    def content(self) -> bool:
        return self._recorder.content

    @property
    def raw(self) -> RawCapture | None:
        return self._recorder.raw

    def child(self, name: str, fields: dict[str, Any]) -> Span | None:
        own = self._recorder
        recorder = own.behind() if own.closed else own
        if recorder is None:
            return None
        if recorder.secrets:
            fields = _masked(fields, recorder.secrets)
        span = Span(name, fields, recorder.clock(), self._parent(), recorder)
        if recorder.kept:
            self._adopt(span)
        if recorder.watched:
            recorder.tell(SpanOpened(span))
        return span

    def set(self, /, **fields: Any) -> None:
        """Do nothing: a root has no fields."""

    def add(self, field: str, amount: int) -> None:
        """Do nothing: a root has no fields."""

    def event(self, name: str, /, **fields: Any) -> None:
        recorder = self._recorder
        if recorder.closed:
            return
        note = Note(name, recorder.clock(), _masked(fields, recorder.secrets))
        self._note(note)
        if recorder.watched:
            recorder.tell(Noted(self._parent(), note))

    def keep(self, kind: str, /, **data: Any) -> None:
        recorder = self._recorder
        if not recorder.closed:
            data = _masked(data, recorder.secrets)
            recorder.keep(RawEntry(kind, recorder.clock(), self._parent(), data))

    def hide(self, *secrets: str) -> None:
        self._recorder.secrets.update(_longer(secrets))

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing: a root ends with its capture."""

    def _parent(self) -> Span | None:
        outer = self._outer
        if outer is None:
            return self._under
        return outer._parent() if isinstance(outer, Root) else outer

    def _adopt(self, span: Span) -> None:
        if not self._recorder._over:
            self._recorder.trace.roots.append(span)
        if isinstance(self._outer, Root):
            self._outer._adopt(span)
        elif self._outer is not None:
            self._outer.children.append(span)

    def _note(self, note: Note) -> None:
        if not self._recorder._over:
            self._recorder.trace.notes.append(note)
        if isinstance(self._outer, Root):
            self._outer._note(note)
        elif self._outer is not None:
            self._outer.notes.append(note)


def loop_clock() -> Callable[[], float]:
    """Return the clock of the running event loop, as a function that worker threads may call too."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        trio = sys.modules["trio"]
        clock: Callable[[], float] = trio.lowlevel.current_clock().current_time
        return clock


def _either(own: RawCapture | None, other: RawCapture | None) -> RawCapture | None:
    if own is None or other is None:
        return own or other
    return RawCapture(
        request=own.request or other.request,
        frames=own.frames or other.frames,
        errors=own.errors or other.errors,
    )


def _takes(raw: RawCapture, kind: str) -> bool:
    wanted: bool = getattr(raw, {"request": "request", "frame": "frames"}.get(kind, "errors"))
    return wanted
