"""An eval that keeps the raw requests and answers, and prints them only if the eval fails.
Copy it to see what the provider really sent when a score is bad."""

from _provider import run

import lutum
import lutum.eval
from lutum.eval import PureEval, pass_fail
from lutum.testing.wire import Reply
from lutum.trace import Trace

REPLIES = [Reply("Four."), Reply("Five.")]


@PureEval.of
def says_four(trace: Trace, answer: str) -> bool:
    return "four" in answer.lower() and len(trace.find("request")) == 1


async def main(llm: lutum.Lutum) -> None:
    async def task() -> str:
        return (await llm.text_turn("How much is 2 + 2?").max_output_tokens(20).collect()).text

    evaluation = says_four.scored_by(pass_fail(bool))
    for _ in range(2):
        record = await lutum.eval.record(evaluation, task, raw=True)
        print("passed" if record.passed() else "failed")
        if not record.passed():
            for entry in record.trace.raw:
                if entry.kind == "request":
                    print(" ", entry.data["body"])
                elif entry.kind == "frame":
                    print(" ", *lutum.decode_frame(entry.data["frame"]))


if __name__ == "__main__":
    run(main, REPLIES)
