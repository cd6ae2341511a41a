"""Whom an example asks: a wire server in memory that plays its `REPLIES`, or with `--provider` a real one.

An example is an `async def main(llm)`; copy that, and build the `Lutum` as the README does.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

import httpx

import lutum
from lutum.abc import Adapter
from lutum.testing.wire import Script, WireServer
from lutum_claude import ClaudeAdapter

Replies = Iterable[Script] | Callable[..., Any] | WireServer


def offline(replies: Replies, model: str = "claude-sonnet-4-5") -> ClaudeAdapter:
    """An adapter whose provider is scripted, in this process, without a socket."""
    server = replies if isinstance(replies, WireServer) else WireServer(replies)
    client = httpx.AsyncClient(transport=server.transport())
    return ClaudeAdapter(model=model, base_url=server.url, api_key="none is needed", http_client=client)


def boundary(adapter: Adapter) -> lutum.Lutum:
    """A `Lutum` with a ledger and prices, so that an example can set limits in US dollars."""
    budget = lutum.Budget(tokens=10_000_000)
    return lutum.Lutum(adapter, budget=budget, pricing=lutum.Pricing.from_genai_prices())


def run(main: Callable[[lutum.Lutum], Awaitable[None]], replies: Replies, backend: str = "trio") -> None:
    """Run an example from the command line."""
    adapters = {point.name: point for point in entry_points(group="lutum.adapters")}
    parser = argparse.ArgumentParser(description=main.__globals__["__doc__"])
    parser.add_argument("--provider", choices=sorted(adapters), help="ask it; its key is in the environment")
    parser.add_argument("--model", default="claude-sonnet-4-5")
    parser.add_argument("--base-url", help="of a server that speaks that provider's protocol")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default=backend)
    args = parser.parse_args()

    async def go() -> None:
        made = offline(replies)
        if args.provider:
            where = {"base_url": args.base_url} if args.base_url else {}
            made = adapters[args.provider].load()(model=args.model, **where)
        async with made as adapter:
            await main(boundary(adapter))

    lutum.run(go, backend=args.backend)
