"""A fan-out of many turns against each provider's own rules: what it counts, what its headers say, and when
it refuses. Nobody tells the limits to the budget. Time is virtual, on both backends.

Claude and OpenAI refill all the time. Claude counts the output that was written, OpenAI what might have been,
and gives nothing back. Groq says with the same names how many requests a day and tokens a minute; how many
requests a minute it does not say. OpenRouter's free models have so many until an instant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest
from fakes import VIRTUAL
from msgspec import Struct

import lutum
from lutum import Budget
from lutum.abc import Adapter
from lutum.testing.wire import Answer, BeforeHead, Pause, Reply, Say, Status, WireRequest, WireServer
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_openrouter import OpenRouterAdapter

TURNS = 2_000
QUARTER = 500  # against a quarter of the limits: the same minutes, and the pump's work is what takes time
OUTPUT, MOST = 40, 80  # billed for each turn, and allowed
LATENCY = 2.0
EPOCH = 1_700_000_000
DAY = 86_400.0
UNKNOWN = 10**9


class Limit(Struct, frozen=True):
    """So many of `kind` in so many seconds. `told` says that the headers tell."""

    kind: str
    most: int
    period: float = 60.0
    told: bool = True


class Host:
    """A provider's count. `ideal` is how long it takes when nothing is ever left unused."""

    refunds = False

    def __init__(self, *limits: Limit) -> None:
        self.limits = limits
        self.left = {limit: float(limit.most) for limit in limits}
        self.turns = TURNS
        self.at: float | None = None
        self.refused = list[int]()
        self.each: dict[str, int] = {}

    def __call__(self, request: WireRequest) -> Answer:
        self.refill()
        counted = self.counted(request)
        self.each = {"requests": 1, "tokens": counted + (OUTPUT if self.refunds else MOST)}
        missing = [
            (self.each[limit.kind] - left) * limit.period / limit.most
            for limit, left in self.left.items()
            if self.each[limit.kind] > left + 1e-6
        ]
        if missing:
            self.refused.append(request.number)
            return Status(429, headers=self.headers() | self.asked(max(missing)))
        for limit in self.limits:
            self.left[limit] -= self.each[limit.kind]
        return Reply(
            BeforeHead(Pause(LATENCY / 4)),  # what the head says is old when it arrives
            Say("ok", Pause(LATENCY), "."),
            usage=self.usage(request),
            headers=self.headers(),
        )

    def counted(self, request: WireRequest) -> int:
        """The input, before anything is read."""
        return math.ceil(len(request.body) / 4)

    def refill(self) -> None:
        now = anyio.current_time()
        if self.at is not None:
            for limit, left in self.left.items():
                self.left[limit] = min(limit.most, left + (now - self.at) * limit.most / limit.period)
        self.at = now

    @property
    def ideal(self) -> float:
        waits = [
            (self.turns * self.each[limit.kind] - limit.most) * limit.period / limit.most
            for limit in self.limits
        ]
        return max(*waits, 0.0) + LATENCY

    def asked(self, seconds: float) -> dict[str, str]:
        return {"retry-after": str(math.ceil(seconds))}

    def usage(self, request: WireRequest) -> dict[str, Any]:
        return {"completion_tokens": OUTPUT}

    def headers(self) -> dict[str, str]:
        raise NotImplementedError


class Claude(Host):
    refunds = True

    def usage(self, request: WireRequest) -> dict[str, Any]:
        return {"output_tokens": OUTPUT}

    def headers(self) -> dict[str, str]:
        """With figures that are rounded down."""
        found = dict[str, str]()
        for limit in self.limits:
            found[f"anthropic-ratelimit-{limit.kind}-limit"] = str(limit.most)
            found[f"anthropic-ratelimit-{limit.kind}-remaining"] = str(int(self.left[limit]))
        return found


class OpenAI(Host):
    """Groq too. The reset is when nothing is missing any more. The input is counted by its characters, as in
    the recorded answers, where ten words take some ten tokens off what remains."""

    def counted(self, request: WireRequest) -> int:
        return math.ceil(len("hello") / 4)

    def headers(self) -> dict[str, str]:
        found = dict[str, str]()
        for limit in self.limits:
            if limit.told:
                left = int(self.left[limit])
                reset = (limit.most - self.left[limit]) * limit.period / limit.most
                found[f"x-ratelimit-limit-{limit.kind}"] = str(limit.most)
                found[f"x-ratelimit-remaining-{limit.kind}"] = str(left)
                found[f"x-ratelimit-reset-{limit.kind}"] = duration(reset)
        return found


class Responses(OpenAI):
    def usage(self, request: WireRequest) -> dict[str, Any]:
        return {"output_tokens": OUTPUT}


