"""The `lutum` command. argparse, and nothing heavy before a subcommand is chosen."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = _parser().parse_args(argv)
    from lutum.cli import _demo  # after parsing: --help should not wait for an HTTP client

    return _demo.run_demo(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lutum", description="A streaming LLM toolkit in which your code owns the loop."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser(
        "demo",
        help="show what lutum does, in seconds; needs no key and no network",
        description="Runs turns, branches, a timeout, a cut stream, a budget and an exact replay against a"
        " wire server inside this process. With --provider, against the real API.",
    )
    demo.add_argument("--backend", choices=("trio", "asyncio"), default="trio", help="default: trio")
    demo.add_argument("--provider", choices=("wire", "claude"), default="wire", help="default: wire")
    demo.add_argument("--model", help="the model of a real provider; default: claude-sonnet-4-5")
    demo.add_argument("--replay-child", nargs=2, metavar=("URL", "FILE"), help=argparse.SUPPRESS)
    return parser
