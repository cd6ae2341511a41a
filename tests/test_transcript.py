"""Transcripts: a value that grows at its end, against a plain list; its rules; and 300,000 items."""

import copy
import gc
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import lutum
from lutum import (
    CommittedTurn,
    Head,
    Item,
    Message,
    Raw,
    Text,
    TextItem,
    ToolCallItem,
    ToolDef,
    ToolResult,
    Transcript,
    TranscriptError,
    UsageError,
)

ADD = ToolDef("add", '{"type":"object"}')
SUB = ToolDef("sub", '{"type":"object"}')


def say(text: str, role: Any = "user") -> Message:
    return Message(role, (Text(text),))


def turn(
    *calls: str, text: str = "", prefix: str | None = None, tools: tuple[ToolDef, ...] = ()
) -> CommittedTurn:
    items = (TextItem(text), *(ToolCallItem(id, "add", "{}") for id in calls))
    return CommittedTurn("scripted", "here", "m", b"[]", items, prefix=prefix, tools=tools)


def result(call_id: str, text: str = "3", *, alone: bool = False) -> ToolResult:
    name, arguments = ("add", "{}") if alone else (None, None)
    return ToolResult(call_id, (Text(text),), False, name, arguments)


# A million.


@pytest.mark.slow
def test_two_hundred_thousand_items() -> None:
    """Built, compared, hashed, shown, copied, pickled, dumped, loaded, cut and dropped: nothing recurses."""
    size = 200_000
    items = [say("a"), turn("c"), result("c"), turn(), say("late", "system")]
    collects = gc.isenabled()
    gc.disable()  # the collector would walk the growing chain again and again
    try:
        built = Transcript()
        for i in range(size):
            built = built.append(items[i % 5])
        assert len(built) == size
        assert built[size - 1] == items[4]
        assert repr(built) == f"<Transcript of 200000 items, {built.digest[:8]}>"
        assert copy.copy(built) is built
        assert copy.deepcopy(built) is built
        loaded = pickle.loads(pickle.dumps(built))  # this dumps and loads
        assert loaded is not built
        assert loaded == built
        assert hash(loaded) == hash(built)
        assert {loaded: 1}[built] == 1
        other = loaded[: size - 5].append(say("b"))
        assert built != other
        assert len(built.common_prefix(other)) == size - 5
        assert len(built.cuts()) == size + 1 - size // 5
        assert sum(1 for _ in built) == size
        tail = built[size // 2 :]
        assert len(tail) == size // 2
        del other, loaded, tail
        del built
    finally:
        if collects:
            gc.enable()


# Against a list.


def open_calls(items: list[Item]) -> list[str] | None:
    """The calls that want a result at the end of `items`; None where `items` is no conversation."""
    waiting: list[str] = []
    standalone: list[str] = []
    last_round: list[str] = []
    for item in items:
        if isinstance(item, ToolResult):
            if item.call_id in waiting:
                waiting.remove(item.call_id)
            elif waiting or item.name is None or item.call_id in standalone + last_round:
                return None
            else:
                standalone.append(item.call_id)
            continue
        if waiting:
            return None
        if isinstance(item, CommittedTurn):
            waiting = [call.id for call in item.tool_calls]
            last_round = list(waiting)
            if len(set(waiting)) < len(waiting):
                return None
    return waiting


def head(items: list[Item]) -> Head:
    """The leading system items, and the tools of the first turn."""
    leading: list[Item] = []
    for item in items:
        if not isinstance(item, Message) or item.role not in ("system", "developer"):
            break
        leading.append(item)
    turns = [item for item in items if isinstance(item, CommittedTurn)]
    return Head(tuple(leading), turns[0].tools if turns else None)


def sliced(items: list[Item], start: int, stop: int) -> list[Item] | None:
    """What `transcript[start:stop]` holds; None where it parts a call from its result."""
    if start >= stop:
        return []
    for cut in (start, stop):
        if cut < len(items) and open_calls(items[:cut]):
            return None
    found, tools = items[start:stop], head(items).tools
    for i, item in enumerate(found):
        if start and isinstance(item, CommittedTurn):
            found[i] = msgspec.structs.replace(item, tools=tools)
            break
    return found


def replaced(items: list[Item], index: int, item: Item) -> list[Item]:
    """With an item replaced, what was bound to it marked, and the head's tools kept."""
    turns = [one for one in items if isinstance(one, CommittedTurn)]
    first = not any(isinstance(one, CommittedTurn) for one in items[:index])
    if isinstance(item, CommittedTurn) and not item.tools and turns and first:
        item = msgspec.structs.replace(item, tools=turns[0].tools)
    later = [
        msgspec.structs.replace(one, inexact_reason=f"item {index} before it was replaced")
        if isinstance(one, CommittedTurn) and one.prefix and one.inexact_reason is None
        else one
        for one in items[index + 1 :]
    ]
    return [*items[:index], item, *later]


ids = st.sampled_from(["a", "b"])
some_items = st.one_of(
    st.builds(
        say, st.sampled_from(["x", "y"]), st.sampled_from(["system", "developer", "user", "assistant"])
    ),
    st.builds(
        lambda calls, prefix, tools: turn(*calls, prefix=prefix, tools=tools),
        st.lists(ids, max_size=2),
        st.sampled_from([None, "0f"]),
        st.sampled_from([(), (ADD,), (ADD, SUB)]),
    ),
    st.builds(lambda id, alone: result(id, alone=alone), ids, st.booleans()),
    st.just(Raw("claude", "{}")),
)


class AgainstAList(RuleBasedStateMachine):
    """Every version that was ever made stays what it was, beside a list of the same items."""

    @initialize()
    def start(self) -> None:
        self.versions: list[tuple[Transcript, list[Item]]] = [(Transcript(), [])]

    def pick(self, at: int) -> tuple[Transcript, list[Item]]:
        return self.versions[at % len(self.versions)]

    def keep(self, transcript: Transcript, items: list[Item]) -> None:
        self.versions = [*self.versions[-6:], (transcript, items)]

    def expect(self, items: list[Item] | None, make: Callable[[], Transcript]) -> None:
        if items is None or open_calls(items) is None:
            with pytest.raises(TranscriptError):
                make()
        else:
            self.keep(make(), items)

    @rule(at=st.integers(0, 9), more=st.lists(some_items, min_size=1, max_size=4))
    def append(self, at: int, more: list[Item]) -> None:
        """Fork from any version and grow, an item at a time."""
        transcript, items = self.pick(at)
        for item in more:
            before = len(self.versions)
            self.expect([*items, item], lambda t=transcript, i=item: t.append(i))
            if self.versions[-1][1] != [*items, item] or len(self.versions) < before:
                return
            transcript, items = self.versions[-1]

    @rule(at=st.integers(0, 9), start=st.integers(-9, 9) | st.none(), stop=st.integers(-9, 9) | st.none())
    def cut(self, at: int, start: int | None, stop: int | None) -> None:
        """Slice as a list does, or refuse where a call would be parted from its result."""
        transcript, items = self.pick(at)
        first, last, _ = slice(start, stop).indices(len(items))
        self.expect(sliced(items, first, last), lambda: transcript[start:stop])

    @rule(at=st.integers(0, 9), index=st.integers(0, 9), item=some_items)
    def replace(self, at: int, index: int, item: Item) -> None:
        """Replace one item; what follows is kept, and marked where it was bound."""
        transcript, items = self.pick(at)
        if index >= len(items):
            with pytest.raises(IndexError):
                transcript.replace(index, item)
            return
        self.expect(replaced(items, index, item), lambda: transcript.replace(index - len(items), item))

    @rule(at=st.integers(0, 9), other=st.integers(0, 9))
    def compare(self, at: int, other: int) -> None:
        """Equal exactly when the lists are, by `==`, digest and hash; the common prefix is the lists'."""
        (a, mine), (b, theirs) = self.pick(at), self.pick(other)
        assert (a == b) == (a.digest == b.digest) == (mine == theirs)
        assert (hash(a) == hash(b)) == (mine == theirs)
        shared = next(
            (i for i, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]), None
        )
        prefix = a.common_prefix(b)
        assert list(prefix) == mine[: min(len(mine), len(theirs)) if shared is None else shared]
        if a == b.common_prefix(a):
            assert Transcript.load(a.dump() + b.dump(since=a)) == b
        else:
            with pytest.raises(TranscriptError, match="does not begin"):
                b.dump(since=a)

    @rule(at=st.integers(0, 9))
    def reload(self, at: int) -> None:
        """A dump loads as the same items, and dumps as the same bytes."""
        transcript, items = self.pick(at)
        loaded = Transcript.load(transcript.dump(), digest=transcript.digest)
        assert loaded.dump() == transcript.dump()
        self.keep(loaded, items)

    @invariant()
    def every_version_is_its_list(self) -> None:
        """Length, items from either end, iteration, cuts, head and open calls."""
        for transcript, items in self.versions:
            assert len(transcript) == len(items)
            assert bool(transcript) == bool(items)
            assert list(transcript) == items
            assert [transcript[i] for i in range(-len(items), len(items))] == items * 2
            assert transcript.cuts() == [i for i in range(len(items) + 1) if not open_calls(items[:i])]
            assert transcript.head == head(items)
            assert transcript.open_calls == tuple(open_calls(items) or ())


