"""`Trace`: a captured tree of spans, how it is watched while it grows, and what it can be turned into.

Rendering, pages, files and OpenTelemetry are loaded when they are first used.
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
    """Made by `Trace.subscribe`; `close()` ends it, as leaving it as a context manager does."""

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
    """What a capture recorded: `roots`, the spans that are under none of its own, and `notes` outside of any.

    Attributes:
      wall: seconds since the epoch when it began.
      started: the same moment on the event loop's clock, as in every span.
      ended: when it ended, on the event loop's clock; None while it runs.
      raw: requests, frames and errors that were kept as they were, in order.
      open_reason: why spans are open, if some are; else "".
    """

    __slots__ = ("_subscribe",)

    def __init__(self, wall: float, started: float, *, unfinished: str = "") -> None:
        super().__init__(wall, started, unfinished=unfinished)
        self._subscribe: Callable[[Callable[[Change], object]], Subscription] | None = None

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Have `callback` told of every change from now on, as it happens, in the task that makes it.

        It must not block: send into a memory object stream to work on changes elsewhere. One that raises is
        logged and told no more.

        Raises:
          UsageError: the capture is over.
        """
        if self._subscribe is None:
            raise UsageError("subscribe: this trace is not being captured any more")
        return self._subscribe(callback)

    def bill(self, parts: int | None = None) -> TraceBill:
        """What each branch was charged: the turns, summed by label. A turn is counted once.

        Args:
          parts: sum by so many parts of the labels, instead of whole labels.

        Raises:
          BadValue: `parts` is below 1.
        """
        return bill(self.walk(), parts)

    def render(self, width: int = 80, *, color: bool = False) -> str:
        """A waterfall for a terminal, of at most `width` cells a line. Control characters are taken out."""
        from lutum.trace._render import render

        return render(self, width, color=color)

    def to_html(self, path: str | PathLike[str], *, title: str = "Trace") -> None:
        """Write one page that needs nothing else: no network, no script from elsewhere. Raises OSError."""
        from lutum.trace._html import write_html

        write_html(self, path, title)

    def to_otel(self, tracer_provider: Any = None, *, content: bool = False) -> None:
        """Hand every span to OpenTelemetry, in the terms of its GenAI conventions, under the span that is
        current there; open spans are left out. `content` sends prompts and answers too, if the capture
        kept them. Needs the extra `otel`.
        """
        from lutum.trace._otel import export

        export(self, tracer_provider, content=content)

    def dump(self) -> bytes:
        """As JSON lines; `load` reads them. Secrets are masked, prompts are in it only if they were kept."""
        from lutum.trace._file import dump

        return dump(self)

    @staticmethod
    def load(data: bytes) -> Trace:
        """What `dump` made, or `capture(to=...)` wrote. Raises BadValue, which names the line."""
        from lutum.trace._file import load

        return load(data, Trace)

    def _repr_html_(self) -> str:
        """The spans as a tree, in a notebook."""
        return preformatted(self.render(100))

    def __repr__(self) -> str:
        spans = list(self.walk())
        still = sum(span.ended is None for span in spans)
        return f"<Trace of {len(spans)} spans{f', {still} open' if still else ''}>"


def load(data: bytes) -> Trace:
    """Return the trace that `dump` or `capture(to=...)` wrote. Raises BadValue, which names the line."""
    return Trace.load(data)
