"""docs/command-line.md says what the parsers say."""

import importlib.util
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent.parent / "scripts" / "command_line_page.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("command_line_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_of_today() -> None:
    """Run `python scripts/command_line_page.py` after a change of the parsers."""
    page = script()
    text = page.PAGE.read_text()
    assert page.BEGIN in text
    assert page.page(text) == text


def test_every_option_is_there() -> None:
    page = script()
    text = page.reference()
    for name, parser in page.commands().items():
        assert f"### lutum {name}\n" in text
        for action in parser._actions:
            for option in action.option_strings:
                assert f"`{option}`" in text
