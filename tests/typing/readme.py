import lutum


async def main() -> None:
    async with lutum.adapter("claude:claude-sonnet-4-5") as claude:  # reads ANTHROPIC_API_KEY
        llm = lutum.Lutum(claude)
        result = await llm.text_turn("Name three rivers.").collect()
        print(result.text)


lutum.run(main)
