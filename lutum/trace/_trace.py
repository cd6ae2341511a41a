"""`Trace`: a captured tree of spans, with subscriptions to its changes and conversions to other forms.

The modules for rendering, pages, files and OpenTelemetry are loaded when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, final

from lutum._text import preformatted
from lutum._values.errors import UsageError
from lutum.trace._bill import TraceBill, bill
from lutum.trace._tree import Change, SpanTree


@final
class Subscription:
    """A subscription made by `Trace.subscribe`. `close()` ends it. It is also a context manager."""

    __slots__ = ("_end",)

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def close(self) -> None:
        """Stop calling the callback. Further calls do nothing."""
        self._end()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()


@final
class Trace(SpanTree):
    """The trace of a capture.

    Attributes:
      roots: the spans that have no parent in this trace.
      notes: the events outside any span.
      wall: the start, in seconds since the epoch.
      started: the start, in seconds on the event loop's clock. Spans use the same clock.
      ended: the end, on the event loop's clock; None while the capture runs.
      raw: the unchanged requests, frames and errors, in order, if they were kept.
      open_reason: the reason why spans are open; "" if all are closed.
    """

    __slots__ = ("_subscribe",)

    def __init__(self, wall: float, started: float, *, unfinished: str = "") -> None:
        super().__init__(wall, started, unfinished=unfinished)
        self._subscribe: Callable[[Callable[[Change], object]], Subscription] | None = None

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Call `callback` with every later change, when it happens, in the task that makes the change.

        The callback must not block. To handle changes elsewhere, send them into a memory object stream. If
        the callback raises, the exception is logged and the callback is not called again.

        Raises:
          UsageError: the capture is over.
        """
        if self._subscribe is None:
            raise UsageError("subscribe: the capture of this trace has ended; subscribe while it runs")
        return self._subscribe(callback)

    def bill(self, parts: int | None = None) -> TraceBill:
        """Return the bill of each branch: the sums of its turns. A turn is counted once.

        Args:
          parts: use only this number of parts at the start of each label. None uses whole labels.

        Raises:
          BadValue: `parts` is below 1.
        """
        return bill(self.walk(), parts)

    def render(self, width: int = 80, *, color: bool = False) -> str:
        """Draw a waterfall for a terminal, with lines of at most `width` cells and no control characters."""
        from lutum.trace._render import render

        return render(self, width, color=color)

    def to_html(self, path: str | PathLike[str], *, title: str = "Trace") -> None:
        """Write one self-contained HTML page, which loads nothing from the network. Raises OSError."""
        from lutum.trace._html import write_html

        write_html(self, path, title)

    def to_otel(self, tracer_provider: Any = None, *, content: bool = False) -> None:
        """Export every closed span to OpenTelemetry, with the names of its GenAI conventions.

        OpenTelemetry's current span becomes the parent of the trace's roots. With `content`, prompts and
        answers are exported too, if the capture kept them. Requires the extra `otel`.
        """
        from lutum.trace._otel import export

        export(self, tracer_provider, content=content)

    def dump(self) -> bytes:
        """Return the trace as JSON lines for `load`. Secrets are masked. Prompts are included only if the
        capture kept them."""
        from lutum.trace._file import dump

        return dump(self)

    @staticmethod
    def load(data: bytes) -> Trace:
        """Return the trace that `dump` or `capture(to=...)` wrote. Raises BadValue with the line number."""
        from lutum.trace._file import load

        return load(data, Trace)

    def _repr_html_(self) -> str:
        """Return the rendered trace as HTML, for notebooks."""
        return preformatted(self.render(100))

    def __repr__(self) -> str:
        spans = list(self.walk())
        still = sum(span.ended is None for span in spans)
        return f"<Trace of {len(spans)} spans{f', {still} open' if still else ''}>"


def load(data: bytes) -> Trace:
    """Return the trace that `dump` or `capture(to=...)` wrote. Raises BadValue with the line number."""
    return Trace.load(data)