TestAgainstAList = AgainstAList.TestCase


# The rules, in words.


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([result("a")], "item 0: result 'a' has no call before it"),
        ([say("x"), result("a")], "item 1: result 'a' has no call before it"),
        ([turn("a"), say("x")], "item 1: call 'a' has no result yet"),
        ([turn("a", "b"), result("b"), turn()], "item 2: call 'a' has no result yet"),
        ([turn("a"), result("b")], "item 1: 'b' is not a call of this turn; open: ['a']"),
        ([turn("a", "b"), result("a"), result("a")], "item 2: 'a' is not a call of this turn; open: ['b']"),
        ([turn("a"), result("a"), result("a")], "item 2: result 'a' has no call before it"),
        (
            [turn("a"), result("a"), result("a", alone=True)],
            "item 2: it is a second result for tool_result.call_id 'a'",
        ),
        ([turn("a"), result("b", alone=True)], "item 1: 'b' is not a call of this turn; open: ['a']"),
        ([result("a", alone=True)] * 2, "item 1: it is a second result for tool_result.call_id 'a'"),
        ([turn("a", "a")], "item 0: two calls of this turn have the same id: ['a', 'a']"),
    ],
)
def test_pairing_errors(items: list[Item], problem: str) -> None:
    """A call and its result belong together: what parts or doubles one is refused, by item and reason."""
    with pytest.raises(TranscriptError) as caught:
        Transcript(items)
    assert str(caught.value) == problem
    assert isinstance(caught.value, UsageError)


