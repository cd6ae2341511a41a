"""Skills: groups of tools that are off until the model loads a group. Each group comes with its instructions.
Copy it when there are more tools than a model should see at once."""

from typing import Annotated, Any, Literal, NamedTuple

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("load_skill", {"name": "charts"})),
    Reply(Call("draw_chart", {"title": "Rain", "values": [3, 9, 4]})),
    Reply(Call("unload_skill", {"name": "charts"})),
    Reply("Here is your chart of the rain."),
]
Name = Literal["charts", "mail"]
Loaded = Annotated[list[Name], lutum.Injected]


@lutum.tool
async def draw_chart(title: str, values: list[int]) -> str:
    """Draw a bar chart."""
    return f"{title}: " + " ".join("#" * value for value in values)


@lutum.tool
async def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


class Skill(NamedTuple):
    tools: lutum.Toolset[Any]
    instructions: str


SKILLS: dict[Name, Skill] = {
    "charts": Skill(lutum.Toolset(draw_chart), "A chart has a title of one word."),
    "mail": Skill(lutum.Toolset(send_mail), "Mails are short and polite."),
}


@lutum.tool
async def load_skill(name: Name, loaded: Loaded) -> str:
    """Load a skill: its tools can be called in the next round."""
    if name not in loaded:
        loaded.append(name)
    return f"{name} is loaded"


@lutum.tool
async def unload_skill(name: Name, loaded: Loaded) -> str:
    """Unload a skill that is not needed any more."""
    loaded.remove(name)
    return f"{name} is unloaded"


async def main(llm: lutum.Lutum) -> None:
    loaded = list[Name]()
    off = [lutum.off(skill.tools) for skill in SKILLS.values()]
    tools = lutum.Toolset[Any](load_skill, unload_skill, *off).bind(loaded=loaded)
    session = lutum.Session(llm)
    session.push_user("Draw a chart of the rain: 3, 9 and 4.")
    for _ in range(8):
        for name in loaded:  # for one round, so that an unloaded skill leaves no instructions
            session.push_ephemeral_developer(SKILLS[name].instructions)
        turn = session.text_turn().tools(tools).available(plus=[SKILLS[name].tools for name in loaded])
        turn = turn.describe(load_skill, f"Load a skill. Loaded: {', '.join(loaded) or 'none'}.")
        match await turn.collect():
            case lutum.NeedsTools(round):
                results = await round.run()
                session.commit_round(round, results)
                print(*[result.text for result in results], sep="\n")
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
