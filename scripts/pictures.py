"""Make the pictures of the pages from real runs, as SVG in docs/pictures.

    python scripts/pictures.py [NAME ...]

A terminal is a pseudo-terminal whose screen pyte draws, as in the tests. The programs are those of
docs/ladder, with the stand-in of the tests as their provider. Run it again when a screen has changed.
"""

from __future__ import annotations

import builtins
import fcntl
import os
import re
import runpy
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyte
from anyio.from_thread import start_blocking_portal

from lutum import trace
from lutum.testing.wire import WireServer

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
answer: Any = runpy.run_path(str(ROOT / "tests" / "docs_provider.py"))["answer"]

WIDTH, HEIGHT = 8.4, 19  # of a cell
MARGIN, BAR = 16, 30
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
BACK, FORE, FAINT = "#16181d", "#e4e6eb", "#9aa3b2"
COLORS = {
    "default": FORE,
    "black": "#5c6370",
    "red": "#ff8a80",
    "green": "#8fd694",
    "brown": "#e5c07b",
    "blue": "#82b1ff",
    "magenta": "#d7a6f5",
    "cyan": "#7fd3e0",
    "white": "#ffffff",
    "brightblack": FAINT,
}
LOGIN = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
BIN = Path(sys.executable).parent


class Terminal:
    """A terminal in which programs run, one after the other.

    Attributes:
      screen: what a person sees.
    """

    def __init__(self, columns: int, folder: Path, url: str) -> None:
        self.screen = pyte.Screen(columns, 300)
        self._stream = pyte.ByteStream(self.screen)
        self._folder = folder
        unwanted = ("NO_COLOR", "COLUMNS", "LINES", "ANTHROPIC_AUTH_TOKEN")
        ours = {name: value for name, value in os.environ.items() if name not in unwanted}
        path = f"{BIN}{os.pathsep}{ours['PATH']}"
        self._environ = {
            **ours,
            "PATH": path,
            "TERM": "xterm-256color",
            "INPUTRC": os.devnull,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "not a key",
            "XDG_STATE_HOME": str(folder),
        }

    def shown(self, line: str) -> None:
        """Show a command, as typed by a person."""
        self._stream.feed(f"\x1b[90m$\x1b[0m \x1b[1m{line}\x1b[0m\r\n".encode())

    def run(self, line: str, *, typed: tuple[str, ...] = (), until: str = "", show: bool = True) -> None:
        """Run a command.

        Args:
          typed: lines that are typed, each at a prompt that ends in `> `.
          until: end the program when this is on the screen.
          show: show the command itself too.
        """
        if show:
            self.shown(line)
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 300, self.screen.columns, 0, 0))
        program = subprocess.Popen(
            [sys.executable, "-c", LOGIN, *line.split()], stdin=theirs, env=self._environ, cwd=self._folder
        )
        os.close(theirs)
        waiting, asked, deadline = list(typed), 0, time.monotonic() + 20
        while select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not data:
                break
            self._stream.feed(data)
            rows = [row.rstrip() for row in self.screen.display]
            if until and any(until in row for row in rows):
                program.send_signal(signal.SIGKILL)
                break
            place = self.screen.cursor.y
            if waiting and place > asked and rows[place].endswith(">"):
                asked = place
                os.write(ours, waiting.pop(0).encode() + b"\n")
        else:
            program.kill()
            raise TimeoutError("\n".join(row.rstrip() for row in self.screen.display if row.strip()))
        program.wait(60)
        os.close(ours)

    def svg(self, title: str, rows: int = 0) -> str:
        """Draw the screen: all of it, or the first `rows` rows."""
        used = max(y for y, row in enumerate(self.screen.display) if row.strip()) + 1
        lines = list[str]()
        for y in range(min(used, rows) if rows else used):
            cells = [self.screen.buffer[y][x] for x in range(self.screen.columns)]
            x = 0
            for style, group in groupby(cells, key=lambda c: (c.fg, c.bold, c.reverse)):
                text = "".join(cell.data for cell in group)
                lines += self._piece(x, y, text, style)
                x += len(text)
        width = self.screen.columns * WIDTH + 2 * MARGIN
        height = (min(used, rows) if rows else used) * HEIGHT + 2 * MARGIN + BAR
        return drawn(width, height, title, lines)

    def _piece(self, x: int, y: int, text: str, style: tuple[str, bool, bool]) -> Iterator[str]:
        fill = f"#{style[0]}" if re.fullmatch(r"[0-9a-f]{6}", style[0]) else COLORS.get(style[0], FORE)
        weight = ' font-weight="700"' if style[1] else ""
        top = BAR + MARGIN + y * HEIGHT + 14
        # A viewer joins spaces and has its own width of a letter: each run has its place and its length.
        for run in re.finditer(r"\S+(?: \S+)*", text):
            left = MARGIN + (x + run.start()) * WIDTH
            yield (
                f'<text x="{left:.1f}" y="{top}" fill="{fill}"{weight} textLength="{len(run[0]) * WIDTH:.1f}"'
                f' lengthAdjust="spacingAndGlyphs">{escape(run[0])}</text>'
            )


def drawn(width: float, height: float, title: str, lines: list[str]) -> str:
    """Frame the lines of a picture as a window."""
    dots = "".join(f'<circle cx="{18 + 18 * n}" cy="16" r="5" fill="#4b5263"/>' for n in range(3))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' role="img" font-family="{FONT}" font-size="14">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>\n{dots}\n'
    )
    return head + "\n".join(lines) + "\n</svg>\n"


