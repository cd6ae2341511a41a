"""`lutum trace FILE`: shows a trace as text in the terminal's width, or writes it as a page."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from lutum import trace
from lutum._values.errors import BadValue
from lutum.cli._report import report
from lutum.cli._terminal import has_escapes


def run_trace(file: str, html: str | None) -> int:
    """Show the trace. Return 1 if it cannot be read or the page cannot be written."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        found = trace.load(data)
        if html is not None:
            found.to_html(html, title="Trace" if file == "-" else Path(file).stem)
            return 0
    except (OSError, BadValue) as exc:
        report("trace", exc)
        return 1
    escapes = has_escapes(sys.stdout.isatty(), os.environ, sys.platform)
    color = escapes and not os.environ.get("NO_COLOR")
    text = found.render(shutil.get_terminal_size().columns, color=color)
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
    return 0
