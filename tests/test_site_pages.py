"""Pages that scripts write are up to date, and the pictures show what the pages say."""

import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from example_files import files
from test_examples import PRINTS

ROOT = Path(__file__).parents[1]
LADDER = sorted((ROOT / "docs" / "ladder").glob("*.md"))
SITE_PAGES: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))


def test_written_pages_are_up_to_date() -> None:
    """`python scripts/site_pages.py` writes them; a new example needs `--examples`."""
    made = SITE_PAGES["pages"]()
    assert set((ROOT / "docs" / "examples").glob("*.md")) <= set(made)
    for file, text in made.items():
        assert file.read_text("utf-8") == text, f"run scripts/site_pages.py: {file.name}"


def test_every_example_is_on_a_page() -> None:
    """With its source and, where it has one, its output."""
    listed = [name for names in SITE_PAGES["sections"]().values() for name in names]
    assert sorted(set(listed)) == sorted(listed)
    assert files().keys() <= set(listed)


def test_outputs_of_examples_are_those_of_the_tests() -> None:
    """Each output has what the example's test expects, in that order. `--examples` writes them again."""
    outputs = dict[str, str]()
    for title in SITE_PAGES["sections"]():
        outputs |= SITE_PAGES["recorded"](ROOT / "docs" / "examples" / f"{SITE_PAGES['slug'](title)}.md")
    assert PRINTS.keys() <= outputs.keys()
    for name in PRINTS.keys() - SITE_PAGES["TYPED"].keys() - {"extract_many"}:  # see there
        place = 0
        for piece in PRINTS[name].split("..."):
            found = outputs[name].find(piece.strip(), place)
            assert found >= 0, f"{name}: {piece!r}"
            place = found + len(piece.strip())


def picture(page: Path) -> tuple[str, Path]:
    """The alternative text and the file of a page's picture, which stands right behind the title."""
    found = re.match(r"# .+\n\n!\[([^\]]+)\]\(([^)]+\.svg)\)\n", page.read_text("utf-8"))
    assert found, f"{page.name} does not begin with a picture"
    return found[1], (page.parent / found[2]).resolve()


def words(file: Path) -> list[str]:
    """The texts of a picture, from top to bottom."""
    return [node.text or "" for node in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("page", LADDER, ids=lambda page: page.stem)
def test_a_page_of_the_ladder_begins_with_its_picture(page: Path) -> None:
    """The picture shows the output that the page says; `python scripts/pictures.py` makes it again."""
    alternative, file = picture(page)
    assert len(alternative) > 15
    shown = " ".join(" ".join(words(file)).split())
    printed = re.findall(r"```text\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    for line in (line for text in printed for line in text.splitlines() if page.stem not in PARTS):
        assert " ".join(line.split()) in shown, f"{file.name}: {line}"
    for words_there in PARTS.get(page.stem, ()):
        assert words_there in shown


PARTS = {
    "install": ["lutum demo", "1. A turn, as it streams", "2. Three branches of one session, in a nursery"],
    "streaming": ["The Nile, the Danube"],
    "conversation": ["Name three rivers.", "The Nile, the Danube and the Mekong.", "The Nile: 6,650 km."],
    "branches": ["sqlite:chats.db: 3 branches", "invitation", "formal (from item 2)", "short (from item 2)"],
    "budgets": ["Not sent: the budget refuses:"],
    "tests": ["test_translate[asyncio]", "test_translate[trio]", "4 passed"],
    "production": ["question: Name three rivers.", "turn", "request"],
}
"""What a picture shows where it is not the printed text of the page."""


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs" / "pictures").glob("*.svg")), ids=lambda file: file.stem
)
def test_pictures_are_plain(file: Path) -> None:
    """A picture has a title, and no script, link or place of the machine that made it."""
    root = ElementTree.parse(file).getroot()
    kinds = {node.tag.partition("}")[2] for node in root.iter()}
    assert kinds <= {"svg", "title", "rect", "circle", "text"}
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert not re.search(r"/tmp/|/home/|/root/|/work/", file.read_text("utf-8"))
