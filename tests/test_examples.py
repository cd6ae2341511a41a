"""Every example runs, offline and on both backends, and prints what it is meant to show."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from example_files import FOLDER, files, loaded

import lutum
from lutum.testing.wire import WireRequest, WireServer
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

# What an example prints, in this order; "..." stands for anything between.
PRINTS: dict[str, str] = {
    "agent_loop": "There were 2 lamps, so I ordered 8. [3 turns, ...",
    "approval_days_later": '{"to":"Ann","euros":20} approved by Dora\n'
    '{"to":"Cy","euros":90} approved by nobody\n'
    "Ann has her 20 euros. Cy has to wait.",
    "approval": "Expected `int`, got `str`...20 euros were sent to Ann\n10 euros were sent to Bo\n"
    "rejected: not before May\nAnn has her 20 euros...",
    "architectural_constraints": "line 1: the view layer may not import sqlite3\nfrom app.store import Store",
    "ask": "The Nile, the Danube and the Mekong.\n[57 tokens, exact]",
    "best_of_n": "A line of ... syllables. [",
    "cached_tool": "running geocode for Oslo\n1 ran, 0 from the cache\nrunning geocode for Rome\n"
    "1 ran, 1 from the cache\nRome is",
    "call_budget": "2 ran, 1 rejected, left: {'search': 0, 'fetch': 1}\n"
    "1 ran, 0 rejected, left: {'search': 0, 'fetch': 0}\nThe Nile.",
    "chat": "Nile. [47 tokens]\nAmazon. [47 tokens]\n",
    "compaction": "before: Paris. [9 items, ...after:  Paris. [7 items, ",
    "completion": "Once upon a time, the river forgot the way to the sea.\n[8 words, ...finished: stop",
    "contract_first": "broken: '20 euros' is missing; 'amazing' is forbidden; 'love' is forbidden\n"
    "kept: The lamp is back in stock. It costs 20 euros.",
    "deterministic_hooks": "not asked: the question is empty\nnot asked: the question is too long\n"
    "not shown: the answer has numbers in it\nThe shop opens at nine.",
    "durable_store": "...paying Ann...20 euros were sent to Ann\nThis call was started before"
    "...It was not run again.\nBoth are paid.",
    "eval_dataset": "chatty...score   0.000...terse...score   1.000...8 cases in both runs...significant",
    "eval_raw_dump": "passed\nfailed\n...TextDelta(text='Five.')...",
    "extract_many": "0 were done before, 98 are done now, for ... USD\n"
    "OutputInvalid           1\nProviderError           1",
    "failure_taxonomy": "retry: It rains. ...compact: As I said...accept: It will rain from ten to noon.",
    "fan_in": "haiku-4-5: whole, 'The Nile, says claude-haiku-4-5.', exact\n"
    "...sonnet-4-5: whole, ..., exact\n...opus-4-5: stopped, 'and on and on and on..., estimated",
    "frame_log": "13 frames, 14 events\n...TextDelta The\n...Completed...the same: True",
    "mcp_agent": "<Toolset stock_count, orders_count, packs>\nstock_count: failed\norders_count: 3\n"
    "packs: 40\nstock: started again\nstock_count: 40\n40 packs",
    "memory_surface": "done: train booked; next: find a hotel\n"
    "done: train booked, hotel booked; next: nothing",
    "nested_toolset": "hook: Rivers are long.\nrejected: rejected: outside of the project\n"
    "ran: 12 pages about 'rivers'\nYour notes",
    "pass_at_k": "4 branches: 1 passed, 1 failed, 2 cancelled\n...saved...pass@1 0.375...pass@4 0.929",
    "planner_generator_evaluator": "the source: It begins at Lake Victoria. [draft 2]\n"
    "the mouth: It ends in the sea. [draft 1]",
    "policy_hook": "Buy it if you like. [attempt 2]\nBuy now! [attempt 1]",
    "rag": "refund, lamp: 2 documents\nYou have 30 days to send the lamp back [2].",
    "react_loop": '1. Oslo\'s people first.\n   > look_up {"topic":"population of Oslo"}\n   < 709,000\n'
    "2. Now Bergen's...3. Oslo has 709,000 people",
    "react_loop_direct": "Message       Does...CommittedTurn...ToolResult    11.6\nToolResult    11.1\n"
    "CommittedTurn One euro buys...The input still has 1 item.",
    "reask": "River(name='Nile', km=6650)\n2 items, 238 tokens for both requests",
    "reflexion": "1. \\d+-\\d+-\\d+  [\"'24-5-31' should not match\"...2. ...3. ...  passes",
    "repo_ssot": "refused timeouts.py\nread README.md\nread timeouts.py\n"
    "refused ../pyproject.toml\nIt raises",
    "skills": "charts is loaded\nRain: ### ######### ####\ncharts is unloaded\nHere is your chart",
    "stage_loop": "act\nverify Danube: km is not a number\nrepair ...verify\ndone\n"
    "river,km\nNile,6650\nDanube,2850",
    "stateful_hook": "ran ls: notes.txt\nrejected: not allowed: rm -rf /\n"
    "rejected: not allowed: bash -c 'rm -rf /'\n"
    "stopped: ['rm -rf /', \"bash -c 'rm -rf /'\", 'sudo ls']",
    "streaming_ui": "attempt 2 in 0.0 s]\n[claude-sonnet-4-5]\n...I will look. ..."
    '[calls weather {"city":"Oslo"}]\n...[tool_calls, ...It is 3 degrees in Oslo.\n[stop, ',
    "tool_validation": "run: ['SELECT name FROM users LIMIT 100']\n"
    "no: ['rejected: only SELECT is allowed', \"rejected: column 'password' is secret\"]\nThere are",
    "tools": "It is colder in Oslo.",
    "trace_dump": "3 turns, 3 requests, 2 tools, ...route question=...answer...tool weather...cache hit..."
    "3 turns; the slowest...topic: weather events: ['cache', 'cache']",
    "transcript_replay": "a turn is replayed exactly\nIt is 6,650 km long.\na turn is replayed exactly\n"
    "a turn is replayed exactly\nTwice that is 13,300 km.",
    "verification_gates": "rejected: the lines are 90, the total 70; 'euro' is not a currency code\n"
    "passed: 90 EUR",
}
OTHERWISE = {"batch", "durable_dbos", "queue_dbos", "timeouts", "web_stop", "web_stream"}
"""Examples with a test of their own: a batch, a workflow engine, a clock and a browser are in it."""

TYPED: dict[str, list[str]] = {
    "chat": ["Which is longest?", "/undo", "/undo", "Which is widest?", "/quit"],
    "approval": ["y", '{"to":"Bo","euros":"ten"}', '{"to":"Bo","euros":10}', "n not before May"],
}


def body(request: WireRequest) -> str:
    return json.dumps(request.json, ensure_ascii=False)


def models_of_best_of_n(requests: list[WireRequest]) -> None:
    """Four drafts from one prefix, and a cheaper judge."""
    assert [request.json["model"] for request in requests] == ["claude-sonnet-4-5"] * 4 + ["claude-haiku-4-5"]
    assert len({body(request).partition('"temperature"')[0] for request in requests[:4]}) == 1


def undone_in_chat(requests: list[WireRequest]) -> None:
    """What was taken back is not sent again."""
    assert [len(request.json["messages"]) for request in requests] == [1, 1]


def left_in_call_budget(requests: list[WireRequest]) -> None:
    """Each round is told what is left."""
    told = [[tool["description"][-2] for tool in request.json["tools"]] for request in requests]
    assert told == [["2", "1"], ["0", "1"], ["0", "0"]]


def drafts_of_architecture(requests: list[WireRequest]) -> None:
    """The second request holds the findings, and is asked without chance."""
    assert "line 1: the view layer may not import sqlite3" in body(requests[1])
    assert requests[1].json["temperature"] == 0


def memory_is_told(requests: list[WireRequest]) -> None:
    """The second session knows what the first wrote, and none of its conversation."""
    assert "find a hotel" in body(requests[1])
    assert len(requests[1].json["messages"]) == 1


def lessons_of_reflexion(requests: list[WireRequest]) -> None:
    """The last attempt sees both lessons, and none of the failed attempts."""
    assert "a year has four" in body(requests[-1])
    assert "Months end at 12" in body(requests[-1])
    assert len(requests[-1].json["messages"]) == 1


def tools_of_skills(requests: list[WireRequest]) -> None:
    """A skill's tools and instructions are there while it is loaded, and those of the other never."""
    offered = ["draw_chart" in body(request).partition('"messages"')[0] for request in requests]
    assert offered == [False, True, True, False]
    assert ["A chart has a title" in body(request) for request in requests] == offered
    assert not any("send_mail" in body(request) for request in requests)


