"""Token ids of a server with random weights: rows hold what the model read and wrote."""

from typing import Any

import httpx
import msgspec
import pytest
from peers.servers import Server, Servers, installed

import lutum
from lutum import CommittedTurn
from lutum.rollout import rows
from lutum_openai import OpenAIChatAdapter, OpenAICompletionsAdapter, OpenAIOptions

ALL = 400  # more than the vocabulary has


@pytest.fixture
def server(servers: Servers) -> Server:
    """llama.cpp's own server."""
    return installed("llamacpp", servers)


async def ask(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def prompt_of(client: httpx.AsyncClient, body: bytes) -> tuple[int, ...]:
    """The ids that the server makes of the messages of a request."""
    messages = msgspec.json.decode(body)["messages"]
    text = (await ask(client, "/apply-template", messages=messages))["prompt"]
    found = await ask(client, "/tokenize", content=text, add_special=True, parse_special=True)
    return tuple(found["tokens"])


async def logprob(client: httpx.AsyncClient, before: list[int], id: int) -> float:
    """The log probability that the model gives an id behind other ids."""
    found = await ask(client, "/completion", prompt=before, n_predict=1, n_probs=ALL, temperature=1.0)
    [place] = found["completion_probabilities"]
    return {one["id"]: one["logprob"] for one in place["top_logprobs"]}[id]


async def test_rows_are_what_the_model_read_and_wrote(server: Server) -> None:
    """Asked about each sampled id behind the ids before it in its row, the model gives its probability."""
    options = OpenAIOptions(top_logprobs=0)
    root = server.url.removesuffix("/v1")
    async with (
        OpenAIChatAdapter(server.model, base_url=server.url) as adapter,
        httpx.AsyncClient(base_url=root, timeout=60) as client,
    ):
        session = lutum.Session(lutum.Lutum(adapter))
        for question in ("One?", "Two?"):
            session.push_user(question)
            turn = session.text_turn().max_output_tokens(6).ext(options)
            prompt = await prompt_of(client, turn.preview().body)
            result = await turn.collect()
            tokens = result.turn.tokens
            assert tokens is not None
            assert len(tokens.ids) == len(tokens.logprobs) == result.usage.output_tokens
            assert len(prompt) == result.usage.input_tokens
            assert (await ask(client, "/detokenize", tokens=tokens.ids))["content"] == result.text
            assert "".join(tokens.texts) == result.text
            # This server does not send the ids of the prompt with the answer.
            known = msgspec.structs.replace(tokens, prompt=prompt)
            session.push_turn(msgspec.structs.replace(result.turn, tokens=known))
        loaded = lutum.Transcript.load(session.transcript.dump())
        made = rows(loaded, broken="split")
        turns = [item for item in loaded if isinstance(item, CommittedTurn)]
        assert sum(sum(row.mask) for row in made) == sum(len(t.tokens.ids) for t in turns if t.tokens) == 12
        for row in made:
            assert row.logprobs is not None
            for i, sampled in enumerate(row.mask):
                if sampled:
                    expected = await logprob(client, row.ids[:i], row.ids[i])
                    assert row.logprobs[i] == pytest.approx(expected, abs=1e-2)


async def test_peers_tokens_completions(server: Server) -> None:
    """The same entries in a completion."""
    async with OpenAICompletionsAdapter(server.model, base_url=server.url) as adapter:
        llm = lutum.Lutum(adapter)
        given = OpenAIOptions(extra_body={"logprobs": 1})
        result = await llm.completion("Hello").max_output_tokens(5).ext(given).collect()
        tokens = result.tokens
        assert tokens is not None
        assert len(tokens.ids) == 5
        assert "".join(tokens.texts) == result.text
