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


def ordered(items: list[dict[str, Any]], pages: list[str]) -> list[dict[str, Any]]:
    """Return the search's entries with functions and classes first, then members, else in the order of pages.

    The search orders equal matches as the entries are ordered.
    """
    places = {page: number for number, page in enumerate(pages)}

    def rank(item: dict[str, Any]) -> tuple[bool, bool, int]:
        return (
            not is_name(item),
            is_name(item) and item["level"] > 3,
            places.get(str(item["location"]).partition("#")[0], len(places)),
        )

    return sorted(items, key=rank)


def place_of(name: str) -> str:
    """Return where a page is built, such as `ladder/tools/`."""
    place = name.removesuffix("index.md").removesuffix(".md")
    return f"{place.rstrip('/')}/" if place else ""


def is_name(item: dict[str, Any]) -> bool:
    """Return whether an entry is a function, a class or a module of the API reference."""
    page, _, anchor = str(item["location"]).partition("#")
    return page.startswith("reference/") and "." in anchor


def named(item: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of a name with the name alone as its title, and as the end of its path.

    The search ranks an entry by the number of its fields that match. A page about budgets would come before
    the class `Budget`, because its path ends in its title; so the paths change sides.
    """
    if not is_name(item):
        last = item["path"][-1:]
        return {**item, "path": item["path"][:-1]} if last == [item["title"]] and item["level"] == 1 else item
    title = re.sub(r"\s*<small>.*", "", str(item["title"]))
    return {**item, "title": title, "path": [*item["path"], title]}


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
        lines.append(f"- [{heading}]({place_of(name) or './'}){about}\n")
    return "".join(lines)


def main() -> None:
    index, config = SITE / "search.json", (ROOT / "mkdocs.yml").read_text("utf-8")
    found: dict[str, Any] = json.loads(index.read_text("utf-8"))
    pages = [place_of(name) for name in re.findall(r"- ([\w/-]+\.md)$", config, re.MULTILINE)]
    found["items"] = ordered([named(item) for item in found["items"]], pages)
    index.write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    (SITE / "llms.txt").write_text(llms(config), encoding="utf-8")


if __name__ == "__main__":
    main()
