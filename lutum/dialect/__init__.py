"""Shared parts of HTTP adapters, for authors of adapters. Provisional until 1.0: names may change.

json       read and write JSON without losing digits or bytes
usage      a provider's usage report to `Usage`, with its label
affinity   a key that routes requests with one prefix to one server
answer     read a body as events of a stream, or as the JSON or HTML that arrived instead
stream     the base class of decoders of event streams
errors     convert error bodies and statuses to `ProviderError`
finish     convert finish reasons to lutum's words
retry      the waiting time that a server requires, in each of its forms
surrogates join or replace halves of surrogate pairs in JSON
logprobs   token ids and log probabilities of an answer
ids        ids of calls that a provider accepts
headers    check the headers that a user adds
tokens     estimate tokens of text, JSON, images and documents
prefix     find the first difference between an earlier request and a later one that should only add to it
replay     whether a turn was made by this adapter in this scope
schema     a strict schema in the provider's dialect
options    provider options of adapters and turns, and the hooks that choose them

`lutum.transport.HttpAdapter` is the base class that does the I/O; `lutum.abc` has the interfaces. The package
`lutum_gemini` uses only these names. No module here does I/O or reads a clock.
"""

from lutum.dialect import (
    affinity as affinity,
    answer as answer,
    errors as errors,
    finish as finish,
    headers as headers,
    ids as ids,
    json as json,
    logprobs as logprobs,
    options as options,
    prefix as prefix,
    replay as replay,
    retry as retry,
    schema as schema,
    stream as stream,
    surrogates as surrogates,
    tokens as tokens,
    usage as usage,
)

__all__ = [
    "affinity",
    "answer",
    "errors",
    "finish",
    "headers",
    "ids",
    "json",
    "logprobs",
    "options",
    "prefix",
    "replay",
    "retry",
    "schema",
    "stream",
    "surrogates",
    "tokens",
    "usage",
]
