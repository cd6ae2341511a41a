"""Ask one question and print the answer while it arrives. Copy it to begin."""

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply("The Nile, ", "the Danube ", "and the Mekong.")]


async def main(llm: lutum.Lutum) -> None:
    async with llm.text_turn("Name three rivers.").max_output_tokens(300).stream() as turn:
        async for text in turn.text():
            print(text, end="", flush=True)
    print(f"\n[{turn.usage.total_tokens} tokens, {turn.usage.known}]")


if __name__ == "__main__":
    run(main, REPLIES)