def program_of(page: str) -> str:
    """The Python blocks of a page of the ladder."""
    text = (ROOT / "docs" / "ladder" / f"{page}.md").read_text("utf-8")
    return "\n\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


@contextmanager
def terminal(columns: int, pace: float = 0.0) -> Iterator[tuple[Terminal, Path]]:
    """A terminal in a folder of its own, with the stand-in as its provider."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(WireServer(partial(answer, pace=pace))) as server,
    ):
        yield Terminal(columns, Path(folder), server.url), Path(folder)


def program(page: str, name: str, columns: int = 72, pace: float = 0.0, until: str = "") -> str:
    """The screen of a page's program."""
    with terminal(columns, pace) as (shell, folder):
        (folder / name).write_text(program_of(page))
        shell.run(f"python {name}", until=until)
        return shell.svg(f"{name} in a terminal")


def demo() -> str:
    with terminal(80) as (shell, _):
        shell.run("lutum demo")
        return shell.svg("lutum demo in a terminal", rows=38)


def chat() -> str:
    with terminal(80) as (shell, _):
        shell.run("lutum chat", typed=("Name three rivers.", "Which one is the longest?", "/quit"))
        return shell.svg("lutum chat in a terminal")


def branches() -> str:
    with terminal(92) as (shell, folder):
        (folder / "invite.py").write_text(program_of("branches"))
        shell.run("python invite.py")
        shell.run("lutum show sqlite:chats.db")
        return shell.svg("the branches of a store in a terminal")


def tests() -> str:
    with terminal(72) as (shell, folder):
        (folder / "test_translate.py").write_text(program_of("tests"))
        (folder / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
        shell.run("pytest -v --no-header -p no:cacheprovider test_translate.py")
        return shell.svg("pytest in a terminal")


def waterfall() -> str:
    """The spans of the last page's program."""
    kept = list[trace.Trace]()
    with terminal(72, pace=0.04) as (shell, folder):
        os.environ.update(
            {key: value for key, value in shell._environ.items() if key.startswith("ANTHROPIC")}
        )
        module: Any = types.ModuleType("production")
        vars(module)["__builtins__"] = builtins
        to_html = trace.Trace.to_html
        trace.Trace.to_html = lambda self, path, **more: kept.append(self)  # type: ignore[method-assign]
        here = os.getcwd()
        os.chdir(folder)
        try:
            exec(compile(program_of("production"), "production.py", "exec"), vars(module))
        finally:
            trace.Trace.to_html = to_html  # type: ignore[method-assign]
            os.chdir(here)
    return bars(kept[0])


KINDS = {"turn": "#82b1ff", "attempt": "#5a7fb8", "request": "#8fd694", "wait": "#e5c07b", "tool": "#d7a6f5"}


def bars(recorded: trace.Trace) -> str:
    """Draw each span as a bar in time."""
    spans = list[tuple[int, trace.Span]]()

    def add(span: trace.Span, depth: int) -> None:
        spans.append((depth, span))
        for child in span.children:
            add(child, depth + 1)

    for root in recorded.roots:
        add(root, 0)
    first = min(span.started for _, span in spans)
    last = max(span.ended or span.started for _, span in spans)
    left, room, width = 300.0, 390.0, 760.0
    lines = list[str]()
    for number, (depth, span) in enumerate(spans):
        y = BAR + MARGIN + number * HEIGHT
        name = span.name if depth else f"{span.name}: {span.fields.get('question', '')}"
        start = left + (span.started - first) / (last - first) * room
        length = max(2.0, ((span.ended or last) - span.started) / (last - first) * room)
        took = f"{1000 * ((span.ended or last) - span.started):.0f} ms"
        fill, color = (FAINT if depth else FORE), KINDS.get(span.name, "#c3c8d2")
        lines += [
            f'<text x="{MARGIN + 14 * depth}" y="{y + 14}" fill="{fill}" font-size="12">'
            f"{escape(name)}</text>",
            f'<rect x="{start:.1f}" y="{y + 4}" width="{length:.1f}" height="11" rx="2" fill="{color}"/>',
            f'<text x="{width - MARGIN}" y="{y + 14}" fill="{FAINT}" font-size="12" text-anchor="end">'
            f"{took}</text>",
        ]
    height = len(spans) * HEIGHT + 2 * MARGIN + BAR
    return drawn(width, height, "a trace: each span as a bar in time", lines)


PICTURES: dict[str, Callable[[], str]] = {
    "demo": demo,
    "chat": chat,
    "one-call": partial(program, "one-call", "rivers.py"),
    "streaming": partial(program, "streaming", "rivers.py", pace=0.3, until="Danube"),
    "tools": partial(program, "tools", "coat.py"),
    "values": partial(program, "values", "river.py"),
    "budgets": partial(program, "budgets", "budget.py", columns=96),
    "branches": branches,
    "tests": tests,
    "waterfall": waterfall,
}


def main() -> None:
    if shutil.which("lutum", path=str(BIN)) is None:
        sys.exit("run it with the Python of an environment in which lutum is installed")
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        (FOLDER / f"{name}.svg").write_text(PICTURES[name](), encoding="utf-8")
        print(f"docs/pictures/{name}.svg")


if __name__ == "__main__":
    main()
