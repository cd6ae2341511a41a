"""HTML pages that load nothing: their data as JSON, one style sheet and one script.

Text from a model, a tool or a provider is treated as data. In this text, `<` is escaped and control
characters are removed, and the script inserts it as text, never as HTML. The content security policy forbids
network access and allows only the inline style sheet and the inline script, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from lutum._text import printable

_FRAME: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src '{script_digest}'; style-src '{style_digest}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{sums}
</header>
<main>
{main}
<aside id="details" aria-labelledby="details-title" hidden>
<div class="bar"><h2 id="details-title" tabindex="-1"></h2>
<button id="close" type="button">Close</button></div>
<div id="details-body"></div>
</aside>
<noscript><p>This page needs JavaScript. Without it, use <code>{command}</code>.</p></noscript>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def html_page(package: str, title: str, sums: str, main: str, data: object, *, command: str) -> str:
    """Return a page as text.

    Args:
      package: the package whose folder `_page` has `page.css` and `page.js`.
      title: the title, as plain text.
      sums: HTML of the figures below the title.
      main: HTML of the sections.
      data: the data that the script shows, as anything that msgspec encodes.
      command: the command that shows the same without JavaScript.
    """
    style, script = _part(package, "page.css"), _part(package, "page.js")
    return _FRAME.format(
        title=html.escape(one_line(title)),
        sums=sums,
        main=main,
        style=style,
        style_digest=_digest(style),
        script=script,
        script_digest=_digest(script),
        data=_embedded(data),
        command=command,
    )


def one_line(text: str) -> str:
    """Return the text without control characters and line ends."""
    return printable(text).replace("\n", " ")


def shortened(text: str, longest: int) -> str:
    """Return the text without control characters, cut after `longest` characters with a note of the rest."""
    shown = printable(text)
    more = len(shown) - longest
    return shown if more <= 0 else f"{shown[:longest]}\u2026 ({more:,} characters more)"


@cache
def _part(package: str, name: str) -> str:
    return files(package).joinpath("_page", name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(data: object) -> str:
    """Return JSON in which an HTML parser finds neither an end tag nor a comment."""
    text = msgspec.json.encode(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
