"""The display of an answer: first as it streams, then as Markdown. It also shows the countdown to a retry."""

from __future__ import annotations

import io
import math
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import final

import anyio

import lutum
from lutum._text import Cleaner, Flow, printable
from lutum.cli._layout import Drawing
from lutum.cli._terminal import DIM, READABLE, LiveAnswer, Terminal

_INDENT = "  "


async def shown(turn: lutum.Stream[lutum.TextResult], out: Terminal, *, plain: bool) -> None:
    """Read a turn to its end and show it."""
    answer = MarkdownAnswer(out) if not plain and can_render(out) else out.answer()
    with answer:
        async with turn:
            events = aiter(turn)
            retry: lutum.WillRetry | None = None
            while True:
                event = await _next(events, out, retry)
                if event is None:
                    return
                retry = None
                match event:
                    case lutum.ReasoningDelta(text=text):
                        answer.piece(text, reasoning=True)
                    case lutum.TextDelta(text=text) | lutum.RefusalDelta(text=text):
                        answer.piece(text)
                    case lutum.WillRetry():
                        answer.close()
                        out.note(event.error)
                        retry = event
                    case _:
                        pass


def can_render(out: Terminal) -> bool:
    """Return whether Markdown can be rendered: on a terminal, if rich is installed."""
    if not out.escapes or out.raw:
        return False
    return find_spec("rich") is not None


def rendered(text: str, width: int, *, color: bool) -> list[str]:
    """Return Markdown as rows. Links are plain text, because a model's text must not make a terminal open
    an address."""
    from rich.console import Console
    from rich.markdown import Markdown

    page = io.StringIO()
    console = Console(
        file=page,
        width=max(width, 20),
        force_terminal=True,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    console.print(Markdown(printable(text), hyperlinks=False, code_theme="ansi_dark"))
    return [row.rstrip() for row in page.getvalue().rstrip("\n").split("\n")]


@final
class MarkdownAnswer(LiveAnswer):
    """An answer that shows its last rows while it streams. At its end it is rendered as Markdown."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self._words, self._room = "", min(terminal.width, READABLE) - len(_INDENT)
        self._tail, self._drawing = "", Drawing()
        self._clean, self._live = Cleaner(), Flow(self._room)

    def piece(self, text: str, *, reasoning: bool = False) -> None:
        if reasoning:
            self._render()
            super().piece(text, reasoning=True)
            return
        if not self._words:
            super().close()
            if self._reasoning is not None:
                self._terminal.gap()
        clean = self._clean.feed(text)
        self._words += clean
        self._tail += self._live.feed(clean)
        self._draw()

    def close(self) -> None:
        self._render()
        super().close()

    def _draw(self) -> None:
        rows = self._tail.split("\n")[1 - self._terminal.size[1] :]
        self._terminal.write(self._drawing.show([_INDENT + row if row else "" for row in rows]))

    def _render(self) -> None:
        if not self._words:
            return
        self._terminal.write(self._drawing.cleared())
        for row in rendered(self._words, self._room, color=self._terminal.color):
            self._terminal.write(f"{_INDENT}{row}\n" if row else "\n")
        self._words = self._tail = ""
        self._clean, self._live, self._drawing = Cleaner(), Flow(self._room), Drawing()


async def _next(
    events: AsyncIterator[lutum.Event], out: Terminal, retry: lutum.WillRetry | None
) -> lutum.Event | None:
    """Return the next event, or None at the end. Before a retry, count down the seconds."""
    if retry is None:
        return await anext(events, None)
    words = f"attempt {retry.attempt} follows in"
    if not out.escapes:
        out.note(f"{words} {math.ceil(retry.after)} s")
        return await anext(events, None)

    async def count() -> None:
        for left in range(math.ceil(retry.after), 0, -1):
            out.write(f"\r\x1b[2K{out.style(f'{words} {left} s', DIM, _INDENT)}")
            await anyio.sleep(1)

    event, failure = None, None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            try:
                event = await anext(events, None)
            except Exception as error:
                failure = error  # raised after the block, because the task group would wrap it
            tasks.cancel_scope.cancel()
    finally:
        out.write("\r\x1b[2K")
    if failure is not None:
        raise failure
    return event
