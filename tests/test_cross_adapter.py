"""A session that wanders: from each adapter to every other and back, and what each direction keeps.

`LUTUM_GOLDEN=write pytest tests/test_cross_adapter.py` writes `docs/adapters-table.md` anew; read the
difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

import lutum
from lutum import Image, Text, ToolResult
from lutum.abc import Adapter, Prepared, ToolPlan, TurnRequest
from lutum.testing.wire import Block, Call, Part, Reply, Think, WireServer
from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_openai.completions import OpenAICompletionsAdapter
from lutum_openrouter import OpenRouterAdapter

PAGE = Path(__file__).parent.parent / "docs" / "adapters-table.md"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"\x00\x00\x00\x01" * 2
EMPTY = lutum.Transcript()
SHOT = PNG + b"of a tool"
TOOLS = lutum.Toolset(
    lutum.raw_tool("look", {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]})
)


class Place(NamedTuple):
    """An adapter somewhere, and how what it says in its own way is scripted."""

    make: Callable[[httpx.AsyncClient], Adapter]
    found: tuple[Part, ...]
    refusal: Reply
    thinks: bool = True
    member: Any = None


FOUND = "SERVER-FOUND"
CLAUDE_FOUND = (
    Block({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}),
    Block({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
        {"type": "web_search_result", "title": FOUND, "url": "https://a.example", "encrypted_content": "e"}
    ]}),
)  # fmt: skip
RESPONSES_FOUND = (
    Block({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": FOUND}}),
)
CHAT_FOUND = (Block({"x_found": FOUND}),)
GEMINI_FOUND = (Block({"executableCode": {"language": "PYTHON", "code": f"print('{FOUND}')"}}),
    Block({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}),
)  # fmt: skip
GEMINI_NO = Reply(stop_reason="SAFETY", stop_details={"finishMessage": "REFUSED-WORDS"})
CLAUDE_NO = Reply("REFUSED-WORDS", stop_reason="refusal")
RESPONSES_NO = Reply(Block({"type": "refusal", "refusal": "REFUSED-WORDS"}))
CHAT_NO = Reply(Block({"refusal": "REFUSED-WORDS"}))


def claude(model: str = "claude-fable-5-1", **given: Any) -> Place:
    def make(client: httpx.AsyncClient) -> Adapter:
        return ClaudeAdapter(model, api_key="k", http_client=client, **given)

    return Place(make, CLAUDE_FOUND, CLAUDE_NO)


def responses(model: str = "gpt-5.5", base_url: str = "https://api.openai.com/v1") -> Place:
    def make(client: httpx.AsyncClient) -> Adapter:
        return OpenAIAdapter(model, api_key="k", base_url=base_url, http_client=client)

    return Place(make, RESPONSES_FOUND, RESPONSES_NO)


def chat(model: str, base_url: str, *, thinks: bool = True, member: Any = None, **given: Any) -> Place:
    def make(client: httpx.AsyncClient) -> Adapter:
        return OpenAIChatAdapter(model, api_key="k", base_url=base_url, http_client=client, **given)

    return Place(make, CHAT_FOUND, CHAT_NO, thinks, member)


def router(model: str, found: tuple[Part, ...], refusal: Reply, **given: Any) -> Place:
    def make(client: httpx.AsyncClient) -> Adapter:
        return OpenRouterAdapter(model, api_key="k", http_client=client, **given)

    return Place(make, found, refusal)


def gemini(model: str = "gemini-3-flash-preview", **given: Any) -> Place:
    def make(client: httpx.AsyncClient) -> Adapter:
        return GeminiAdapter(model, api_key="k", http_client=client, **given)

    return Place(make, GEMINI_FOUND, GEMINI_NO)


def vertex(model: str = "gemini-3-flash-preview") -> Place:
    def make(client: httpx.AsyncClient) -> Adapter:
        return GeminiAdapter.vertex(model, project="p", token="t", http_client=client)

    return Place(make, GEMINI_FOUND, GEMINI_NO)


def cloud(make: Callable[[httpx.AsyncClient], Adapter], found: tuple[Part, ...], refusal: Reply) -> Place:
    return Place(make, found, refusal)


HERE: dict[str, Any] = {"region": "us-east-1", "api_key": "k"}
DEEPSEEK = "https://api.deepseek.com/v1"
PLACES: dict[str, Place] = {
    "Claude": claude(),
    "Responses": responses(),
    "Chat (OpenAI)": chat("gpt-4.1", "https://api.openai.com/v1", thinks=False),
    "Chat (DeepSeek)": chat("deepseek-reasoner", DEEPSEEK),
    "Chat (Groq)": chat("qwen3", "https://api.groq.com/openai/v1", member="reasoning"),
    "Gemini": gemini(),
    "OpenRouter (Chat)": router("anthropic/claude-sonnet-4.5", CHAT_FOUND, CHAT_NO),
    "OpenRouter (Responses)": router("openai/gpt-5.5", RESPONSES_FOUND, RESPONSES_NO, api="responses"),
}
PAIRS = list(permutations(PLACES, 2))
AZURE = "https://name.openai.azure.com/openai/v1"
ELSEWHERE: dict[str, tuple[str, Place]] = {
    "Claude, another model": ("Claude", claude("claude-sonnet-4-5")),
    "Claude, another account": ("Claude", claude(replay_scope="another")),
    "Claude, on Bedrock": (
        "Claude",
        cloud(
            lambda client: ClaudeAdapter.bedrock("us.anthropic.claude-fable-5-1", http_client=client, **HERE),
            CLAUDE_FOUND,
            CLAUDE_NO,
        ),
    ),
    "Claude, on Azure": (
        "Claude",
        cloud(
            lambda client: ClaudeAdapter.azure(
                "claude-fable-5-1", resource="r", api_key="k", http_client=client
            ),
            CLAUDE_FOUND,
            CLAUDE_NO,
        ),
    ),
    "Claude, on Vertex AI": (
        "Claude",
        cloud(
            lambda client: ClaudeAdapter.vertex(
                "claude-fable-5-1", project="p", region="eu", token="k", http_client=client
            ),
            CLAUDE_FOUND,
            CLAUDE_NO,
        ),
    ),
    "Responses, on Bedrock": (
        "Responses",
        cloud(
            lambda client: OpenAIAdapter.bedrock("openai.gpt-5.5", door="mantle", http_client=client, **HERE),
            RESPONSES_FOUND,
            RESPONSES_NO,
        ),
    ),
    "Responses, another model": ("Responses", responses("gpt-5.6")),
    "Responses, a model that does not reason": ("Responses", responses("gpt-4.1")),
    "Responses, another host": ("Responses", responses(base_url=AZURE)),
    "Gemini, another model": ("Gemini", gemini("gemini-2.5-flash")),
    "Gemini, another account": ("Gemini", gemini(replay_scope="another")),
    "Gemini, on Vertex AI": ("Gemini", vertex()),
    "Chat, another model": ("Chat (DeepSeek)", chat("deepseek-chat", DEEPSEEK)),
    "Chat, another account": ("Chat (DeepSeek)", chat("deepseek-chat", DEEPSEEK, replay_scope="another")),
}


class World:
    """One server for each place, so that every seal is checked by who made it, or one for all."""

    def __init__(self, *places: Place, one_host: bool = False) -> None:
        self.servers = [WireServer(chat_reasoning=place.member) for place in places]
        if one_host:
            self.servers = self.servers[:1] * len(places)
        self.adapters = [
            place.make(httpx.AsyncClient(transport=server.transport()))
            for place, server in zip(places, self.servers, strict=True)
        ]

    async def say(self, session: lutum.Session, at: int, reply: Reply, asked: str | list[Any] = "") -> None:
        """One text turn at a place, committed."""
        self.servers[at].add(reply)
        if asked:
            session.push_user(asked)
        outcome = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(outcome, lutum.Finished)
        session.commit_text(outcome.result)

    async def round(
        self, session: lutum.Session, at: int, thought: tuple[Think, ...], mark: str = ""
    ) -> None:
        """Three calls and their results: a good one, an error, and a picture."""
        calls = [Call("look", {"at": f"{mark}CALL-{i}"}, id=f"{mark}id_{i}") for i in range(3)]
        self.servers[at].add(Reply(*thought, *calls))
        session.push_user("Look.")
        outcome = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        one, two, three = [call.id for call in outcome.round.calls]
        results = [
            ToolResult(one, (Text(f"{mark}GOOD-RESULT"),)),
            ToolResult(two, (Text(f"{mark}BAD-RESULT"),), is_error=True),
            ToolResult(three, (Text("a shot"), Image.from_bytes(SHOT))),
        ]
        session.commit_round(outcome.round, results)

    def session(self, at: int, transcript: lutum.Transcript = EMPTY) -> lutum.Session:
        return lutum.Session(lutum.Lutum(self.adapters[at]), transcript)

    def refused(self) -> list[str]:
        """What the servers refused, which is nothing."""
        return [r.error.message for server in self.servers for r in server.requests if r.error is not None]

    def prepared(self, at: int, transcript: lutum.Transcript) -> Prepared:
        """The request that goes on from a transcript, with its head's tools."""
        head = transcript.head.tools or ()
        plan = ToolPlan(head=head, available=(), choice="none")
        return self.adapters[at].prepare(TurnRequest(transcript=transcript, tools=plan))