def test_many_results_without_a_turn() -> None:
    """Imported results stay distinct, and what remembers them is shared between the nodes."""
    transcript = Transcript(result(str(i), alone=True) for i in range(3_000))
    for id in ("0", "1499", "2999"):
        with pytest.raises(TranscriptError, match="a second result"):
            transcript.append(result(id, alone=True))
    branch = transcript[:1_500].append(result("2999", alone=True))
    assert len(branch) == 1_501
    assert len(transcript._rules.standalone) <= 12


def test_slices_that_part_a_call_from_its_result() -> None:
    """Neither end of a slice may stand between a call and its result, even one that brings its call along."""
    transcript = Transcript([say("x"), turn("a", "b"), result("a", alone=True), result("b"), say("y")])
    assert transcript.cuts() == [0, 1, 4, 5]
    for part in (slice(0, 2), slice(0, 3), slice(2, None), slice(2, 3), slice(3, 5), slice(1, -2)):
        with pytest.raises(TranscriptError, match=r"slice \[\d:\d\] separates call '[ab]' from its result"):
            transcript[part]
    assert list(transcript[2:2]) == []
    assert list(transcript[1:4]) == list(transcript)[1:4]
    unfinished = transcript[:1].append(turn("a"))
    assert unfinished[1:].open_calls == ("a",)
    with pytest.raises(TranscriptError, match="no step"):
        transcript[::2]


