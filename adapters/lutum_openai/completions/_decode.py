"""Decode one response's bytes to events. No I/O, no clock, no tasks.

A completion is complete in two cases:

- A `finish_reason` was received, and then `[DONE]`, or the response ended without `[DONE]`.
- The usage of the whole answer was received, and then `[DONE]`. Some servers do not send a reason.

The usage is in a last chunk without choices or in another chunk, or it is missing. An answer that is one JSON
body is read too.
"""

from __future__ import annotations

from typing import final

import msgspec
from msgspec import Raw, Struct

from lutum import (
    CommittedTurn,
    Completed,
    Estimate,
    Event,
    ProviderEvent,
    Response,
    TextDelta,
    TextItem,
    TokenChoice,
)
from lutum.dialect.finish import FinishTable
from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_array,
    decode_object,
    encode,
    is_null,
    starts_with,
    string,
)
from lutum.dialect.logprobs import SampledTokens
from lutum.dialect.usage import UsageReports, count
from lutum_openai._chunks import NOTHING, ChunkDecoder
from lutum_openai._usage import read_timings, read_usage
from lutum_openai.completions._encode import NAME, NO_REPLAY

FINISH = FinishTable()
"""The table for the values of `finish_reason`. `lutum.dialect.finish.FINISH` contains all of them, so this
table adds none."""

_SILENT = frozenset({"id", "object", "created", "model", "choices", "usage", "error", "obfuscation"})


class _Choice(Struct):
    """One choice of a chunk."""

    text: Raw = Raw()
    index: Raw = Raw()
    finish_reason: Raw = Raw()
    logprobs: Raw = Raw()
    token_ids: Raw = Raw()  # vLLM, under `return_token_ids`
    prompt_token_ids: Raw = Raw()


class _Logprobs(Struct):
    """Log probabilities as this API writes them: lists of equal lengths."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float] | None] | None = None


_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode
_decode_choices = msgspec.json.Decoder(list[_Choice] | None).decode


@final
class CompletionsDecoder(ChunkDecoder):
    """Decodes one stream. Data after `[DONE]` is ignored.

    Args:
      response: the head of the answer.
      model: the requested model, used if the stream does not name a model.
      scope: the scope of the committed turn.
      estimate: used as the input tokens if the server never reports them.
    """

    def __init__(self, response: Response, *, model: str, scope: str, estimate: Estimate) -> None:
        reports = UsageReports(estimate)
        super().__init__(response, model=model, scope=scope, usage=reports, finish=FINISH)
        self._pieces = list[str]()
        self._tokens = SampledTokens()
        self._seen = dict[str, bytes]()

    def _choices(self, data: bytes, members: dict[str, Raw], out: list[Event]) -> None:
        choices = members.get("choices", Raw(b"null"))
        read = _decode_choices(choices) or ()
        if read:
            self._start(members, out)
        for key, raw in members.items():
            if key not in _SILENT and (value := copied(raw)) not in (*NOTHING, self._seen.get(key)):
                self._seen[key] = value
                out.append(ProviderEvent(key, value))
        for at, choice in enumerate(read):
            if number := count(choice.index):
                other = decode_array(choices)[at]
                out.append(ProviderEvent(f"choice.{number}", copied(other)))
                continue
            if text := string(choice.text):
                self._pieces.append(text)
                out.append(TextDelta(text))
            elif bytes(choice.text) not in NOTHING:
                self._fail(data, "the text is not a string")
            if bytes(choice.logprobs) not in NOTHING:
                out.append(ProviderEvent("logprobs", copied(choice.logprobs)))
                _add_logprobs(self._tokens, choice.logprobs)
            self._tokens.add_ids(choice.token_ids)
            self._tokens.take_prompt(choice.prompt_token_ids)
            if reason := string(choice.finish_reason):
                self._take_reason(reason, data)
        usage, timings = members.get("usage"), members.get("timings")
        reported = timings if usage is None or is_null(usage) else usage
        if reported is not None:
            found = read_timings(reported) if reported is timings else read_usage(reported)
            final = bool(self._finish) or (not read and self._started)
            self._usage.take(found, copied(reported), out, counted=len(self._pieces), final=final)

    def _complete(self, out: list[Event]) -> None:
        self._done = True
        text = "".join(self._pieces)
        usage = self._usage.settle(len(self._pieces))
        turn = CommittedTurn(
            adapter=NAME,
            scope=self._scope,
            model=self._model,
            wire=encode({"text": text, "finish_reason": self._finish}),
            items=(TextItem(text),) if text else (),
            inexact_reason=NO_REPLAY,
            tokens=self._tokens.finish(usage),
        )
        out.append(Completed(self._finish, usage, turn))


def _add_logprobs(tokens: SampledTokens, value: Raw) -> None:
    """Take log probabilities. Malformed ones are dropped and do not end the turn."""
    if starts_with(value, b"{") and "content" in (members := decode_object(value)):
        tokens.add_entries(members["content"])  # llama.cpp writes them as Chat Completions does
        return
    try:
        found = _decode_logprobs(value)
    except FAULTS:
        tokens.drop_logprobs()
        return
    tops = found.top_logprobs or [None] * len(found.tokens)
    for text, logprob, top in zip(found.tokens, found.token_logprobs, tops, strict=False):
        others = (TokenChoice(other, name) for name, other in (top or {}).items())
        tokens.add(TokenChoice(logprob, text), others)
