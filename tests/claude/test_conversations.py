"""Whole conversations against a server's own rules: every request is one the API takes, each only adds to
the one before it, and no signed block ever comes back behind anything but what it was made behind.

The server here is `lutum.testing.wire`'s: its checks are written from the provider's rules.
"""

from itertools import pairwise
from typing import Any, Literal

import msgspec
import pytest
from claude.claude_wire import BOUND, PLAIN, SCOPE, adapter, text
from hypothesis import given, strategies as st

import lutum
from lutum.abc import Prepared, ToolPlan, TurnRequest
from lutum.testing.wire import check_claude_request
from lutum.testing.wire._claude_sign import canonical, check_signatures, is_blank
from lutum_claude import ClaudeAdapter, ClaudeOptions

TOOLS = tuple(lutum.ToolDef(name, '{"type":"object"}', f"Does {name}.") for name in ("a", "b", "c"))
FOREIGN = lutum.CommittedTurn(
    "chat",
    "elsewhere",
    "other-1",
    b"{}",
    (lutum.ReasoningItem("r"), lutum.TextItem("From elsewhere."), lutum.ToolCallItem("call|1", "a", "[1]")),
)


class Conversation:
    """A transcript that grows by items and by turns that a checking server answers."""

    def __init__(self, model: str, options: ClaudeOptions | None = None) -> None:
        self.adapter: ClaudeAdapter = adapter(model, **({"options": options} if options else {}))
        self.transcript = lutum.Transcript()
        self.committed: Prepared | None = None
        self.head: tuple[lutum.ToolDef, ...] | None = None
        self.turns = 0

    def push(self, *items: lutum.Item) -> None:
        for item in items:
            self.transcript = self.transcript.append(item)

    def plan(self, tools: tuple[lutum.ToolDef, ...] | None, available: tuple[str, ...] | None) -> ToolPlan:
        if tools is None:
            return ToolPlan(head=self.head or (), choice="none")
        head = tools if self.head is None else self.head
        new = tuple(tool for tool in tools if tool not in head)
        names = available if available is not None else tuple(tool.name for tool in tools)
        missing = {tool.name for tool in head} - set(names)
        return ToolPlan(head=head, new=new, available=names if missing or available is not None else None)

    def answer(
        self,
        *content: dict[str, Any],
        tools: tuple[lutum.ToolDef, ...] | None = None,
        available: tuple[str, ...] | None = None,
        ephemerals: tuple[tuple[int, lutum.Item], ...] = (),
        model: str | None = None,
        stop_reason: str = "end_turn",
    ) -> Prepared:
        """Send a request, check it, answer with signed `content`, commit the turn."""
        self.turns += 1
        settings = lutum.Settings(model=model) if model else lutum.Settings()
        plan = self.plan(tools, available)
        prepared = self.adapter.prepare(
            TurnRequest(transcript=self.transcript, ephemerals=ephemerals, tools=plan, settings=settings)
        )
        betas = dict(prepared.headers).get("anthropic-beta", "").split(",")
        assert check_claude_request(prepared.body, betas=betas) is None
        assert b"cache_control" in prepared.body
        prefix, findings = check_signatures(prepared.body, bound=True)
        assert [finding for finding in findings if finding.reason != "model_binding_mismatch"] == []
        blocks = list[dict[str, Any]]()
        for i, block in enumerate(content):
            kind = block["type"]
            if kind == "thinking":
                block = {**block, "signature": prefix.sign(block["thinking"])}
            elif kind == "tool_use":
                block = {**block, "id": f"toolu_{self.turns}_{i}"}
            if kind != "thinking" and not is_blank(block):
                prefix.add("assistant", canonical(msgspec.json.encode(block)))
            blocks.append(block)
        message = {
            "id": f"msg_{self.turns}",
            "type": "message",
            "role": "assistant",
            "model": prepared.model,
            "content": blocks,
            "stop_reason": stop_reason,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        stream = b'data: {"type":"message_start","message":%b}\n\ndata: {"type":"message_stop"}\n\n'
        out = list[lutum.Event]()
        self.adapter.decoder(prepared, lutum.Response()).feed(stream % msgspec.json.encode(message), out)
        done = out[-1]
        assert isinstance(done, lutum.Completed)
        turn = done.turn
        if self.head is None:
            self.head = plan.head
            if plan.head:
                turn = msgspec.structs.replace(turn, tools=plan.head)
        self.push(turn)
        return prepared

    def results(self) -> None:
        for id in self.transcript.open_calls:
            self.push(lutum.ToolResult(id, (lutum.Text("done"),)))


def think(words: str = "hm") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": ""}


def use(name: str = "a") -> dict[str, Any]:
    return {"type": "tool_use", "id": "", "name": name, "input": {"x": 1}}


def user(words: str = "Go on.") -> lutum.Message:
    return lutum.Message("user", (lutum.Text(words),))


def system(words: str = "Be brief.") -> lutum.Message:
    return lutum.Message("system", (lutum.Text(words),))


ITEMS: list[lutum.Item] = [
    user(),
    user("\U0001f30a"),
    system(),
    lutum.Message("developer", (lutum.Text("Mind the gap."),)),
    lutum.ToolResult("alone", (lutum.Text("42"),), name="a", arguments="{}"),
]
ANSWERS: list[tuple[dict[str, Any], ...]] = [
    (think(), text("Yes.")),
    (think(""), text(" "), use()),
    (text("Hm."), think("again"), use("a"), use("b")),
    (text("\n"),),
    (),
    (think(), text("Cited."), think("more")),
]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.lists(st.integers(0, len(ITEMS) - 1), max_size=3)),
        st.tuples(
            st.just("answer"),
            st.integers(0, len(ANSWERS) - 1),
            st.sampled_from([None, (0,), (0, 1), (1, 0, 2)]),
            st.sampled_from([None, ("a",), ()]),
            st.sampled_from(["", "system", "user", "early"]),
        ),
    ),
    max_size=9,
)