async def home(world: World, place: Place) -> lutum.Transcript:
    """A conversation at the first place that holds everything."""
    session = world.session(0)
    session.push_system("Be brief.")
    thought = (Think("REASON-WORDS"),) if place.thinks else ()
    await world.say(session, 0, Reply(*thought, "TEXT-WORDS"), [Text("What is this?"), Image.from_bytes(PNG)])
    await world.round(session, 0, thought)
    await world.say(session, 0, Reply(*thought, "Sunny."))
    await world.say(session, 0, Reply(*place.found, "Here."), "Search.")
    await world.say(session, 0, place.refusal, "Do harm.")
    session.push_user("And then?")
    return session.transcript


async def wander(
    start: Place, other: Place, *, one_host: bool = False
) -> tuple[World, lutum.Transcript, lutum.Transcript]:
    """There, a whole round there, back, and there again; the transcript before and after."""
    world = World(start, other, one_host=one_host)
    before = await home(world, start)
    there = world.session(1, before)
    thought = (Think("OTHER-REASON"),) if other.thinks else ()
    await world.say(there, 1, Reply(*thought, "Over there."))
    await world.round(there, 1, thought, "OTHER-")
    await world.say(there, 1, Reply(*thought, "Seen."))
    back = world.session(0, there.transcript)
    await world.say(back, 0, Reply("Home again."), "Back?")
    again = world.session(1, back.transcript)
    await world.say(again, 1, Reply("Once more."), "There?")
    again.push_user("Where are we?")
    return world, before, again.transcript


