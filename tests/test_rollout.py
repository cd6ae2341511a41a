"""Token ids and log probabilities: what decoders keep, and the rows that are made of them."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from gemini import gemini_wire
from hypothesis import given, strategies as st
from openai_chat import chat_wire
from openai_completions import test_completions as completions
from openai_responses import responses_wire

import lutum
from lutum import BrokenPrefix, CommittedTurn, Session, TextItem, TokenChoice, Tokens, Transcript
from lutum.rollout import Row, rows
from lutum.testing import Script, ScriptedAdapter

# What decoders keep.


def chat(*choices: dict[str, Any], usage: int = 3, **head: Any) -> Tokens | None:
    """The tokens of a stream with these choices; `head` are members of its first chunk."""
    whole = {"id": "x", "model": "m"}
    data = b""
    for i, choice in enumerate(choices):
        choice = {"index": 0, "delta": {"content": "a"}} | choice
        data += b"data: %b\n\n" % msgspec.json.encode(
            whole | {"choices": [choice]} | (head if i == 0 else {})
        )
    figures = {"prompt_tokens": 3, "completion_tokens": usage, "total_tokens": 3 + usage}
    data += chat_wire.chunk({}, "stop") + chat_wire.chunk(usage=figures) + chat_wire.DONE
    turn = chat_wire.completed(chat_wire.decode(data)).turn
    assert turn.exact
    assert json.loads(turn.wire) == {"role": "assistant", "content": "a" * len(choices)}
    return turn.tokens


def test_token_ids_of_vllm() -> None:
    """Sampled ids are joined; those of the prompt stand in the first chunk, or in its choice at SGLang."""
    pieces = {"token_ids": [11]}, {"token_ids": [12, 13]}
    assert chat(*pieces, prompt_token_ids=[1, 2]) == Tokens((11, 12, 13), prompt=(1, 2))
    assert chat(pieces[0] | {"prompt_token_ids": [1, 2]}, pieces[1]) == Tokens((11, 12, 13), prompt=(1, 2))


def test_an_answer_without_tokens_has_none() -> None:
    """Nothing, null and empty lists are no tokens."""
    assert chat({}) is None
    assert chat({"token_ids": None, "logprobs": None}, {"token_ids": [], "logprobs": {"content": []}}) is None


def test_ids_that_the_server_did_not_send_are_counted() -> None:
    """vLLM leaves ids out of streams with calls; its count of output tokens shows it."""
    tokens = chat({"token_ids": [11]}, usage=4)
    assert tokens is not None
    assert tokens.missing == 3


ENTRY = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
OTHER = {"token": "He", "logprob": -1, "bytes": None}


def test_log_probabilities_of_chat() -> None:
    """Of OpenAI, with alternatives; of llama.cpp, with ids; of vLLM, whose texts may be ids."""
    assert chat({"logprobs": {"content": [ENTRY | {"top_logprobs": [ENTRY, OTHER]}], "refusal": None}}) == (
        Tokens((), (-0.5,), ("Hi",), ((TokenChoice(-0.5, "Hi"), TokenChoice(-1.0, "He")),))
    )
    with_id = {"logprobs": {"content": [ENTRY | {"id": 7, "top_logprobs": []}]}}
    assert chat(with_id, usage=1) == Tokens((7,), (-0.5,), ("Hi",))
    as_id = {"logprobs": {"content": [{"token": "token_id:42", "logprob": -0.5}]}}
    assert chat(as_id, usage=1) == Tokens((42,), (-0.5,))
    refused = {"logprobs": {"content": None, "refusal": [ENTRY]}}
    assert chat(refused) == Tokens((), (-0.5,), ("Hi",))


@pytest.mark.parametrize(
    "odd",
    [
        {"token_ids": "no"},
        {"token_ids": [1.5]},
        {"token_ids": [-1]},
        {"token_ids": [2**70]},
        {"token_ids": {"a": 1}},
        {"logprobs": 0.5},
        {"logprobs": {"content": [{"token": 1, "logprob": -0.5}]}},
        {"logprobs": {"content": [{"token": "a", "logprob": None}]}},
        {"logprobs": {"content": ["a"]}},
        {"prompt_token_ids": "no"},
    ],
)
def test_an_odd_piece_costs_its_list_and_no_answer(odd: dict[str, Any]) -> None:
    """A list with a hole would be read as a shorter one."""
    assert chat({}, odd) is None
    whole = {"token_ids": [11], "logprobs": {"content": [ENTRY]}}
    tokens = chat(whole, odd, prompt_token_ids=[1], usage=1)
    assert tokens is not None
    if "token_ids" in odd:
        assert tokens == Tokens((), (-0.5,), ("Hi",), prompt=(1,))
    elif isinstance(odd.get("logprobs"), dict):
        assert tokens == Tokens((11,), prompt=(1,))
    else:
        assert tokens == Tokens((11,), (-0.5,), ("Hi",), prompt=(1,))


def test_rollout_completions() -> None:
    """Lists of equal lengths, and the ids of vLLM in the choice."""
    listed = {
        "tokens": ["a", "b"],
        "token_logprobs": [-0.5, -1],
        "top_logprobs": [{"a": -0.5, "c": -2}, None],
    }
    top = ((TokenChoice(-0.5, "a"), TokenChoice(-2.0, "c")), ())
    whole = Tokens((5, 6), (-0.5, -1.0), ("a", "b"), top, (1,))
    for logprobs, expected in ((listed, whole), ({"tokens": [1]}, Tokens((5, 6), prompt=(1,)))):
        choice = {"text": "ab", "index": 0, "finish_reason": "stop", "logprobs": logprobs}
        choice |= {"token_ids": [5, 6], "prompt_token_ids": [1]}
        data = b"data: %b\n\ndata: [DONE]\n\n" % msgspec.json.encode({"id": "x", "choices": [choice]})
        assert completions.completed(completions.decode(data)).turn.tokens == expected


def test_log_probabilities_of_responses_do_not_go_back() -> None:
    """They are on the turn and in its wire; the next request has an empty list, which the API takes."""
    part = {
        "type": "output_text",
        "text": "Hi",
        "annotations": [],
        "logprobs": [ENTRY | {"top_logprobs": []}],
    }
    item = responses_wire.message(part)
    turn = responses_wire.finished(
        responses_wire.decode(responses_wire.sse(responses_wire.created(), responses_wire.completed(item)))
    ).turn
    assert turn.tokens == Tokens((), (-0.5,), ("Hi",))
    assert b"-0.5" in turn.wire
    sent = responses_wire.body(
        responses_wire.prepare(lutum.ModelInput().user("q").turn(turn).user("and?").transcript)
    )
    [back] = [one for one in sent["input"] if one.get("type") == "message" and one.get("id")]
    assert back["content"] == [part | {"logprobs": []}]


def test_log_probabilities_of_gemini() -> None:
    """A zero is left out by the API; tokens have ids, at Vertex AI at least."""
    result: dict[str, Any] = {
        "chosenCandidates": [
            {"token": "Hi", "tokenId": 9, "logProbability": -0.5},
            {"token": "!", "tokenId": 2},
        ],
        "topCandidates": [{"candidates": [{"token": "He", "logProbability": -1.5}]}, {"candidates": []}],
    }
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": "Hi!"}]},
        "finishReason": "STOP",
        "logprobsResult": result,
    }
    usage = {"promptTokenCount": 2, "candidatesTokenCount": 2, "totalTokenCount": 4}
    data = b"data: %b\r\n\r\n" % msgspec.json.encode({"candidates": [candidate], "usageMetadata": usage})
    done = gemini_wire.decode(data)[-1]
    assert isinstance(done, lutum.Completed)
    top = ((TokenChoice(-1.5, "He"),), ())
    assert done.turn.tokens == Tokens((9, 2), (-0.5, 0.0), ("Hi", "!"), top)
    candidate["logprobsResult"] = {"chosenCandidates": [3]}
    data = b"data: %b\r\n\r\n" % msgspec.json.encode({"candidates": [candidate], "usageMetadata": usage})
    done = gemini_wire.decode(data)[-1]
    assert isinstance(done, lutum.Completed)
    assert done.turn.tokens is None


def test_recorded_log_probabilities_of_gemini() -> None:
    """Each recorded answer with log probabilities has them on its turn, and they are its text."""
    found = 0
    for one in gemini_wire.recordings():
        body = one["json"]
        if body is None or "logprobsResult" not in json.dumps(body):
            continue
        [candidate] = body["candidates"]
        chosen = candidate["logprobsResult"].get("chosenCandidates")
        done = gemini_wire.decode(msgspec.json.encode(body))[-1]
        assert isinstance(done, lutum.Completed)
        if chosen is None:
            assert done.turn.tokens is None
            continue
        found += 1
        assert done.turn.tokens is not None
        assert "".join(done.turn.tokens.texts) == done.turn.text
    assert found >= 4


# Turns and rows.


def scripted(*turns: Tokens | None) -> Session:
    """A session whose answers have these tokens."""
    llm = lutum.Lutum(ScriptedAdapter([Script((str(i),), tokens=one) for i, one in enumerate(turns)]))
    return Session(llm)


async def talk(session: Session, turns: int) -> Transcript:
    for i in range(turns):
        session.push_user(f"question {i}")
        session.commit_text(await session.text_turn().collect())
    return session.transcript


def tokens_of(transcript: Transcript) -> list[Tokens | None]:
    return [item.tokens for item in transcript if isinstance(item, CommittedTurn)]


ONE = Tokens((4, 5), (-0.5, -0.25), prompt=(1, 2, 3))
TWO = Tokens((7,), (-1.0,), prompt=(1, 2, 3, 4, 5, 6))
CHANGED = Tokens((7,), (-1.0,), prompt=(1, 2, 9, 6))


async def test_a_prompt_is_kept_as_what_is_new_in_it() -> None:
    """And the transcript of any length gives one row, which a dump does not change."""
    transcript = await talk(scripted(ONE, TWO), 2)
    first, second = tokens_of(transcript)
    assert first == ONE
    assert second is not None
    assert (second.prompt, second.shared) == ((6,), 5)
    row = Row([1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 1, 1, 0, 1], [0, 0, 0, -0.5, -0.25, 0, -1.0], 0.5, (1, 3))
    assert rows(transcript, reward=0.5) == [row]
    loaded = Transcript.load(transcript.dump())
    assert loaded == transcript
    assert tokens_of(loaded) == tokens_of(transcript)
    assert rows(loaded, reward=0.5) == [row]


async def test_tokens_are_in_no_request() -> None:
    """The bytes of the next request are the same with and without them."""
    with_tokens, without = await talk(scripted(ONE), 1), await talk(scripted(None), 1)
    adapter = chat_wire.adapter()
    said = {"role": "assistant", "content": "Hi"}
    bodies = set[bytes]()
    for tokens in (None, ONE):
        turn = msgspec.structs.replace(chat_wire.turn(said), tokens=tokens)
        bodies.add(chat_wire.prepare(lutum.ModelInput().user("q").turn(turn).user("and?"), via=adapter).body)
    assert len(bodies) == 1
    assert with_tokens != without, "answers of other tokens are other items, so no store merges them"


async def test_a_prompt_that_changed() -> None:
    """`raise` names the item and where; `split` begins a new row with the whole prompt."""
    transcript = await talk(scripted(ONE, CHANGED), 2)
    with pytest.raises(BrokenPrefix, match=r"item 3: .* has 2 ids in common with the 5 before it") as caught:
        rows(transcript)
    assert caught.value.index == 3
    first, second = rows(transcript, broken="split")
    assert (first.ids, first.items) == ([1, 2, 3, 4, 5], (1,))
    assert (second.ids, second.mask, second.items) == ([1, 2, 9, 6, 7], [0, 0, 0, 0, 1], (3,))
    shared = tokens_of(transcript)[1]
    assert shared is not None
    assert (shared.shared, shared.prompt) == (2, (9, 6))


async def test_ids_that_are_not_known() -> None:
    """Each is named; a turn without ids is a part of the prompt behind it when rows are split."""
    transcript = await talk(scripted(ONE, None, TWO), 3)
    with pytest.raises(BrokenPrefix, match=r"item 3: the turn has no token ids; ask the server") as caught:
        rows(transcript)
    assert caught.value.index == 3
    assert [row.items for row in rows(transcript, broken="split")] == [(1, 5)]
    for broken in ("raise", "split"):
        with pytest.raises(
            BrokenPrefix, match=r"item 1: the server did not send the token ids of the prompt"
        ):
            rows(await talk(scripted(Tokens((1,))), 1), broken=broken)  # type: ignore[arg-type]  # of two words
        with pytest.raises(BrokenPrefix, match=r"item 1: the server sent 2 of 5 token ids"):
            missing = msgspec.structs.replace(ONE, missing=3)
            rows(await talk(scripted(missing), 1), broken=broken)  # type: ignore[arg-type]  # of two words


async def test_log_probabilities_that_do_not_cover_the_ids() -> None:
    """A row without a log probability for each sampled id has none, instead of a guess."""
    bare = Tokens((4, 5), (-0.5,), prompt=(1,))
    [row] = rows(await talk(scripted(bare), 1))
    assert (row.ids, row.mask, row.logprobs, row.reward) == ([1, 4, 5], [0, 1, 1], None, None)


async def test_slices_and_replaced_items_keep_their_prompts() -> None:
    """A turn whose parent goes away gets its whole prompt back, so rows can still be made."""
    transcript = await talk(scripted(ONE, TWO), 2)
    [row] = rows(transcript[2:])
    assert (row.ids, row.mask) == ([1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 0, 1])
    other = CommittedTurn("scripted", "scripted", "m", b"[]", (TextItem("other"),))
    replaced = transcript.replace(1, other)
    assert tokens_of(replaced)[1] == TWO
    # Pushed behind another conversation, it cannot know the parent.
    turn = transcript[3]
    assert isinstance(turn, CommittedTurn)
    pushed = Transcript([transcript[0]]).append(turn)
    with pytest.raises(BrokenPrefix, match=r"item 1: the first 5 token ids .* not in this transcript"):
        rows(pushed)


async def test_an_open_round_keeps_its_tokens() -> None:
    """Dumped and loaded in another process."""
    tools = lutum.Toolset(lutum.raw_tool("look", '{"type":"object"}'))
    call = lutum.ToolCallReady("1", "look", "{}")
    session = Session(lutum.Lutum(ScriptedAdapter([Script((call,), finish_reason="tool_calls", tokens=ONE)])))
    session.push_user("Look.")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    loaded = lutum.ToolRound.load(outcome.round.dump(), tools, base=session.transcript)
    assert loaded.turn.tokens == ONE


def test_no_turns_are_no_rows() -> None:
    """Nothing was sampled."""
    assert rows(Transcript()) == []


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("transcript", {"transcript": []}),
        ("broken", {"broken": "skip"}),
        ("reward", {"reward": "1"}),
        ("reward", {"reward": True}),
        ("reward", {"reward": math.nan}),
    ],
)
def test_rollout_bad_input(field: str, given: Any) -> None:
    """The error names the argument."""
    with pytest.raises(lutum.BadValue, match=field):
        rows(**({"transcript": Transcript()} | given))


ids = st.lists(st.integers(0, 50), max_size=5).map(tuple)


@given(st.lists(st.tuples(ids, ids.filter(bool), st.booleans()), min_size=1, max_size=5))
def test_rows_are_what_the_server_read_and_wrote(
    turns: list[tuple[tuple[int, ...], tuple[int, ...], bool]],
) -> None:
    """Whatever prompts share, each turn's ids stand behind its whole prompt in exactly one row."""
    from lutum._values.tokens import ids_before, shortened

    transcript, before, sent = (
        Transcript(),
        tuple[int, ...](),
        list[tuple[tuple[int, ...], tuple[int, ...]]](),
    )
    for new, sampled, continues in turns:
        prompt = before + new if continues else new
        sent.append((prompt, sampled))
        tokens = shortened(Tokens(sampled, prompt=prompt), ids_before(tokens_of(transcript)))
        transcript = transcript.append(
            CommittedTurn("scripted", "s", "m", b"[]", (TextItem("a"),), tokens=tokens)
        )
        before = prompt + sampled
    made = rows(Transcript.load(transcript.dump()), broken="split")
    assert sorted(index for row in made for index in row.items) == list(range(len(turns)))
    for row in made:
        last = row.items[-1]
        assert tuple(row.ids) == sum(sent[last], ())
        assert sum(row.mask) == sum(len(sent[index][1]) for index in row.items)
        assert len(row.ids) == len(row.mask)
