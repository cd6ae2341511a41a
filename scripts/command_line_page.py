"""Write the reference part of docs/command-line.md from the parsers.

python scripts/command_line_page.py
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from lutum.cli import _parsers
from lutum.cli._exit_codes import MEANINGS

PAGE = Path(__file__).parent.parent / "docs" / "command-line.md"
BEGIN = "<!-- What follows is written by scripts/command_line_page.py from the parsers. -->"
END = "<!-- Here ends what is written by the script. -->"


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command, by name and in order."""
    for action in _parsers.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no commands")


def reference() -> str:
    """Return usage, options and examples of all commands as Markdown."""
    lines = ["## Reference", ""]
    for name, parser in commands().items():
        lines += [f"### lutum {name}", "", *_described(parser)]
    lines += ["### Exit codes of `lutum ask`", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    lines += ["", "The other commands use 0, 1, 2, 130 and 141 of these.", ""]
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the text of the page with the reference of today between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _described(parser: argparse.ArgumentParser) -> list[str]:
    lines = ["```sh", _usage(parser), "```", ""]
    if parser.description:
        lines += ["```", parser.description.rstrip("\n"), "```", ""]
    lines += ["| argument | meaning |", "|---|---|"]
    lines += [_row(action) for action in parser._actions if action.help != argparse.SUPPRESS]
    lines.append("")
    for title, block in _blocks(parser.epilog or ""):
        if title == "examples":
            lines += ["```sh", *block, "```", ""]
    return lines


def _usage(parser: argparse.ArgumentParser) -> str:
    return f"lutum {parser.prog.split()[-1]} --help"


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = action.metavar or (action.dest if not action.option_strings else None)
    if action.nargs == 0:
        value = None
    elif value is None and action.choices is not None:
        value = "|".join(map(str, action.choices))
    shown = f"{names} `{value}`" if names and value else names or f"`{value}`"
    meaning = (action.help or "one of " + ", ".join(map(str, action.choices or ()))) % {"prog": "lutum"}
    return f"| {shown.replace('|', chr(92) + '|')} | {meaning.replace('|', chr(92) + '|')} |"


def _blocks(epilog: str) -> list[tuple[str, list[str]]]:
    """Return the titled blocks of an epilog, each without its indent."""
    found = list[tuple[str, list[str]]]()
    for line in epilog.split("\n"):
        if re.fullmatch(r"[a-z ]+:", line):
            found.append((line[:-1], []))
        elif found and line.startswith("  "):
            found[-1][1].append(line[2:])
    return found


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