def own(transcript: lutum.Transcript, prepared: Prepared, adapter: Adapter) -> list[bool]:
    """Whether each turn that was made by this adapter here goes back as it was received.

    Groq takes no reasoning back; such a form says so.
    """
    turns = [item for item in transcript if isinstance(item, lutum.CommittedTurn)]
    assert len(turns) == len(prepared.forms)
    pairs = zip(turns, prepared.forms, strict=True)
    here = (adapter.name, adapter.scope)
    return [
        form.exact or (turn.scope == "api.groq.com" and form.reason.startswith("its reasoning is left out"))
        for turn, form in pairs
        if (turn.adapter, turn.scope) == here
    ]


@pytest.mark.parametrize(("start", "other"), PAIRS, ids=[f"{a} to {b}" for a, b in PAIRS])
async def test_cross_adapter_there_and_back(start: str, other: str) -> None:
    """Whatever an adapter said goes on at any other; back home its own turns are still exact, and so are the
    other's over there. Both servers check every request."""
    world, before, after = await wander(PLACES[start], PLACES[other])
    assert world.refused() == []
    for at, (name, count) in enumerate(((start, 6), (other, 4))):
        request = world.prepared(at, after)
        exact = own(after, request, world.adapters[at])
        assert exact == [True] * count, (name, request.forms)
        # What was sent before the visit is how the request still begins.
        assert world.adapters[at].first_difference(world.prepared(at, before), request) is None
    loaded = lutum.Transcript.load(after.dump())
    assert world.prepared(0, loaded).body == world.prepared(0, after).body


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
async def test_the_same_adapter_elsewhere_and_back(elsewhere: str) -> None:
    """Another model, host or account of one adapter takes it all, and back home its turns are exact."""
    start, other = ELSEWHERE[elsewhere]
    world, before, after = await wander(PLACES[start], other, one_host=True)
    assert world.refused() == []
    request = world.prepared(0, after)
    assert [form.exact for form in request.forms[:5]] == [True] * 5
    assert world.adapters[0].first_difference(world.prepared(0, before), request) is None


@pytest.mark.parametrize(
    ("start", "other"), [("Chat (Groq)", "Chat (DeepSeek)"), ("Chat (DeepSeek)", "Chat (Groq)")]
)
async def test_a_hosts_reasoning_stays_there(start: str, other: str) -> None:
    """Groq's reasoning is not sent to DeepSeek, which has a member for its own, nor DeepSeek's to Groq."""
    world = World(PLACES[start], PLACES[other])
    transcript = await home(world, PLACES[start])
    assert sum("REASON-WORDS" in turn.reasoning for turn in world.session(0, transcript).turns()) == 3
    assert b"REASON-WORDS" not in world.prepared(1, transcript).body