def found_in_rag(requests: list[WireRequest]) -> None:
    """The documents that fit go along with their numbers, the others do not."""
    assert "[2] A refund" in body(requests[1])
    assert "Deliveries" not in body(requests[1])


def reask_is_ephemeral(requests: list[WireRequest]) -> None:
    """The model is told what was wrong, and where."""
    assert "at $.km" in body(requests[1])


SENT: dict[str, Callable[[list[WireRequest]], None]] = {
    "architectural_constraints": drafts_of_architecture,
    "best_of_n": models_of_best_of_n,
    "call_budget": left_in_call_budget,
    "chat": undone_in_chat,
    "memory_surface": memory_is_told,
    "rag": found_in_rag,
    "reask": reask_is_ephemeral,
    "reflexion": lessons_of_reflexion,
    "skills": tools_of_skills,
}
"""What an example is to have sent, where what it prints does not show it."""


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module, loaded anew."""
    with loaded(str(request.param)) as module:
        yield module


def prepared(example: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path) -> WireServer:
    """The provider that plays its replies; it will run in a folder of its own, with its lines typed."""
    name = example.__name__.removeprefix("example_")
    typed = iter(TYPED.get(name, []))
    monkeypatch.chdir(folder)
    monkeypatch.setattr("builtins.input", lambda prompt="": next(typed))
    if name == "extract_many":
        del example.DOCUMENTS[100:]
    return example.REPLIES if isinstance(example.REPLIES, WireServer) else WireServer(example.REPLIES)


@pytest.mark.parametrize("example", PRINTS, indirect=True)
async def test_an_example_runs(
    example: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """With the replies it brings, through the wire server, to its end; the provider refuses nothing."""
    from _provider import boundary, offline

    name = example.__name__.removeprefix("example_")
    server = prepared(example, monkeypatch, tmp_path)
    async with offline(server) as adapter:
        llm = boundary(adapter)
        await example.main(llm)
        assert llm.budget.reserved.total_tokens == 0
    assert [request.error for request in server.requests if request.error] == []
    shown = capsys.readouterr().out
    at = 0
    for piece in PRINTS[name].split("..."):
        assert piece in shown[at:], shown
        at = shown.index(piece, at) + len(piece)
    SENT.get(name, lambda requests: None)(server.requests)


@pytest.mark.parametrize("adapter", [OpenAIAdapter, OpenAIChatAdapter])
@pytest.mark.parametrize("example", PRINTS, indirect=True)
def test_an_example_is_bound_to_no_provider(
    example: ModuleType,
    adapter: type[OpenAIAdapter | OpenAIChatAdapter],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It runs to its end over OpenAI's protocols too, and nothing of it is refused."""
    from _provider import boundary

    server = prepared(example, monkeypatch, tmp_path)

    async def main() -> None:
        async with httpx.AsyncClient(transport=server.transport()) as client:
            made = adapter("gpt-4.1", base_url=f"{server.url}/v1", api_key="key", http_client=client)
            async with made as openai:
                await example.main(boundary(openai))

    lutum.run(main)
    assert [request.error for request in server.requests if request.error] == []


