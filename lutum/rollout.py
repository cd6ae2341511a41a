"""Rows of token ids for trainers, made from a conversation. Its server must send token ids.

    for row in lutum.rollout.rows(session.transcript, reward=1.0):
        trainer.add(row.ids, row.mask, row.logprobs, row.reward)

A row holds the exact ids that the model read and wrote. Nothing is tokenized again.
"""

from __future__ import annotations

import math
from typing import Literal, final

from msgspec import Struct

from lutum._values.check import check_number, describe
from lutum._values.committed import CommittedTurn
from lutum._values.errors import BadValue, BrokenPrefix
from lutum._values.tokens import Tokens, whole_prompt
from lutum._values.transcript import Transcript

__all__ = ["Row", "rows"]


class Row(Struct, frozen=True):
    """One sequence for a trainer. Its lists have equal lengths.

    Attributes:
      ids: the token ids: of the prompt, then of turns and of the text between them.
      mask: 1 for ids that the model sampled, 0 for all others.
      logprobs: log probabilities of the sampled ids, 0.0 for all others. None if any sampled id of the row
        has no log probability.
      reward: the reward that was given to `rows`.
      items: the turns in this row, as indices in the transcript.
    """

    ids: list[int]
    mask: list[int]
    logprobs: list[float] | None
    reward: float | None
    items: tuple[int, ...]


@final
class _Open:
    """A row that grows by a turn at a time."""

    def __init__(self) -> None:
        self.ids = list[int]()
        self.mask = list[int]()
        self.logprobs: list[float] | None = []
        self.items = list[int]()

    def add(self, index: int, tokens: Tokens, prompt: tuple[int, ...]) -> None:
        count = len(tokens.ids)
        self.ids += [*prompt, *tokens.ids]
        self.mask += [0] * len(prompt) + [1] * count
        if self.logprobs is not None and len(tokens.logprobs) == count:
            self.logprobs += [0.0] * len(prompt) + list(tokens.logprobs)
        else:
            self.logprobs = None
        self.items.append(index)

    def row(self, reward: float | None) -> Row:
        return Row(self.ids, self.mask, self.logprobs, reward, tuple(self.items))


def rows(
    transcript: Transcript, *, reward: float | None = None, broken: Literal["raise", "split"] = "raise"
) -> list[Row]:
    """Return the token ids of a conversation, as one row if each prompt continues the turn before it.

    A prompt continues a turn if it begins with the ids of that turn's prompt and its sampled ids. It does not
    if the chat template changes earlier text, for example by leaving out reasoning. It also does not if the
    server made other ids of the same text.

    Args:
      transcript: the conversation.
      reward: the reward of each row.
      broken: the reaction to a prompt that does not continue the turn before it. `"raise"` raises
        BrokenPrefix. `"split"` begins a new row with the whole prompt; a turn without token ids is then only
        a part of later prompts.

    Raises:
      BrokenPrefix: with `"raise"`, a prompt does not continue the turn before it, or a turn has no token ids.
        With both, an id of a turn or of its prompt is unknown. The error has the index of the turn.
      BadValue: `transcript` is not a Transcript, `reward` is not a number, or `broken` is neither word.
    """
    if not isinstance(transcript, Transcript):
        raise BadValue("transcript", f"needs a Transcript, not {describe(transcript)}")
    if broken not in ("raise", "split"):
        raise BadValue("broken", f"{broken!r} is neither 'raise' nor 'split'")
    if reward is not None:
        check_number("reward", reward, -math.inf)
    made, before = list[_Open](), tuple[int, ...]()
    for index, item in enumerate(transcript):
        if not isinstance(item, CommittedTurn):
            continue
        tokens = item.tokens
        if tokens is None or not tokens.ids:
            if broken == "raise":
                raise BrokenPrefix(_NO_IDS.format(index), index=index)
            continue
        prompt = _prompt(index, tokens, before)
        if made and prompt[: len(before)] == before:
            made[-1].add(index, tokens, prompt[len(before) :])
        elif made and broken == "raise":
            same = next(
                (i for i, (a, b) in enumerate(zip(prompt, before, strict=False)) if a != b), len(prompt)
            )
            raise BrokenPrefix(
                f"item {index}: the prompt of the turn has {same} ids in common with the {len(before)} before"
                " it; broken='split' begins a new row there",
                index=index,
            )
        else:
            made.append(_Open())
            made[-1].add(index, tokens, prompt)
        before = prompt + tokens.ids
    return [one.row(reward) for one in made]


_NO_IDS = "item {}: the turn has no token ids; ask the server for them, such as vLLM with return_token_ids"


def _prompt(index: int, tokens: Tokens, before: tuple[int, ...]) -> tuple[int, ...]:
    """Return the whole prompt of a turn. Raises BrokenPrefix if an id of the prompt or turn is unknown."""
    count = len(tokens.ids)
    if tokens.missing:
        raise BrokenPrefix(
            f"item {index}: the server sent {count} of {count + tokens.missing} token ids", index=index
        )
    if tokens.prompt is None:
        raise BrokenPrefix(f"item {index}: the server did not send the token ids of the prompt", index=index)
    prompt = whole_prompt(tokens, before)
    if prompt is None:
        raise BrokenPrefix(
            f"item {index}: the first {tokens.shared} token ids of its prompt are those of a turn that is not"
            " in this transcript",
            index=index,
        )
    return prompt
