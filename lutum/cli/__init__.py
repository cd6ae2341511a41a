"""The command line: `main` runs `lutum`."""

from lutum.cli._main import main as main

__all__ = ["main"]
