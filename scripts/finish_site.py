"""Finish the built pages: the API reference comes first in the search, and llms.txt lists the pages.

zensical build --strict --clean && python scripts/finish_site.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"
HEAD = """\
# lutum

> A streaming LLM toolkit for Python in which your code owns the loop, on trio and on asyncio.

Python 3.11 or later. The pages of the ladder teach one idea each. The API reference has one page a module.
Links are relative to this file.
"""


def ordered(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the search's entries with functions and classes first.

    The search orders equal matches as the entries are ordered.
    """
    return sorted(items, key=lambda item: not is_name(item))


def is_name(item: dict[str, Any]) -> bool:
    """Return whether an entry is a function, a class or a module of the API reference."""
    page, _, anchor = str(item["location"]).partition("#")
    return page.startswith("reference/") and "." in anchor


def undecorated(item: dict[str, Any]) -> dict[str, Any]:
    """Return an entry whose title is the name alone, without labels such as `property`."""
    if not is_name(item):
        return item
    return {**item, "title": re.sub(r"\s*<small>.*", "", str(item["title"]))}


def llms(config: str) -> str:
    """Return llms.txt: the pages of the navigation, with their headings."""
    lines, nav = [HEAD], config[config.index("\nnav:\n") :]
    for title, name in re.findall(r"^  - ([A-Z][\w ]+):$|- ([\w/-]+\.md)$", nav, re.MULTILINE):
        if title:
            lines.append(f"\n## {title}\n\n")
            continue
        text = (ROOT / "docs" / name).read_text("utf-8")
        if included := re.match(r'--8<-- "(.+)"', text):
            text = (ROOT / included[1]).read_text("utf-8")
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        heading, *rest = re.findall(r"^##? (.+)$", prose, re.MULTILINE)
        about = f": {', '.join(rest[:12]).replace('`', '')}" if rest else ""
        place = name.removesuffix("index.md").removesuffix(".md")
        lines.append(f"- [{heading}]({place.rstrip('/') + '/' if place else './'}){about}\n")
    return "".join(lines)


def main() -> None:
    index = SITE / "search.json"
    found: dict[str, Any] = json.loads(index.read_text("utf-8"))
    found["items"] = ordered([undecorated(item) for item in found["items"]])
    index.write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    (SITE / "llms.txt").write_text(llms((ROOT / "mkdocs.yml").read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