def run(
    conversation: Conversation, plan: list[Any], *, ephemerals: bool = True, tools: bool = True
) -> list[Prepared]:
    """Carry a plan out, keeping the rules a session keeps."""
    sent, used = list[Prepared](), 0
    conversation.push(system("You are kind."), user("Hello."))
    for step in plan:
        if step[0] == "push":
            for number in step[1]:
                item = ITEMS[number]
                if isinstance(item, lutum.ToolResult):
                    used += 1
                    item = msgspec.structs.replace(item, call_id=f"alone_{used}")
                conversation.push(item)
            continue
        _, number, chosen, available, shown = step
        offered = tuple(TOOLS[i] for i in chosen) if chosen is not None and tools else None
        names = (
            tuple(name for name in available if name in {t.name for t in offered})
            if offered and available
            else None
        )
        at, extra = len(conversation.transcript), tuple[tuple[int, lutum.Item], ...]()
        if shown and ephemerals:
            item = system("Only now.") if shown != "user" else user("Only now.")
            extra = ((1 if shown == "early" else at, item),)
        last = conversation.transcript[-1]
        if isinstance(last, lutum.CommittedTurn):
            conversation.push(user())
        sent.append(conversation.answer(*ANSWERS[number], tools=offered, available=names, ephemerals=extra))
        conversation.results()
    return sent


@pytest.mark.parametrize("model", [BOUND, PLAIN, "claude-opus-5"])
@given(plan=steps)
def test_every_request_stands_in_claude(model: str, plan: list[Any]) -> None:
    """Whatever is pushed, offered and shown for one turn: the API takes every request, and every signed
    block that is sent stands."""
    conversation = Conversation(model)
    run(conversation, plan)
    loaded = lutum.Transcript.load(conversation.transcript.dump())
    assert loaded == conversation.transcript


@pytest.mark.parametrize("model", [BOUND, PLAIN])
@given(plan=steps)
def test_claude_requests_only_grow(model: str, plan: list[Any]) -> None:
    """Each committed request is a prefix of the next: same head, same blocks in their roles, then more."""
    conversation = Conversation(model)
    sent = run(conversation, plan, tools=model == BOUND)
    for earlier, later in pairwise(sent):
        assert conversation.adapter.first_difference(earlier, later) is None


@given(plan=steps)
def test_thinking_comes_back(plan: list[Any]) -> None:
    """Without ephemerals, on a model that takes changes append-only, no turn ever loses its thinking."""
    conversation = Conversation(BOUND)
    for prepared in run(conversation, plan, ephemerals=False):
        assert all(form.exact for form in prepared.forms)
        assert prepared.inexact_reason is None


def test_switching_models() -> None:
    """Thinking that a model cannot read stays behind, and what was bound without it stays consistent."""
    conversation = Conversation("claude-fable-5-1")
    conversation.push(user())
    for model in ("claude-fable-5-1", BOUND, "claude-fable-5-1", BOUND, BOUND):
        conversation.answer(think(), text("Yes."), model=model)
        conversation.push(user())
    last = conversation.adapter.prepare(
        TurnRequest(transcript=conversation.transcript, settings=lutum.Settings(model=BOUND))
    )
    assert [form.exact for form in last.forms] == [False, True, False, True, True]


def test_foreign_turns() -> None:
    """A turn of another provider goes out as its view, and stands before signed turns for good."""
    conversation = Conversation(BOUND)
    conversation.push(user(), FOREIGN, lutum.ToolResult("call|1", (lutum.Text("ok"),)))
    conversation.answer(think(), text("Yes."))
    conversation.push(user())
    prepared = conversation.answer(think(), text("Yes."))
    assert [form.exact for form in prepared.forms] == [False, True]


