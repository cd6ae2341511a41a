"""`lutum.adapter`: an adapter by name, such as `"claude:claude-sonnet-4-5"`, found by entry point."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from types import TracebackType
from typing import Any, Protocol, Self

from lutum._values.errors import BadValue
from lutum.abc import Adapter

GROUP = "lutum.adapters"
"""The entry-point group; each entry is a class that takes `model` and the keywords of `adapter`."""


class NamedAdapter(Adapter, Protocol):
    """An adapter that is closed when its block ends: `async with lutum.adapter(...) as claude`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def providers() -> dict[str, EntryPoint]:
    """Return the entry points of the installed adapters, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name)}


def split_name(name: str) -> tuple[str, str, str | None]:
    """Return provider, model and base URL of `provider:model` or `provider:model@base_url`.

    The first `@http` separates model and URL, because names of models may contain `@` too.

    Raises:
      BadValue: the provider or the model is missing.
    """
    if not isinstance(name, str):
        raise BadValue(
            "adapter", f"takes a str such as 'claude:claude-sonnet-4-5', not {type(name).__name__}"
        )
    provider, colon, rest = name.partition(":")
    if not colon or not provider.strip() or not rest.strip():
        raise BadValue(
            "adapter", f"{name!r} is not of the form 'provider:model' or 'provider:model@base_url'"
        )
    at = rest.find("@http")
    model, url = (rest, None) if at < 0 else (rest[:at], rest[at + 1 :])
    if not model.strip():
        raise BadValue("adapter", f"{name!r} has no model before its URL")
    return provider, model, url


def adapter(
    name: str,
    *,
    api_key: Any = None,
    base_url: str | None = None,
    http_client: Any = None,
    options: Any = None,
) -> NamedAdapter:
    """Return an adapter by name. Nothing is sent or opened; it is an async context manager.

    Args:
      name: `"provider:model"`, such as `"claude:claude-sonnet-4-5"`, or `"provider:model@base_url"`, such as
        `"chat:llama3@http://localhost:11434/v1"`.
      api_key: the key, in any form that the adapter's constructor accepts. If it is not given, the provider's
        environment variable is read.
      base_url: the endpoint, if `name` does not contain it.
      http_client: an `httpx.AsyncClient` to use.
      options: the provider's options, such as `lutum.ClaudeOptions(...)`, as defaults.

    Raises:
      BadValue: the provider is unknown (the message has similar names), the endpoint is given twice, or the
        adapter's constructor refuses a value.
    """
    provider, model, url = split_name(name)
    if url is not None and base_url is not None:
        raise BadValue("base_url", f"{base_url!r} is given, and {name!r} has one too; keep one of them")
    known = providers()
    if provider not in known:
        raise BadValue("adapter", f"there is no provider {provider!r}; {_hint(provider, list(known))}")
    given = {"api_key": api_key, "base_url": url or base_url, "http_client": http_client, "options": options}
    make = known[provider].load()
    found: NamedAdapter = make(model, **{key: value for key, value in given.items() if value is not None})
    return found


def _hint(provider: str, known: list[str]) -> str:
    near = difflib.get_close_matches(provider.lower(), known, 3, 0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    installed = ", ".join(known)
    return f"{installed} are installed; for an OpenAI-compatible server write 'chat:model@base_url'"
