"""`python -m sqlite_agent FOLDER`: the terminal; `--eval`: the evaluation."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points
from pathlib import Path

import httpx

import lutum
from lutum.testing.wire import WireServer
from lutum_claude import ClaudeAdapter

from .evaluation import evaluate
from .scripted import answer, make_shop
from .terminal import Terminal


def offline() -> ClaudeAdapter:
    """Return an adapter whose provider is the stand-in, in this process."""
    server = WireServer(answer)
    client = httpx.AsyncClient(transport=server.transport())
    return ClaudeAdapter("claude-sonnet-4-5", base_url=server.url, api_key="none", http_client=client)


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit code, which is 1 if a case of the evaluation failed."""
    adapters = {point.name: point for point in entry_points(group="lutum.adapters")}
    parser = argparse.ArgumentParser(prog="sqlite_agent", description=sys.modules[__package__ or ""].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", nargs="?", type=Path, default=Path("shop"), help="a folder of *.db files")
    parser.add_argument(
        "--provider", choices=sorted(adapters), help="a real provider; its key is read from the environment"
    )
    parser.add_argument("--model", default="claude-sonnet-4-5")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--eval", action="store_true", help="run the cases, and keep the results in --into")
    parser.add_argument("--judge", action="store_true", help="let the model judge its answers, too")
    parser.add_argument("--into", type=Path, help="the folder of the run")
    args = parser.parse_args(argv)

    async def go() -> int:
        made = adapters[args.provider].load()(model=args.model) if args.provider else offline()
        async with made as adapter:
            llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=500_000))
            if args.eval:
                return 0 if await evaluate(llm, args.into, judged=args.judge) else 1
            make_shop(args.folder)
            await Terminal(llm, args.folder).run()
            return 0

    return lutum.run(go, backend=args.backend)


if __name__ == "__main__":
    sys.exit(main())