def test_replaced_item() -> None:
    """A turn behind an item that was replaced goes out without its thinking, and says so."""
    conversation = Conversation(BOUND)
    conversation.push(user("One."))
    conversation.answer(think(), text("Yes."))
    conversation.push(user())
    conversation.transcript = conversation.transcript.replace(0, user("Two."))
    prepared = conversation.answer(think(), text("Yes."))
    assert not prepared.forms[0].exact
    assert b'"thinking","thinking"' not in prepared.body


@pytest.mark.parametrize("choice", ["drop", "error"])
def test_replaced_item_with_a_choice(choice: Literal["drop", "error"]) -> None:
    """`prefix_mismatch` decides about a turn behind a replaced item as about any other mismatch."""
    conversation = Conversation(BOUND)
    conversation.push(user("One."))
    conversation.answer(think(), text("Yes."))
    conversation.push(user())
    moved = conversation.transcript.replace(0, user("Two."))
    bare = conversation.adapter.prepare(TurnRequest(transcript=moved))
    assert b'"type":"thinking"' not in bare.body
    assert bare.forms == (lutum.abc.ReplayForm(False, "item 0 before it was replaced"),)
    settings = lutum.Settings(ext=(ClaudeOptions(prefix_mismatch=choice),))
    kept = conversation.adapter.prepare(TurnRequest(transcript=moved, settings=settings))
    assert b'"type":"thinking"' in kept.body
    assert kept.forms[0].exact


def test_rebuilt_transcript() -> None:
    """A bound turn that stands behind something else, with no mark of it, is found by its digest."""
    conversation = Conversation(BOUND)
    conversation.push(user("One."))
    conversation.answer(think(), text("Yes."))
    turn = conversation.transcript[1]
    moved = lutum.Transcript([user("Two."), turn, user()])
    bare = conversation.adapter.prepare(TurnRequest(transcript=moved))
    assert "changed" in bare.forms[0].reason
    assert b'"type":"thinking"' not in bare.body
    for choice, behavior in (("drop", "drop_block"), ("error", "error")):
        settings = lutum.Settings(ext=(ClaudeOptions(prefix_mismatch=choice),))
        kept = conversation.adapter.prepare(TurnRequest(transcript=moved, settings=settings))
        thinking = msgspec.json.decode(kept.body)["thinking"]
        assert thinking == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": behavior}}
        assert b'"type":"thinking"' in kept.body
        assert kept.forms[0].exact


def test_server_tools_are_part_of_the_prefix() -> None:
    """Thinking made with server tools goes out only where they are sent again."""
    options = ClaudeOptions(server_tools=('{"type":"web_search_20250305","name":"web_search"}',))
    conversation = Conversation(BOUND, options)
    conversation.push(user())
    conversation.answer(think(), text("Yes."))
    conversation.push(user())
    assert conversation.answer(think(), text("Yes.")).forms[0].exact
    conversation.push(user())
    other = adapter(BOUND).prepare(TurnRequest(transcript=conversation.transcript))
    assert not any(form.exact for form in other.forms)


def test_manual_thinking_in_a_tool_round() -> None:
    """With a thinking budget a turn that goes on begins with its thinking, also when it is inexact."""
    conversation = Conversation(PLAIN, ClaudeOptions(thinking=2000))
    conversation.push(user())
    settings = lutum.Settings()
    plan = conversation.plan((TOOLS[0],), None)
    request = TurnRequest(
        transcript=conversation.transcript, ephemerals=((1, user("Now.")),), tools=plan, settings=settings
    )
    assert conversation.adapter.prepare(request).inexact_reason
    conversation.answer(think(), use(), tools=(TOOLS[0],), ephemerals=())
    turn = conversation.transcript[1]
    assert isinstance(turn, lutum.CommittedTurn)
    inexact = msgspec.structs.replace(turn, inexact_reason="an ephemeral item")
    going = lutum.Transcript([user(), inexact, lutum.ToolResult(turn.tool_calls[0].id, (lutum.Text("x"),))])
    prepared = conversation.adapter.prepare(TurnRequest(transcript=going, tools=plan))
    assert check_claude_request(prepared.body, betas=[]) is None
    assert b'"type":"thinking"' in prepared.body
    over = going.append(lutum.Message("assistant", (lutum.Text("ok"),))).append(user())
    # And it stays when the round is over, since requests only grow.
    assert b'"type":"thinking"' in conversation.adapter.prepare(TurnRequest(transcript=over, tools=plan)).body


def test_binding_is_the_digest() -> None:
    """What a turn is bound to is the transcript's digest, where nothing else decides what was sent."""
    conversation = Conversation(BOUND)
    conversation.push(user())
    digest = conversation.transcript.digest
    conversation.answer(think(), text("Yes."))
    turn = conversation.transcript[-1]
    assert isinstance(turn, lutum.CommittedTurn)
    assert (turn.prefix, turn.scope) == (digest, SCOPE)
