"""Token ids and log probabilities of an answer, collected while the answer is received.

This data is only informative. If some of it cannot be read, it is left out and nothing is raised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import msgspec
from msgspec import Raw, Struct

from lutum._values.results import TokenChoice, Tokens, Usage
from lutum.dialect.json import FAULTS, is_null

__all__ = ["SampledTokens"]

_PREFIX = "token_id:"


class _TopEntry(Struct, gc=False):
    logprob: float
    token: str = ""
    id: int | None = None


class _LogprobEntry(Struct, gc=False):
    """One token in OpenAI's format. llama.cpp adds the member `id`, the id of the token."""

    logprob: float
    token: str = ""
    id: int | None = None
    top_logprobs: list[_TopEntry] | None = None


_decode_entries = msgspec.json.Decoder(list[_LogprobEntry] | None).decode
_decode_ids = msgspec.json.Decoder(list[int] | None).decode


@final
class SampledTokens:
    """The tokens of one answer. If a part of a list cannot be read, the whole list is left out."""

    __slots__ = ("_entries", "_ids", "_prompt")

    def __init__(self) -> None:
        self._ids: list[int] | None = []
        self._prompt: list[int] | None = None
        self._entries: list[tuple[TokenChoice, tuple[TokenChoice, ...]]] | None = []

    def add_ids(self, value: Raw | bytes) -> None:
        """Add some of the sampled ids: a JSON array of integers. Null and b"" add nothing."""
        if is_null(value):
            return
        found = _ids(value)
        self._ids = None if found is None or self._ids is None else self._ids + found

    def take_prompt(self, value: Raw | bytes) -> None:
        """Set the ids of the prompt: a JSON array of integers."""
        if not is_null(value):
            self._prompt = _ids(value) or self._prompt

    def add_entries(self, value: Raw | bytes) -> None:
        """Add tokens in OpenAI's format: `[{"token", "logprob", "top_logprobs", ...}]`."""
        if is_null(value):
            return
        try:
            found = _decode_entries(value) or []
        except FAULTS:
            self._entries = None
            return
        for entry in found:
            top = entry.top_logprobs or ()
            self.add(
                TokenChoice(entry.logprob, entry.token, entry.id),
                (TokenChoice(other.logprob, other.token, other.id) for other in top),
            )

    def add(self, chosen: TokenChoice, top: Iterable[TokenChoice] = ()) -> None:
        """Add a sampled token and the most likely tokens at its position."""
        if self._entries is not None:
            self._entries.append((_with_id(chosen), tuple(map(_with_id, top))))

    def drop_logprobs(self) -> None:
        """Leave out all log probabilities, because some of them cannot be read."""
        self._entries = None

    def finish(self, usage: Usage) -> Tokens | None:
        """Return the received ids and log probabilities, or None if there are none.

        If the server bills more tokens than the number of ids that it sent, the difference is in `missing`.
        For example, vLLM leaves ids out of a stream with tool calls (vllm#27482).
        """
        ids, entries = tuple(self._ids or ()), self._entries or []
        if not ids and all(chosen.id is not None for chosen, _ in entries):
            ids = tuple(chosen.id for chosen, _ in entries if chosen.id is not None)
        if not ids and not entries:
            return None
        has_text = any(chosen.text for chosen, _ in entries)
        has_top = any(top for _, top in entries)
        return Tokens(
            ids,
            tuple(chosen.logprob for chosen, _ in entries),
            tuple(chosen.text for chosen, _ in entries) if has_text else (),
            tuple(top for _, top in entries) if has_top else (),
            None if self._prompt is None else tuple(self._prompt),
            missing=max(0, usage.output_tokens - len(ids)) if ids and usage.known == "exact" else 0,
        )


def _ids(value: Raw | bytes) -> list[int] | None:
    try:
        found = _decode_ids(value)
    except FAULTS:
        return None
    return None if found is None or any(not 0 <= id < 2**63 for id in found) else found


def _with_id(token: TokenChoice) -> TokenChoice:
    """Return a token with its id. With `return_tokens_as_token_ids`, vLLM sends the id in place of the
    text."""
    if token.id is None and token.text.startswith(_PREFIX):
        number = token.text.removeprefix(_PREFIX)
        if number.isascii() and number.isdigit() and len(number) < 19:
            return TokenChoice(token.logprob, "", int(number))
    return token