def test_every_pair_of_cuts_is_a_slice() -> None:
    """What `cuts()` lists may be used, each with each."""
    transcript = Transcript(
        [
            say("s", "system"),
            say("x"),
            turn("a"),
            result("a"),
            turn("b", "c"),
            result("c"),
            result("b"),
            turn(),
        ]
    )
    for start, stop in pairwise(transcript.cuts()):
        assert list(transcript[start:stop]) == list(transcript)[start:stop]
    for start in transcript.cuts():
        assert len(transcript[start:]) == len(transcript) - start


def test_slices_from_the_start_share() -> None:
    """A prefix is the node that was there; the whole is itself."""
    transcript = Transcript([say("x"), turn(), say("y")])
    assert transcript[:] is transcript
    assert transcript[:2] is transcript._parent
    assert transcript[:2].append(say("y")) == transcript


def test_replacing_marks_what_was_bound_to_it() -> None:
    """Later turns that their provider bound to what stood there can no longer go back exactly, and say so."""
    bound, free = turn(text="bound", prefix="0f"), turn(text="free")
    told = msgspec.structs.replace(bound, inexact_reason="known before")
    transcript = Transcript([say("x"), bound, say("y"), free, bound, told])
    changed = transcript.replace(2, say("z"))
    assert changed[1] is bound
    assert changed[3] is free
    later, known = changed[4], changed[5]
    assert isinstance(later, CommittedTurn)
    assert not later.exact
    assert later.inexact_reason == "item 2 before it was replaced"
    assert known is told
    assert changed[:2] is transcript[:2]
    assert transcript[4] is bound
    with pytest.raises(TranscriptError, match="has no call before it"):
        Transcript([turn("a"), result("a")]).replace(0, say("x"))
    with pytest.raises(IndexError, match="item 6 of a transcript of 6"):
        transcript.replace(6, say("x"))


def test_the_head_is_fixed_by_the_first_turn() -> None:
    """System items lead; the first committed turn says the tools, and no later one changes them."""
    system, developer = say("s", "system"), say("d", "developer")
    transcript = Transcript([system, developer])
    assert transcript.head == Head((system, developer), None)
    transcript = transcript.append(say("x")).append(say("late", "system"))
    assert transcript.head == Head((system, developer), None)
    first = transcript.append(turn(tools=(ADD,)))
    assert first.head == Head((system, developer), (ADD,))
    assert first.append(turn(tools=(SUB,))).head.tools == (ADD,)
    assert transcript.append(turn()).append(turn(tools=(SUB,))).head.tools == ()
    assert transcript.append(say("more", "system")).head.system == (system, developer)


def test_a_slice_keeps_the_tools_of_the_head() -> None:
    """Whatever turn comes first in a slice, the tools stay; that none were sent counts too."""
    with_tools = Transcript([say("x"), turn(tools=(ADD,)), say("y"), turn(tools=(SUB,))])
    assert with_tools[2:].head.tools == (ADD,)
    without = Transcript([say("x"), turn(), say("y"), turn(tools=(SUB,))])
    assert without[2:].head.tools == ()
    assert without[2:3].head.tools is None


def test_any_item_is_a_few_hops_away() -> None:
    """At most 3 log2 n + 3 nodes are passed on the way to an item, wherever it stands."""
    size = 1 << 14
    transcript = Transcript(say("x") for _ in range(size))
    for target in [*range(0, size, 97), 1, size - 1]:
        node, hops = transcript, 0
        while len(node) > target:
            node = node._jump if len(node._jump) >= target else node._parent
            hops += 1
        assert node is transcript[:target]
        assert hops <= 3 * 14 + 3


# Memo: what a request of 1,001 items costs.


