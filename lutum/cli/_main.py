"""The `lutum` command. It imports argparse, and nothing heavy before a subcommand is chosen."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from lutum.cli import _parsers


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # ends the line on which the terminal wrote ^C
        return 130  # 128 + SIGINT, as in shells
    except BrokenPipeError:
        # The reader has closed the pipe. Python flushes standard output again at exit, which would fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE


def _main(argv: Sequence[str] | None) -> int:
    # Each command reports its errors; log lines would repeat them.
    logging.getLogger("lutum").addHandler(logging.NullHandler())
    parser = _parsers.parser()
    args = parser.parse_args(argv)
    # Each command is imported only when it is chosen: --help should not wait for an HTTP client.
    match args.command:
        case "demo":
            return _run_demo(args, parser)
        case "ask" | "chat" | "smoke":
            return _run_at_an_endpoint(args, parser)
        case "show":
            from lutum.cli import _show

            return _show.run_show(args.file, branch=args.branch, raw=args.raw)
        case "trace":
            from lutum.cli import _trace

            return _trace.run_trace(args.file, args.html)
        case "eval":
            from lutum.cli import _eval

            asked = {name: value for name, value in vars(args).items() if name not in ("command", "version")}
            return _eval.run_eval(_eval.EvalCommand(**asked))
        case "budget":
            from lutum.cli import _budget

            given = {
                name: value for name, value in vars(args).items() if name != "command" and value is not None
            }
            return _budget.run_budget(_budget.BudgetCommand(**given))
        case "completion":
            from lutum.cli import _completion

            return _completion.run_completion(args.shell)
        case _:
            parser.print_help(sys.stderr)
            return 2


def _run_demo(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.model is not None and args.provider != "claude":
        parser.error("--model needs --provider claude, because the wire server has no models")
    from lutum.cli import _demo

    return _demo.run_demo(args.backend, args.provider, args.model or _parsers.MODELS[args.provider])


def _run_at_an_endpoint(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.command == "chat" and args.store and args.session:
        parser.error("--store and --session cannot be used together; give one of them")
    if args.command in ("ask", "chat") and args.branch and not args.store:
        parser.error("--branch needs --store")
    if args.command == "smoke" and not args.provider and not args.model:
        parser.error("-m PROVIDER:MODEL or --provider is needed")
    from lutum.cli._endpoint import endpoint_or_report

    endpoint = endpoint_or_report(args, parser.error)
    if endpoint is None:
        return 2
    given = {name: value for name, value in vars(args).items() if name not in _OF_ENDPOINT}
    if args.command == "ask":
        from lutum.cli import _ask

        return _ask.run_ask(_ask.AskCommand(endpoint=endpoint, **given))
    if args.command == "chat":
        from lutum.cli import _chat

        return _chat.run_chat(_chat.ChatCommand(endpoint=endpoint, **given))
    from lutum.cli import _smoke

    return _smoke.run_smoke(
        endpoint, only=args.only or (), as_json=args.json, dump=args.dump, strict=args.strict
    )


_OF_ENDPOINT = ("command", "provider", "model", "base_url", "version")