@pytest.mark.parametrize("start", PLACES)
async def test_nothing_goes_to_completions(start: str) -> None:
    """A conversation does not fit into a prompt: it is refused by its name, before anything is sent."""
    world = World(PLACES[start])
    transcript = await home(world, PLACES[start])
    prompts = OpenAICompletionsAdapter("m", base_url="http://localhost:1/v1")
    with pytest.raises(lutum.BadValue, match="input"):
        prompts.prepare(TurnRequest(transcript=transcript))


# --- the page ---

KEPT, LOST, EXACT = "kept", "-", "exact"
COLUMNS = ("text", "reasoning", "calls", "results", "errors", "images", "refusals", "server tools")


def row(world: World, transcript: lutum.Transcript) -> tuple[str, ...]:
    """What the second place is sent of a conversation at the first."""
    request = world.prepared(1, transcript)
    body, exact = request.body, all(form.exact for form in request.forms)

    def said(mark: str) -> str:
        return (EXACT if exact else KEPT) if mark.encode() in body else LOST

    flagged = b'"is_error":true' in body or b'"response":{"error":"BAD-RESULT"}' in body
    errors = "flag" if flagged else "`ERROR:`" if b"ERROR: BAD-RESULT" in body else LOST
    pictures = body.count(b"iVBORw0KGgo")
    aside = b"From the result of the tool call" in body
    images = "kept, moved" if pictures == 2 and aside else KEPT if pictures == 2 else LOST
    reasoning = said("REASON-WORDS")
    if exact and reasoning == LOST and b"encrypted_content" in body:
        reasoning = EXACT
    return (
        said("TEXT-WORDS"),
        reasoning,
        said("CALL-0"),
        KEPT if b"GOOD-RESULT" in body else LOST,
        errors,
        images,
        said("REFUSED-WORDS"),
        said(FOUND),
    )


async def rows() -> list[tuple[str, str, tuple[str, ...]]]:
    found = list[tuple[str, str, tuple[str, ...]]]()
    for start, other in PAIRS:
        world = World(PLACES[start], PLACES[other])
        found.append((start, other, row(world, await home(world, PLACES[start]))))
    for other, (start, place) in ELSEWHERE.items():
        world = World(PLACES[start], place)
        found.append((start, other, row(world, await home(world, PLACES[start]))))
    return found


def page(found: Sequence[tuple[str, str, tuple[str, ...]]]) -> str:
    """The page; directions that keep the same stand in one line."""
    lines = dict[tuple[str, tuple[str, ...]], list[str]]()
    for start, other, cells in found:
        lines.setdefault((start, cells), []).append(other)
    table = ["| from | to | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for (start, cells), others in lines.items():
        table.append(f"| {start} | {'; '.join(others)} | {' | '.join(cells)} |")
    return HEAD + "\n".join(table) + "\n"


HEAD = """\
# From one adapter to another

A session can continue on any other adapter, and later return to the first one: use
`session.fork(llm=other)`, or a new `Session` on the same transcript. If a turn is sent to the adapter, host
and model that it came from, it is sent exactly as it was received, even if other adapters have made turns in
between. Other adapters get the view of the turn: text, refusals and calls, without reasoning.

`tests/test_cross_adapter.py` generates this page. For each pair of adapters it continues a session on the
second one, returns to the first one, and continues on the second one again. The servers check each request.
The build fails if the page is out of date.

The table shows what the second adapter sends of a conversation that contains all these kinds of content:

- **exact**: as received. **kept**: the text, or the name and the arguments. **-**: left out.
- *reasoning* is sent only to the adapter and host that it came from, and only if the model and the host
  accept it. Its signature or encrypted content is sent with it.
- *errors*: a tool result that is an error is marked by a flag, or its text begins with `ERROR:`.
- *images* are those of your messages and of tool results. *moved*: tool messages cannot contain images, so
  the images of tool results are sent in a user message after the round.
- *server tools* are the blocks of tools that the provider runs. In Chat they are members that lutum does not
  know.
- `/completions` accepts only a prompt, so a conversation is refused. The error names the field `input`.

"""


async def test_the_page_is_fresh() -> None:
    """The table in the docs says what the requests hold."""
    now = page(await rows())
    if os.environ.get("LUTUM_GOLDEN") == "write":
        PAGE.write_text(now)
    assert PAGE.read_text() == now, "stale: run with LUTUM_GOLDEN=write, and read the difference"
