"""The endpoint that arguments select: `-m provider:model`, or `--provider`, `--model` and `--base-url`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from lutum._adapter_by_name import split_name
from lutum._values.errors import BadValue
from lutum.cli import _parsers
from lutum.cli._connect import Endpoint
from lutum.cli._report import report

VARIABLE = "LUTUM_MODEL"
"""The environment variable with the model of `ask` and `chat`, as `provider:model`."""

FALLBACK = "claude"


def endpoint_of(args: argparse.Namespace, error: Callable[[str], None]) -> Endpoint:
    """Return the endpoint that the arguments name. Call `error` if a combination is not allowed.

    Raises:
      BadValue: the name is not `provider:model`.
    """
    provider: str | None = args.provider
    model: str | None = args.model
    if provider is None:
        named = model or os.environ.get(VARIABLE, "").strip()
        return named_endpoint(named or FALLBACK, args.base_url)
    if provider in _parsers.WIRE and (model or args.base_url):
        error(f"--provider {provider} is a test server without --model and --base-url; leave them out")
    if args.base_url and not model:
        error("--base-url needs --model, because lutum does not know the models of that server")
    if model is None and provider not in _parsers.MODELS:
        error(f"--provider {provider} needs --model")
    return Endpoint(provider, model or _parsers.MODELS[provider], args.base_url)


def endpoint_or_report(args: argparse.Namespace, error: Callable[[str], None]) -> Endpoint | None:
    """Like `endpoint_of`, but if the name is wrong, print the error on standard error and return None."""
    try:
        return endpoint_of(args, error)
    except BadValue as wrong:
        report(args.command, wrong)
        return None


def named_endpoint(name: str, base_url: str = "") -> Endpoint:
    """Return the endpoint of `provider:model`, `provider:model@url`, or a provider with its default model.

    Raises:
      BadValue: the name has none of these forms, or there are two URLs.
    """
    if name in _parsers.MODELS and not base_url:
        return Endpoint(name, _parsers.MODELS[name])
    provider, model, url = split_name(name)
    if url is not None and base_url:
        raise BadValue("--base-url", f"{base_url!r} is given, but {name!r} has a URL too; give only one")
    return Endpoint(provider, model, url or base_url)
