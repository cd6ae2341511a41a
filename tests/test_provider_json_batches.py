"""Batches from end to end against the wire server: submitted, polled, settled, committed, refused."""

import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import lutum
import lutum_claude
from lutum.testing.wire import Call, Cut, Reply, Say, Status, WireServer
from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, chat

CLAUDE = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
OPENAI = {"authorization": "Bearer key"}
GEMINI = {"x-goog-api-key": "key"}


def example() -> Any:
    path = Path(__file__).parents[1] / "examples" / "batch.py"
    spec = importlib.util.spec_from_file_location("batch_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BATCH = example()


@asynccontextmanager
async def client(server: WireServer, headers: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=server.transport(), base_url=server.url, headers=headers) as http:
        yield http


async def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Offline, over three providers, with everything settled as reported."""
    await BATCH.main()
    out = capsys.readouterr().out
    assert out.count("longest: The Nile.\nwidest: The Amazon.\n") == 3
    assert out.count("known='exact'") == 3


PROVIDERS = pytest.mark.parametrize(
    ("send", "adapter", "headers"),
    [
        (BATCH.claude, lambda url: ClaudeAdapter("claude-sonnet-4-5", api_key="key", base_url=url), CLAUDE),
        (BATCH.openai, lambda url: OpenAIAdapter("gpt-5", api_key="key", base_url=f"{url}/v1"), OPENAI),
        (BATCH.gemini, lambda url: GeminiAdapter("gemini-2.5-flash", api_key="key", base_url=url), GEMINI),
    ],
    ids=["claude", "openai", "gemini"],
)


@PROVIDERS
async def test_each_answer_is_settled_and_committed_where_it_belongs(
    send: Any, adapter: Any, headers: dict[str, str]
) -> None:
    """One that failed is settled at nothing; its session stands where it stood, and can ask again."""
    replies = [Reply(Say("The Nile.")), Status(500), Reply(Say("The Volga."))]
    server = WireServer(replies, api_key="key", batch_polls=3)
    budget = lutum.Budget(tokens=100_000)
    llm = lutum.Lutum(adapter(server.url), budget=budget)
    sessions = {id: lutum.Session(llm) for id in ("world", "asia", "europe")}
    for id, session in sessions.items():
        session.push_system("Be brief.")
        session.push_user(f"Which river is the longest of {id}?")
    before = sessions["asia"].transcript
    async with client(server, headers) as http:
        done = await BATCH.answer_all(llm, sessions, send, http, pause=0)
    assert set(done) == {"world", "europe"}
    assert sessions["world"].turns()[-1].text == "The Nile."
    assert sessions["europe"].turns()[-1].text == "The Volga."
    assert sessions["asia"].transcript is before
    spent = [result.usage for result in done.values()]
    assert budget.spent == sum(spent[1:], spent[0])
    assert budget.spent.known == "exact"
    assert budget.reserved.total_tokens == 0
    polls = [
        r for r in server.requests if r.method == "GET" and r.path.rpartition("/")[0].endswith("batches")
    ]
    assert len(polls) == 4


@PROVIDERS
async def test_a_wait_that_breaks_off_is_charged_as_reserved(
    send: Any, adapter: Any, headers: dict[str, str]
) -> None:
    """The batch runs on at the provider, so nothing of it is recorded as zero."""
    server = WireServer([], default=Reply(Say("The Nile.")))
    budget = lutum.Budget(tokens=100_000)
    llm = lutum.Lutum(adapter(server.url), budget=budget)
    session = lutum.Session(llm)
    session.push_user("Which river is the longest?")
    estimate = await session.text_turn().max_output_tokens(200).estimate()

    async def breaking(http: httpx.AsyncClient, turns: Any, pause: float) -> dict[str, bytes]:
        await send(http, turns, pause)
        raise KeyError

    async with client(server, headers) as http:
        with pytest.raises(KeyError):
            await BATCH.answer_all(llm, {"world": session}, breaking, http, pause=0)
    assert budget.spent.total_tokens == estimate.total_tokens
    assert budget.spent.known == "estimated"


async def test_a_round_of_a_batch_goes_on() -> None:
    """A call that came in a batch is answered as any other, and the next turn streams."""
    tools = lutum.Toolset(lutum.raw_tool("weather", {"type": "object"}))
    server = WireServer([Reply(Call("weather", {"at": "Paris"})), Reply(Say("Warm."))])
    async with client(server, CLAUDE) as http:
        adapter = ClaudeAdapter("claude-sonnet-4-5", api_key="key", base_url=server.url, http_client=http)
        session = lutum.Session(lutum.Lutum(adapter))
        session.push_user("What is the weather in Paris?")
        turn = session.text_turn().tools(tools)
        body = b'{"requests":[' + lutum_claude.batch_line(turn, "a") + b"]}"
        batch = (await http.post("/v1/messages/batches", content=body)).json()
        path = f"/v1/messages/batches/{batch['id']}"
        assert (await http.get(path)).json()["request_counts"]["processing"] == 1
        assert (await http.get(f"{path}/results")).status_code == 404
        ended = (await http.get(path)).json()
        line = json.loads((await http.get(ended["results_url"])).content)
        outcome = lutum.result_from_body(json.dumps(line["result"]["message"]), turn)
        assert isinstance(outcome, lutum.NeedsTools)
        session.commit_round(outcome.round, [call.complete("Warm.") for call in outcome.round.calls])
        finished = await session.text_turn().tools(tools).collect()
        assert isinstance(finished, lutum.Finished)
        assert finished.result.text == "Warm."


async def test_chat_batches_and_their_error_file() -> None:
    """What failed stands in the error file; what was never answered, in it without a response."""
    server = WireServer([Reply(Say("The Nile.")), Status(429), Reply(Say("x"), Cut())], batch_polls=0)
    adapter = OpenAIChatAdapter("gpt-4o", api_key="key", base_url=f"{server.url}/v1")
    turn = lutum.Lutum(adapter).text_turn("Go.")
    file = b"\n".join(chat.batch_line(turn, id) for id in "abc")
    async with client(server, OPENAI) as http:
        batch = await submit(http, file, "/v1/chat/completions")
        output, error = [await content(http, batch[f"{name}_file_id"]) for name in ("output", "error")]
    assert batch["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [line["custom_id"] for line in output] == ["a"]
    assert lutum.result_from_body(json.dumps(output[0]["response"]["body"]), turn).text == "The Nile."
    assert error[0]["response"]["status_code"] == 429
    with pytest.raises(lutum.ProviderError):
        lutum.result_from_body(json.dumps(error[0]["response"]["body"]), turn)
    assert error[1]["response"] is None
    assert error[1]["error"]["code"] == "batch_expired"


async def submit(http: httpx.AsyncClient, file: bytes, endpoint: str) -> dict[str, Any]:
    upload = await http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("b.jsonl", file)})
    asked = {"input_file_id": upload.json()["id"], "endpoint": endpoint, "completion_window": "24h"}
    made = (await http.post("/v1/batches", json=asked)).json()
    return dict((await http.get(f"/v1/batches/{made['id']}")).json())


async def content(http: httpx.AsyncClient, id: str) -> list[Any]:
    return [json.loads(line) for line in (await http.get(f"/v1/files/{id}/content")).content.splitlines()]


GOOD: dict[str, Any] = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {}}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{"], "parseable"),
        ([{"custom_id": "a"}], "must contain"),
        ([GOOD | {"url": "/v1/chat/completions"}], "endpoint"),
        ([GOOD, GOOD], "duplicate"),
        ([GOOD | {"body": {"stream": True}}], "Streaming"),
        ([""], "empty"),
    ],
)
async def test_the_wire_server_refuses_what_openai_would(lines: list[Any], problem: str) -> None:
    """The batch fails, and says which line; nothing of it is answered."""
    server = WireServer([])
    file = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    async with client(server, OPENAI) as http:
        batch = await submit(http, file.encode(), "/v1/responses")
    assert batch["status"] == "failed"
    assert problem in batch["errors"]["data"][0]["message"]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([], "Field required"),
        ([{"custom_id": "a"}], "must contain custom_id and params"),
        ([{"custom_id": "a b", "params": {}}], "pattern"),
        ([{"custom_id": "a", "params": {}}] * 2, "not unique"),
        ([{"custom_id": "a", "params": {"stream": True}}], "Streaming"),
    ],
)
async def test_the_wire_server_refuses_what_claude_would(entries: list[Any], problem: str) -> None:
    """Before anything is answered."""
    async with client(WireServer([]), CLAUDE) as http:
        refused = await http.post("/v1/messages/batches", json={"requests": entries})
        assert refused.status_code == 400
        assert problem in refused.json()["error"]["message"]
        assert (await http.get("/v1/messages/batches/none")).status_code == 404


async def test_the_wire_server_knows_its_files_and_its_key() -> None:
    """What is not there is a 404, without the key nothing is."""
    async with client(WireServer([], api_key="key"), OPENAI) as http:
        assert (await http.get("/v1/files/none/content")).status_code == 404
        assert (await http.get("/v1/batches/none")).status_code == 404
        assert (await http.post("/v1/files", data={"purpose": "batch"}, files={})).status_code == 400
        none = {"input_file_id": "none", "endpoint": "/v1/responses", "completion_window": "24h"}
        assert (await http.post("/v1/batches", json=none)).status_code == 400
        assert (await http.post("/v1/batches", json=none | {"endpoint": "/v1/x"})).status_code == 400
        assert (await http.delete("/v1/batches")).status_code == 405
        anonymous = {"authorization": ""}
        assert (await http.get("/v1/batches/none", headers=anonymous)).status_code == 401
        assert (await http.get("/v1/messages/batches/none", headers=anonymous)).status_code == 401


async def test_geminis_entries_and_errors() -> None:
    """Entries in the request keep their metadata; a failed one has a status; cancelling works."""
    server = WireServer([Reply(Say("The Nile.")), Status(429), Reply(Say("x"), Cut())], batch_polls=1)
    contents = {"contents": [{"role": "user", "parts": [{"text": "Which river?"}]}]}
    entries = [{"request": contents, "metadata": {"key": id}} for id in "abc"]
    asked = {"batch": {"input_config": {"requests": {"requests": entries}}}}
    path = "/v1beta/models/gemini-2.5-flash:batchGenerateContent"
    async with client(server, GEMINI) as http:
        batch = (await http.post(path, json=asked)).json()
        assert batch["metadata"]["state"] == "BATCH_STATE_PENDING"
        running = (await http.get(f"/v1beta/{batch['name']}")).json()
        assert "done" not in running
        ended = (await http.get(f"/v1beta/{batch['name']}")).json()
        stats = {"requestCount": "3", "successfulRequestCount": "1", "failedRequestCount": "2"}
        assert ended["metadata"]["batchStats"] == stats
        lines = ended["response"]["inlinedResponses"]["inlinedResponses"]
        assert [line["metadata"]["key"] for line in lines] == ["a", "b", "c"]
        parts = lines[0]["response"]["candidates"][0]["content"]["parts"]
        assert "".join(part["text"] for part in parts) == "The Nile."
        assert lines[1]["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert lines[2]["error"]["code"] == 4
        await http.post(f"/v1beta/{batch['name']}:cancel")
        cancelled = (await http.get(f"/v1beta/{batch['name']}")).json()
        assert cancelled["metadata"]["state"] == "BATCH_STATE_CANCELLED"
        assert "response" not in cancelled


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1beta/models/m:batchGenerateContent", {}, 400),
        ("POST", "/v1beta/models/m:batchGenerateContent", {"batch": {"inputConfig": {"requests": {}}}}, 400),
        (
            "POST",
            "/v1beta/models/m:batchGenerateContent",
            {"batch": {"inputConfig": {"requests": {"requests": [{"request": {}, "key": "a"}]}}}},
            400,
        ),
        (
            "POST",
            "/v1beta/models/m:batchGenerateContent",
            {"batch": {"inputConfig": {"fileName": "files/absent"}}},
            404,
        ),
        ("POST", "/upload/v1beta/files", {}, 400),
        ("GET", "/v1beta/batches/absent", None, 404),
        ("GET", "/download/v1beta/files/absent:download", None, 404),
    ],
    ids=["empty", "no entries", "a member beside", "no such file", "no protocol", "no batch", "no output"],
)
async def test_what_gemini_refuses_of_a_batch(method: str, path: str, body: Any, status: int) -> None:
    server = WireServer([], api_key="key")
    async with client(server, GEMINI) as http:
        answer = await http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status
    async with client(server, {"x-goog-api-key": "wrong"}) as http:
        assert (await http.request(method, path, json=body)).status_code == 400
