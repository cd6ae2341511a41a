"""A batch: the next turns of many sessions are sent in one file, for half the price, and are answered hours
later. You submit and poll in your own loop, and your code settles and commits each answer.
Copy it for work that may wait a day."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import anyio
import httpx
import msgspec

import lutum
import lutum_claude
import lutum_gemini
import lutum_openai.responses
from lutum.abc import Adapter
from lutum.testing.wire import Reply, Say, WireServer
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter

Turns = Mapping[str, lutum.TextTurn]
Send = Callable[[httpx.AsyncClient, Turns, float], Awaitable[dict[str, bytes]]]
JSON = {"content-type": "application/json"}


class Batch(msgspec.Struct):
    """The status of a batch at Claude or OpenAI."""

    id: str
    status: str = ""
    processing_status: str = ""
    results_url: str | None = None
    output_file_id: str | None = None


class ClaudeResult(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw()


class ClaudeLine(msgspec.Struct):
    custom_id: str
    result: ClaudeResult


class OpenAIResponse(msgspec.Struct):
    body: msgspec.Raw


class OpenAILine(msgspec.Struct):
    custom_id: str
    response: OpenAIResponse


class File(msgspec.Struct):
    id: str


class GeminiFile(msgspec.Struct):
    name: str


class GeminiUpload(msgspec.Struct):
    file: GeminiFile


class GeminiOutput(msgspec.Struct, frozen=True):
    responsesFile: str | None = None


class GeminiBatch(msgspec.Struct):
    """The operation that represents a batch at Gemini."""

    name: str
    done: bool = False
    response: GeminiOutput = GeminiOutput()


class GeminiLine(msgspec.Struct):
    key: str
    response: msgspec.Raw = msgspec.Raw()


async def claude(http: httpx.AsyncClient, turns: Turns, pause: float) -> dict[str, bytes]:
    """Run a Message Batch; returns answers by id. Failed, expired and cancelled requests are missing."""
    entries = b",".join(lutum_claude.batch_line(turn, id) for id, turn in turns.items())
    found = {turn.preview().headers.get("anthropic-beta", "") for turn in turns.values()} - {""}
    betas = {"anthropic-beta": ",".join(sorted(found))} if found else {}
    body = b'{"requests":[' + entries + b"]}"
    sent = await http.post("/v1/messages/batches", content=body, headers=JSON | betas)
    batch = msgspec.json.decode(sent.raise_for_status().content, type=Batch)
    while batch.processing_status != "ended":
        await anyio.sleep(pause)
        status = await http.get(f"/v1/messages/batches/{batch.id}")
        batch = msgspec.json.decode(status.raise_for_status().content, type=Batch)
    results = (await http.get(batch.results_url or "")).raise_for_status().content
    lines = [msgspec.json.decode(line, type=ClaudeLine) for line in results.splitlines()]
    return {line.custom_id: bytes(line.result.message) for line in lines if bytes(line.result.message)}


async def openai(http: httpx.AsyncClient, turns: Turns, pause: float) -> dict[str, bytes]:
    """Run an OpenAI batch; returns answers by id. Failed and expired requests are only in its error file."""
    file = b"\n".join(lutum_openai.responses.batch_line(turn, id) for id, turn in turns.items())
    form = {"purpose": "batch"}
    upload = await http.post("/v1/files", data=form, files={"file": ("batch.jsonl", file)})
    file_id = msgspec.json.decode(upload.raise_for_status().content, type=File).id
    asked = {"input_file_id": file_id, "endpoint": "/v1/responses", "completion_window": "24h"}
    sent = await http.post("/v1/batches", json=asked)
    batch = msgspec.json.decode(sent.raise_for_status().content, type=Batch)
    while batch.status in ("validating", "in_progress", "finalizing"):
        await anyio.sleep(pause)
        status = await http.get(f"/v1/batches/{batch.id}")
        batch = msgspec.json.decode(status.raise_for_status().content, type=Batch)
    if batch.output_file_id is None:
        return {}
    output = (await http.get(f"/v1/files/{batch.output_file_id}/content")).raise_for_status().content
    lines = [msgspec.json.decode(line, type=OpenAILine) for line in output.splitlines()]
    return {line.custom_id: bytes(line.response.body) for line in lines}


async def gemini(http: httpx.AsyncClient, turns: Turns, pause: float) -> dict[str, bytes]:
    """Run a batch at Gemini; returns answers by key. Requests that failed with an error are missing."""
    file = b"\n".join(lutum_gemini.batch_line(turn, id) for id, turn in turns.items())
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    begun = (await http.post("/upload/v1beta/files", json={}, headers=start)).raise_for_status()
    finish = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
    upload = await http.post(begun.headers["x-goog-upload-url"], content=file, headers=finish)
    name = msgspec.json.decode(upload.raise_for_status().content, type=GeminiUpload).file.name
    model = next(iter(turns.values())).preview().model  # one batch is for one model
    asked = {"batch": {"displayName": "rivers", "inputConfig": {"fileName": name}}}
    sent = await http.post(f"/v1beta/models/{model}:batchGenerateContent", json=asked)
    batch = msgspec.json.decode(sent.raise_for_status().content, type=GeminiBatch)
    while not batch.done:
        await anyio.sleep(pause)
        status = await http.get(f"/v1beta/{batch.name}")
        batch = msgspec.json.decode(status.raise_for_status().content, type=GeminiBatch)
    if batch.response.responsesFile is None:
        return {}
    path = f"/download/v1beta/{batch.response.responsesFile}:download"
    output = (await http.get(path, params={"alt": "media"})).raise_for_status().content
    lines = [msgspec.json.decode(line, type=GeminiLine) for line in output.splitlines()]
    return {line.key: bytes(line.response) for line in lines if bytes(line.response)}


async def answer_all(
    llm: lutum.Lutum,
    sessions: Mapping[str, lutum.Session],
    send: Send,
    http: httpx.AsyncClient,
    *,
    pause: float = 60,
) -> dict[str, lutum.TextResult]:
    """Run the next turn of every session in one batch. Failed turns are missing from the returned results.

    All turns are reserved before anything is sent. A cancellation charges each turn that is not settled yet
    with its reservation, because the batch continues at the provider.
    """
    turns = {id: session.text_turn().max_output_tokens(200) for id, session in sessions.items()}
    done = dict[str, lutum.TextResult]()
    async with AsyncExitStack() as stack:
        leases = dict[str, lutum.BudgetLease]()
        for id, turn in turns.items():
            reservation = llm.budget.reserve(await turn.estimate())
            leases[id] = await stack.enter_async_context(reservation)
        answers = await send(http, turns, pause)
        for id, turn in turns.items():
            if id not in answers:
                leases[id].settle(lutum.Usage())  # a failed request of a batch is not billed
                continue
            try:
                result = lutum.result_from_body(answers[id], turn)
            except lutum.TurnError as error:
                leases[id].settle(error.usage)
                continue
            leases[id].settle(result.usage)
            sessions[id].commit_text(result)
            done[id] = result
    return done


async def main() -> None:
    questions = {"longest": "Which river is the longest?", "widest": "Which one is the widest?"}
    replies = [Reply(Say("The Nile.")), Reply(Say("The Amazon."))]
    providers: list[tuple[Send, Callable[[str], Adapter], dict[str, str]]] = [
        (claude, _claude_adapter, {"x-api-key": "key", "anthropic-version": "2023-06-01"}),
        (openai, _openai_adapter, {"authorization": "Bearer key"}),
        (gemini, _gemini_adapter, {"x-goog-api-key": "key"}),
    ]
    for send, adapter, headers in providers:
        server = WireServer(replies)  # a provider in memory: leave it out, and use the real base URL
        llm = lutum.Lutum(adapter(server.url), budget=lutum.Budget(tokens=10_000))
        sessions = {id: lutum.Session(llm) for id in questions}
        for id, session in sessions.items():
            session.push_user(questions[id])
        transport = server.transport()
        async with httpx.AsyncClient(transport=transport, base_url=server.url, headers=headers) as http:
            await answer_all(llm, sessions, send, http, pause=0)
        for id, session in sessions.items():
            print(f"{id}: {session.turns()[-1].text}")
        print(llm.budget.spent)


def _claude_adapter(url: str) -> Adapter:
    return lutum_claude.ClaudeAdapter("claude-sonnet-4-5", api_key="key", base_url=url)


def _openai_adapter(url: str) -> Adapter:
    return OpenAIAdapter("gpt-5", api_key="key", base_url=f"{url}/v1")


def _gemini_adapter(url: str) -> Adapter:
    return GeminiAdapter("gemini-2.5-flash", api_key="key", base_url=url)


if __name__ == "__main__":
    lutum.run(main)