def test_every_example_is_run() -> None:
    """A new file needs an entry above, or a test of its own."""
    assert files().keys() == PRINTS.keys() | OTHERWISE


def test_the_list_of_examples() -> None:
    """README.md has each example once, with its first lines, which say when to copy it."""
    listing = (FOLDER / "README.md").read_text("utf-8")
    listed = re.findall(r"^- \[`(\w+)\.py`\]\(\1\.py\): (.*)$", listing, re.M)
    says = {
        name: " ".join((ast.get_docstring(ast.parse(text)) or "").split()) for name, text in files().items()
    }
    assert sorted(listed) == sorted(says.items())
    for package in FOLDER.glob("*/__init__.py"):
        assert f"({package.parent.name}/)" in listing, package
    for name, text in says.items():
        assert re.search(r"\bCopy it\b", text), name


@pytest.mark.parametrize("name", ["ask", "chat", "tools", "best_of_n"])
def test_the_first_examples_are_short(name: str) -> None:
    """Under 30 lines of code, with what runs them offline."""
    body = ast.parse(files()[name]).body[1:]  # all but the docstring
    lines = files()[name].splitlines()[body[0].lineno - 1 :]
    assert len([line for line in lines if line.strip()]) < 30


def test_examples_use_public_names_only() -> None:
    """No example reaches into a private module, or for a private attribute of somebody else."""
    for name, text in files().items():
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.ImportFrom(module=str(module)):
                    assert module == "_provider" or "._" not in module, name
                case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                    assert owner == "self" or not attribute.startswith("_"), name
                case _:
                    pass
