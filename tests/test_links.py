"""No dead link: what README, the pages and their neighbours point to is there, the heading too.

`nox -s docs` checks links between pages as well; this finds them before a build, and those of the README.
Links that leave the repository are not followed.
"""

import re
import string
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
PAGES = [*BESIDE, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^()\s]*(?:\([^()\s]*\))?)\)")


def prose(page: Path) -> Iterator[str]:
    """The lines of a page outside its fences."""
    fenced = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line


def links(page: Path) -> list[str]:
    """Where a page points; what stands in code is no link."""
    text = re.sub(r"`+[^`]*`+", "`", "\n".join(prose(page)))
    return LINK.findall(text)


def anchors(page: Path) -> set[str]:
    """The ids of a page's headings, as Python-Markdown and GitHub make them of plain words."""
    found = set[str]()
    for line in prose(page):
        if not re.match(r"#{1,6} ", line):
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#"))
        kept = "".join(c for c in words.lower() if c.isalnum() or c in "_- " or c in string.whitespace)
        slug = re.sub(r"[-\s]+", "-", kept.strip())
        found.add(next(id for n in count() if (id := f"{slug}_{n}" if n else slug) not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead_in_links(page: Path) -> None:
    """Each relative link names a file that is there, and a heading that the file has."""
    dead = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            dead.append(link)
        elif anchor and anchor not in anchors(target):
            dead.append(f"{link}: no such heading")
        elif ROOT / "docs" in page.parents and ROOT / "docs" not in target.resolve().parents:
            dead.append(f"{link}: is not in the built pages")
    assert dead == []


def test_every_page_can_be_reached() -> None:
    """A page stands in the navigation; what the navigation names is there."""
    named = re.findall(r"- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    docs = ROOT / "docs"
    assert sorted(named) == sorted(str(page.relative_to(docs)) for page in docs.rglob("*.md"))


def test_links_are_found(tmp_path: Path) -> None:
    """What the tests above rest on: links, and headings of awkward words."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One & two\n## `collect_with`\n## A [link](x.md#y)\n## One & two\n"
        "[a](b.md) `[c](d.md)` [`e`](#f)\n```text\n[g](h)\n```\n"
    )
    assert links(page) == ["x.md#y", "b.md", "#f"]
    assert anchors(page) == {"one-two", "collect_with", "a-link", "one-two_1"}
