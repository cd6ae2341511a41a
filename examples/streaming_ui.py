"""A user interface on the raw event stream: each kind of event has its place on the screen.
Copy it when you draw a turn yourself, on a terminal, in a window or in a page."""

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply, Script, Status, Think

REPLIES: list[Script] = [
    Status(529, "overloaded_error", headers={"retry-after": "0"}),
    Reply(Think("They want the weather."), "I will look. ", Call("weather", {"city": "Oslo"})),
    Reply("It is 3 degrees in Oslo."),
]


@lutum.tool
async def weather(city: str) -> str:
    """The weather in a city."""
    return "3 degrees"


def draw(event: lutum.Event) -> None:
    match event:
        case lutum.TurnStarted(model=model):
            print(f"[{model}]")
        case lutum.WillRetry(attempt=attempt, after=after, error=error):
            print(f"[{error}: attempt {attempt} in {after:.1f} s]")
        case lutum.ReasoningDelta(text=text):
            print(f"\033[2m{text}\033[0m", end="", flush=True)  # dim
        case lutum.TextDelta(text=text) | lutum.RefusalDelta(text=text):
            print(text, end="", flush=True)
        case lutum.ToolCallDelta():
            print(".", end="", flush=True)  # arguments, in pieces that may be cut anywhere
        case lutum.ToolCallReady(name=name, arguments=arguments):
            print(f"\n[calls {name} {arguments}]")
        case lutum.ToolCallIssue(name=name, reason=reason):
            print(f"\n[cannot call {name}: {reason}]")
        case lutum.StructuredDelta(json=json):
            print(json, end="", flush=True)
        case lutum.CitationAdded(citation=citation):
            print(f"[{citation.title or citation.url}]", end="", flush=True)
        case lutum.StructuredReady() | lutum.UsageUpdate() | lutum.ProviderEvent():
            pass
        case lutum.Completed(finish_reason=reason, usage=usage):
            print(f"\n[{reason}, {usage.total_tokens} tokens]")


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.defaults = lutum.Settings(retry=lutum.RetryPolicy())
    session.push_user("What is the weather in Oslo?")
    while True:
        async with session.text_turn().tools(lutum.Toolset(weather)).stream() as turn:
            async for event in turn:
                draw(event)
        match turn.result:
            case lutum.NeedsTools(round):
                session.commit_round(round, await round.run())
            case lutum.Finished(result):
                session.commit_text(result)
                return


if __name__ == "__main__":
    run(main, REPLIES)