def test_growing_by_one_item_works_out_one_item() -> None:
    """`make` is called once an item and key, whoever asks: request 1,001 encodes one item."""
    made = list[tuple[int, Item]]()

    def make(item: Item, before: Transcript) -> int:
        made.append((len(before), item))
        return len(before)

    transcript = Transcript([say(str(i)) for i in range(1_000)])
    assert transcript.memo("k", make) == list(range(1_000))
    assert [at for at, _ in made] == list(range(1_000))
    made.clear()
    longer = transcript.append(say("one more"))
    assert longer.memo("k", make) == list(range(1_001))
    assert made == [(1_000, say("one more"))]
    made.clear()
    assert longer.memo("k", make) == list(range(1_001))
    assert transcript[:500].append(say("branch")).memo("k", make)[-1] == 500
    assert len(made) == 1
    made.clear()
    assert len(longer.memo("another key", make)) == 1_001
    assert len(made) == 1_001


def test_a_failing_memo_keeps_what_came_before() -> None:
    """An error comes out at the oldest bad item, and what was made before it is kept."""
    made = list[int]()

    def make(item: Item, before: Transcript) -> None:
        if len(before) in (2, 3):
            raise ValueError(f"item {len(before)}")
        made.append(len(before))

    transcript = Transcript([say(str(i)) for i in range(5)])
    for _ in range(2):
        with pytest.raises(ValueError, match="item 2"):
            transcript.memo("k", make)
    assert made == [0, 1]


def test_a_transcript_is_not_a_list() -> None:
    """It equals another transcript only, and cannot be changed or given attributes."""
    transcript = Transcript([say("x")])
    assert transcript != [say("x")]
    assert Transcript() == Transcript([])
    with pytest.raises(AttributeError):
        transcript.note = 1
    with pytest.raises(TypeError):
        transcript[0] = say("y")


HALF = "half \ud83d"
MESSAGE: Any = Message
TEXT: Any = Text
TURN: Any = CommittedTurn
RESULT: Any = ToolResult
ITEM: Any = TextItem
IMAGE: Any = lutum.Image
DOCUMENT: Any = lutum.Document
RAW: Any = Raw
BAD: list[Any] = [
    MESSAGE("user", (TEXT(5),)),
    MESSAGE("user", (TEXT(None),)),
    MESSAGE("user", (TEXT(HALF),)),
    MESSAGE("user", (TEXT(b"bytes"),)),
    MESSAGE("user", (IMAGE(url=7),)),
    MESSAGE("user", (IMAGE(media_type=object(), data=b"x"),)),
    MESSAGE("user", (DOCUMENT(data="text"),)),
    MESSAGE("user", (RAW("claude", 10**40),)),
    RAW("claude", {"a": {1, 2}}),
    TURN("a", "s", "m", "text"),
    TURN("a", "s", "m", b"\xff\xfe"),
    TURN("a", "s", "m", b"{}", (ITEM(1),)),
    TURN("a", "s", "m", b"{}", [ITEM("x")]),
    TURN("a", "s", "m", b"{}", tools=(ITEM("x"),)),
    TURN(3, "s", "m", b"{}"),
    RESULT("c", (TEXT("x"),), False, "n", {"x": 1}),
    RESULT("c", (TEXT("x"),), None, "n", "{}"),
]


@pytest.mark.parametrize("item", BAD)
@pytest.mark.parametrize("way", ["append", "constructor", "item", "replace"])
def test_what_no_dump_can_hold_is_refused_at_once(item: Any, way: str) -> None:
    """By each public way in, with TranscriptError and the index, and not by the dump later."""
    start = Transcript([Message("user", (Text("hello"),))])
    with pytest.raises(lutum.TranscriptError, match=r"^item [01]: "):
        match way:
            case "append":
                start.append(item)
            case "constructor":
                Transcript([*start, item])
            case "item":
                lutum.ModelInput(start).item(item)
            case _:
                start.replace(0, item)
    assert Transcript.load(start.dump()) == start
