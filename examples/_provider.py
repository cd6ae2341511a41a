"""The provider of an example: a wire server in memory that plays `REPLIES`, or with `--provider` a real one.

An example is an `async def main(llm)`; copy this function, and build the `Lutum` as the README does.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx

import lutum
from lutum.abc import Adapter
from lutum.testing.wire import Script, WireServer
from lutum_claude import ClaudeAdapter

Replies = Iterable[Script] | Callable[..., Any] | WireServer


def offline(replies: Replies, model: str = "claude-sonnet-4-5") -> ClaudeAdapter:
    """Return an adapter whose provider is scripted, in this process, without a socket."""
    server = replies if isinstance(replies, WireServer) else WireServer(replies)
    client = httpx.AsyncClient(transport=server.transport())
    return ClaudeAdapter(model=model, base_url=server.url, api_key="none is needed", http_client=client)


def boundary(adapter: Adapter) -> lutum.Lutum:
    """Return a `Lutum` with a ledger. It has prices, for limits in dollars, if genai-prices is installed."""
    try:
        pricing = lutum.Pricing.from_genai_prices()
    except lutum.UsageError:
        pricing = None
    return lutum.Lutum(adapter, budget=lutum.Budget(tokens=10_000_000), pricing=pricing)


MODELS = {
    "claude": "claude-sonnet-4-5",
    "gemini": "gemini-3.8-flash",
    "openai": "gpt-5.5",
    "chat": "gpt-5.5",
    "openai-chat": "gpt-5.5",
    "openrouter": "anthropic/claude-sonnet-4.5",
}
"""The model of each provider that `--provider` without `--model` uses."""


def run(main: Callable[[lutum.Lutum], Awaitable[None]], replies: Replies, backend: str = "trio") -> None:
    """Run an example from the command line."""
    parser = argparse.ArgumentParser(description=main.__globals__["__doc__"])
    parser.add_argument(
        "--provider", help=f"one of {', '.join(MODELS)}; its key is read from the environment"
    )
    parser.add_argument("--model", help="a model of that provider")
    parser.add_argument("--base-url", help="the URL of another server with that provider's protocol")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default=backend)
    args = parser.parse_args()
    model = args.model or MODELS.get(args.provider or "claude")
    if model is None:
        parser.error(f"--provider {args.provider} needs --model")

    async def go() -> None:
        if args.provider:
            made = lutum.adapter(f"{args.provider}:{model}", base_url=args.base_url)
        else:
            made = offline(replies)
        async with made as adapter:
            await main(boundary(adapter))

    try:
        lutum.run(go, backend=args.backend)
    except EOFError:  # Ctrl-D while an example reads a line
        print()
