"""`lutum completion`: the script for a shell's Tab key, written by shtab from the parser.

We use shtab because its script is static. argcomplete would start the program at every Tab.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import cast

from lutum import UsageError
from lutum.cli import _parsers
from lutum.cli._report import report


def run_completion(shell: str) -> int:
    """Print the script and return the exit code."""
    try:
        import shtab
    except ImportError:
        report(
            "completion",
            UsageError(
                "shtab is not installed: pip install 'lutum[completion]' (in a clone: '.[completion]')"
            ),
        )
        return 1
    parser = _parsers.parser()
    for action in _actions(parser):
        if action.metavar in ("FILE", "OUT"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            commands = cast("argparse._SubParsersAction[argparse.ArgumentParser]", action)
            for inner in commands.choices.values():
                yield from _actions(inner)