class OpenRouter(Host):
    """Afresh each minute. Its 429 has no Retry-After."""

    always = True

    def __init__(self, *limits: Limit) -> None:
        super().__init__(*limits)
        self.start = anyio.current_time()
        self.window = -1

    @property
    def wall(self) -> float:
        return EPOCH + anyio.current_time() - self.start

    def refill(self) -> None:
        if (window := int(self.wall // 60)) != self.window:
            self.window = window
            self.left = {limit: float(limit.most) for limit in self.limits}

    @property
    def ideal(self) -> float:
        (limit,) = self.limits
        first = 60 - EPOCH % 60
        return first + (math.ceil(self.turns / limit.most) - 2) * 60 + LATENCY

    def asked(self, seconds: float) -> dict[str, str]:
        ((limit, left),) = self.left.items()
        return {
            "date": format_datetime(datetime.fromtimestamp(self.wall, UTC), usegmt=True),
            "x-ratelimit-limit": str(limit.most),
            "x-ratelimit-remaining": str(int(left)),
            "x-ratelimit-reset": str((self.window + 1) * 60_000),
        }

    def headers(self) -> dict[str, str]:
        return self.asked(0) if self.always else {}


class FreeModels(OpenRouter):
    """As recorded: nothing is said before something is refused."""

    always = False


def duration(seconds: float) -> str:
    """As the API writes them: `2ms`, `17.212s`, `6m0s`, `23h18m29.144s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{hours:.0f}h" * bool(hours) + f"{minutes:.0f}m" * bool(hours or minutes)
    return f"{text}{int(rest * 1000) / 1000:g}s"


def claude(server: WireServer, client: httpx.AsyncClient) -> Adapter:
    return ClaudeAdapter("claude-sonnet-4-5", api_key="k", base_url=server.url, http_client=client)


def chat(server: WireServer, client: httpx.AsyncClient) -> Adapter:
    return OpenAIChatAdapter("gpt-4.1", api_key="k", base_url=f"{server.url}/v1", http_client=client)


def responses(server: WireServer, client: httpx.AsyncClient) -> Adapter:
    return OpenAIAdapter("gpt-4.1", api_key="k", base_url=f"{server.url}/v1", http_client=client)


def openrouter(server: WireServer, client: httpx.AsyncClient) -> Adapter:
    return OpenRouterAdapter("a/b:free", api_key="k", base_url=f"{server.url}/api/v1", http_client=client)


Make = Callable[[WireServer, httpx.AsyncClient], Adapter]
MANY, LARGE = Limit("requests", 100_000), Limit("tokens", 10_000_000)
SMALL = Limit("tokens", 10_000)

CASES: dict[str, tuple[Make, Callable[[], Host], int]] = {
    "claude, requests": (claude, lambda: Claude(Limit("requests", 100), LARGE), 200),
    "claude, tokens": (claude, lambda: Claude(MANY, Limit("tokens", 40_000)), TURNS),
    "openai chat, requests": (chat, lambda: OpenAI(Limit("requests", 100), LARGE), 200),
    "openai chat, tokens": (chat, lambda: OpenAI(MANY, SMALL), QUARTER),
    "openai responses, tokens": (responses, lambda: Responses(MANY, Limit("tokens", 4_000)), 200),
    "groq, requests a day": (chat, lambda: OpenAI(Limit("requests", 100, DAY), LARGE), 200),
    "groq, tokens a minute": (chat, lambda: OpenAI(Limit("requests", 14_400, DAY), SMALL), QUARTER),
    "openrouter": (openrouter, lambda: OpenRouter(Limit("requests", 20)), QUARTER),
    "openrouter, which says nothing": (openrouter, lambda: FreeModels(Limit("requests", 5)), 200),
}


async def fan_out(host: Host, make: Make, budget: Budget) -> tuple[float, WireServer]:
    """That many turns at once; the seconds until all are done."""
    server = WireServer(host)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        llm = lutum.Lutum(make(server, client), budget=budget, retry=lutum.RetryPolicy(jitter=0))
        turn = llm.text_turn("hello").max_output_tokens(MOST)
        start = anyio.current_time()

        async def one() -> None:
            await turn.collect()

        async with anyio.create_task_group() as group:
            for _ in range(host.turns):
                group.start_soon(one)
        took = anyio.current_time() - start
    assert budget.spent.output_tokens == host.turns * OUTPUT
    assert budget.statistics().open_leases == budget.reserved.total_tokens == 0
    return took, server


@pytest.mark.slow
@VIRTUAL
@pytest.mark.parametrize(("make", "host", "turns"), CASES.values(), ids=CASES)
async def test_fan_out(make: Make, host: Callable[[], Host], turns: int) -> None:
    """The answers say what the limits are: no request after the first ten is refused, and it takes no more
    than a tenth longer than the provider's limits make it take."""
    limits = host()
    limits.turns = turns
    took, server = await fan_out(limits, make, Budget(on_exhausted="wait", follow_rate_limits=True))
    assert [number for number in limits.refused if number >= 10] == []
    assert len(server.requests) == turns + len(limits.refused)
    if not isinstance(limits, FreeModels):
        assert limits.refused == []
    assert limits.ideal - 60 * isinstance(limits, OpenRouter) <= took <= limits.ideal * 1.1
