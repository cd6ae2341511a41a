"""A hook with a memory: a command that contains a refused command is refused too, and the third refusal ends
the loop. Copy it when a decision depends on the decisions before it."""

from typing import Literal

from _provider import run

import lutum
from lutum.testing.wire import Call, Reply

REPLIES = [
    Reply(Call("shell", {"command": "ls"}), Call("shell", {"command": "rm -rf /"})),
    Reply(Call("shell", {"command": "bash -c 'rm -rf /'"})),
    Reply(Call("shell", {"command": "sudo ls"})),
    Reply("There is a file called notes.txt."),
]
Verdict = Literal["run", "refuse", "stop"]


class Guard(lutum.HookSet):
    @lutum.hook("singleton")
    async def judge(self, command: str) -> Verdict:
        return "run"


class Strict(lutum.Stateful):
    """Remembers the refused commands. Two calls of its hook never run at the same time."""

    def __init__(self) -> None:
        self.refused = list[str]()

    @Guard.judge.method
    async def judge(self, command: str) -> Verdict:
        seen = any(refused in command for refused in self.refused)
        if not seen and not command.startswith(("rm ", "sudo ")):
            return "run"
        self.refused.append(command)
        return "refuse" if len(self.refused) < 3 else "stop"


@lutum.tool
async def shell(command: str) -> str:
    """Run a command."""
    return f"ran {command}: notes.txt"


async def main(llm: lutum.Lutum) -> None:
    strict = Strict()
    guard = Guard().with_policy(strict)
    session = lutum.Session(llm)
    session.push_user("Tidy up this computer.")
    while True:
        match await session.text_turn().tools(lutum.Toolset(shell)).collect():
            case lutum.NeedsTools(round):
                for call in round.calls:
                    command = call.input.command
                    match await guard.judge(command):
                        case "run":
                            print((await call.run(timeout=30)).text)
                        case "refuse":
                            print(call.reject(f"not allowed: {command}").text)
                        case "stop":
                            return print("stopped:", strict.refused)
                session.commit_round(round, await round.run())  # an answered call keeps its answer
            case lutum.Finished(result):
                session.commit_text(result)
                return print(result.text)


if __name__ == "__main__":
    run(main, REPLIES)
