"""Token ids and log probabilities of a turn, as its server sent them. Frozen values.

A prompt begins with the ids of the turn before it, so a turn keeps only the new ids of its prompt. A
conversation of any length stores each id once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import msgspec
from msgspec import Struct


class TokenChoice(Struct, frozen=True, gc=False, omit_defaults=True):
    """A token that could have been sampled. `id` is missing (None) if the server sends texts only."""

    logprob: float
    text: str = ""
    id: int | None = None


class Tokens(Struct, frozen=True, gc=False, omit_defaults=True):
    """The tokens of one turn. They are never part of a request.

    Attributes:
      ids: the sampled ids.
      logprobs: the log probability of each sampled token. Some servers leave out the token that ends the
        answer, so there may be fewer than ids.
      texts: the text of each sampled token with a log probability.
      top: the most likely tokens at each place, if the request wanted them.
      prompt: the ids of the prompt after its first `shared` ids; None if the server does not send them.
      shared: how many ids at the beginning of the prompt are those of the turn before it: the ids of that
        turn's prompt, then its sampled ids.
      parent: a digest of those common ids.
      missing: how many sampled ids the server did not send, by its own count of output tokens.
    """

    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    top: tuple[tuple[TokenChoice, ...], ...] = ()
    prompt: tuple[int, ...] | None = None
    shared: int = 0
    parent: str = ""
    missing: int = 0

    def __repr__(self) -> str:
        prompt = "no prompt" if self.prompt is None else f"a prompt of {self.shared} + {len(self.prompt)}"
        return f"<Tokens: {len(self.ids)} ids, {len(self.logprobs)} log probabilities, {prompt}>"


def whole_prompt(tokens: Tokens, before: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return all ids of a prompt. `before` has the prompt's ids and the sampled ids of the turn before it.

    Return None if the server did not send the ids, or if `before` does not begin with the shared ids.
    """
    if tokens.prompt is None or not tokens.shared:
        return tokens.prompt
    common = before[: tokens.shared]
    if len(common) < tokens.shared or _digest(common) != tokens.parent:
        return None
    return common + tokens.prompt


def ids_before(turns: Iterable[Tokens | None]) -> tuple[int, ...]:
    """Return prompt and sampled ids of the last turn that has both."""
    ids: tuple[int, ...] = ()
    for tokens in turns:
        if tokens is not None and tokens.ids and tokens.prompt is not None:
            ids = (whole_prompt(tokens, ids) or ()) + tokens.ids
    return ids


def shortened(tokens: Tokens, before: tuple[int, ...]) -> Tokens:
    """Return tokens that keep only the new ids of their prompt."""
    prompt = tokens.prompt
    if prompt is None or tokens.shared or not tokens.ids:
        return tokens
    count = min(len(prompt), len(before))
    if prompt[:count] != before[:count]:
        count = next(i for i in range(count) if prompt[i] != before[i])
    if not count:
        return tokens
    return msgspec.structs.replace(
        tokens, prompt=prompt[count:], shared=count, parent=_digest(prompt[:count])
    )


def with_whole_prompt(tokens: Tokens, before: tuple[int, ...]) -> Tokens:
    """Return tokens with their whole prompt, so that they depend on no other turn.

    If the whole prompt is not known, return them unchanged.
    """
    prompt = whole_prompt(tokens, before)
    if prompt is None or not tokens.shared:
        return tokens
    return msgspec.structs.replace(tokens, prompt=prompt, shared=0, parent="")


def _digest(ids: tuple[int, ...]) -> str:
    return blake2b(array("Q", ids).tobytes(), digest_size=8).hexdigest()
