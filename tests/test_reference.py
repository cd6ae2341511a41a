"""The API reference has every public name once, on the page of its module."""

import importlib
import re
import runpy
from pathlib import Path

import pytest

from lutum._values import errors

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
DOCUMENTED = {
    page.stem: re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE)
    for page in FOLDER.glob("*.md")
    if page.stem != "index"
}
SITE_PAGES = runpy.run_path(str(FOLDER.parents[1] / "scripts" / "site_pages.py"))


@pytest.mark.parametrize("module", SITE_PAGES["MODULES"])
def test_every_public_name_is_there(module: str) -> None:
    """`python scripts/site_pages.py` adds a line for a new public name to the page of its module."""
    assert SITE_PAGES["missing"](module) == []


@pytest.mark.parametrize("page", sorted(DOCUMENTED))
def test_every_documented_name_exists(page: str) -> None:
    """Each name is there, public, and on one page only."""
    assert len(DOCUMENTED[page]) == len(set(DOCUMENTED[page]))
    for name in DOCUMENTED[page]:
        module, _, member = name.rpartition(".")
        assert not member.startswith("_")
        assert hasattr(importlib.import_module(module), member), name
        assert [other for other, names in DOCUMENTED.items() if name in names] == [page]


def test_the_tree_of_errors_is_that_of_the_module() -> None:
    assert errors.__doc__ is not None
    _, tree = errors.__doc__.split("\n\n", 1)
    assert f"```text\n{tree.rstrip()}\n```" in (FOLDER / "lutum.md").read_text("utf-8")
