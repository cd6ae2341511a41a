"""The API reference has every public name once, on the page of its module."""

import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
DOCUMENTED = {
    page.stem: re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE)
    for page in FOLDER.glob("*.md")
    if page.stem != "index"
}
MODULES = [
    "lutum",
    "lutum.dialect",
    "lutum.eval",
    "lutum.mcp",
    "lutum.sse",
    "lutum.store",
    "lutum.testing.wire",
    "lutum.trace",
    "lutum.transport",
    "lutum_claude",
    "lutum_gemini",
    "lutum_openai",
    "lutum_openai.chat",
    "lutum_openai.responses",
    "lutum_openrouter",
]
# Names of `lutum` with a page of their own: the adapters' on the page of their package, and its modules.
ELSEWHERE = re.compile(r"(Aws|Claude|Gemini|OpenAI|OpenRouter)\w+|[a-z]+")


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_there(module: str) -> None:
    """A new public name gets a line `::: module.name` on the page of its module."""
    documented = {name for names in DOCUMENTED.values() for name in names}
    exported = importlib.import_module(module)
    missing = [name for name in exported.__all__ if f"{module}.{name}" not in documented]
    if module == "lutum":
        elsewhere = {name for name in missing if ELSEWHERE.fullmatch(name)}
        known = {name.rpartition(".")[2] for name in documented}
        pages = {page.removeprefix("lutum-").partition("-")[0] for page in DOCUMENTED}
        missing = [name for name in missing if name not in elsewhere or name not in known | pages]
    assert missing == []


@pytest.mark.parametrize("page", sorted(DOCUMENTED))
def test_every_documented_name_exists(page: str) -> None:
    """Each name is there, public, and on one page only."""
    assert len(DOCUMENTED[page]) == len(set(DOCUMENTED[page]))
    for name in DOCUMENTED[page]:
        module, _, member = name.rpartition(".")
        assert not member.startswith("_")
        assert hasattr(importlib.import_module(module), member), name
        assert [other for other, names in DOCUMENTED.items() if name in names] == [page]
