"""The `lutum` command. argparse, and nothing heavy before a subcommand is chosen."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

DEFAULT_MODEL = "claude-sonnet-4-5"
_MODELS = {"wire-openai": "gpt-5.5", "wire-openai-chat": "gpt-5.5"}

_DEMO = """\
Runs a conversation from end to end, over real HTTP, and shows it as it streams:

  1. a turn with thinking           committed only when you say so
  2. three branches of one session  at the same time, in a nursery
  3. a turn that takes too long     the socket is closed, what came is kept
  4. a stream cut in the middle     an error, never half an answer
  5. a budget that refuses          before a byte is sent
  6. dump, and load elsewhere       a second process makes the same request

The provider is a wire server inside this process: no key, no network, no cost.
It speaks Claude's Messages; with --provider wire-openai OpenAI's Responses, with
--provider wire-openai-chat Chat Completions.
With --provider claude it is the real API, at its prices (a few cents), without
scene 4; the key is read from ANTHROPIC_API_KEY.
"""
_EXAMPLES = """\
examples:
  lutum demo
  lutum demo --backend asyncio
  lutum demo --provider wire-openai
  ANTHROPIC_API_KEY=... lutum demo --provider claude --model claude-sonnet-4-5

It is in colour on a terminal, unless NO_COLOR is set, with the branches side by
side from 100 columns on; elsewhere plain text. The exit code is 0 when all went
as described, 1 when something did not, 2 for wrong arguments, 130 after Ctrl-C.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal wrote ^C
        return 130  # 128 + SIGINT, as shells say it
    except BrokenPipeError:
        # Whoever read has left. Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE


def _main(argv: Sequence[str] | None) -> int:
    parser, demo = _parsers()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    if args.model is not None and args.provider != "claude":
        demo.error("--model is for --provider claude: the wire server has no models")
    from lutum.cli import _demo  # after parsing: --help should not wait for an HTTP client

    return _demo.run_demo(
        args.backend, args.provider, args.model or _MODELS.get(args.provider, DEFAULT_MODEL)
    )


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="lutum",
        description="A streaming LLM toolkit in which your code owns the loop.",
        epilog="Start with `lutum demo`: it needs no key and no network.",
    )
    parser.add_argument("--version", action="version", version=f"lutum {installed_version()}")
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    demo = commands.add_parser(
        "demo",
        help="show in seconds what lutum does; needs no key and no network",
        description=_DEMO,
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    demo.add_argument(
        "--backend",
        choices=("trio", "asyncio"),
        default="trio",
        help="the event loop (default: trio)",
    )
    demo.add_argument(
        "--provider",
        choices=("wire", "wire-openai", "wire-openai-chat", "claude"),
        default="wire",
        help="wire, a server inside this process (default), in one of three protocols, or the real claude",
    )
    demo.add_argument("--model", help=f"a model of the real provider (default: {DEFAULT_MODEL})")
    return parser, demo


def installed_version() -> str:
    """The version of the installed package."""
    try:
        return version("lutum")
    except PackageNotFoundError:
        return "(not installed)"
