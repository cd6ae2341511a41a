"""(f) The cost of a start: imports, and the time from the interpreter's start to the request's first byte."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any

from measure import Report, Table, by_hand, interleaved, python

TIMED = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{code}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""

IMPORTS = {
    "lutum": "import lutum",
    "lutum, an adapter ready": "import lutum; lutum.ClaudeAdapter('claude-sonnet-5', api_key='none')",
    "httpx, a client ready": "import httpx; httpx.AsyncClient()",
    "openai": "import openai",
    "openai, a client ready": "import openai; openai.AsyncOpenAI(api_key='none')",
    "anthropic": "import anthropic",
    "anthropic, a client ready": "import anthropic; anthropic.AsyncAnthropic(api_key='none')",
    "pydantic-ai, Anthropic": "import pydantic_ai, pydantic_ai.models.anthropic",
    "litellm": "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import litellm",
}

FIRST_BYTE = {
    f"lutum, {backend}": f"""
import lutum
async def main():
    async with lutum.ClaudeAdapter("claude-sonnet-5", api_key="none", base_url=URL) as claude:
        await lutum.Lutum(claude).text_turn("go").collect()
lutum.run(main, backend={backend!r})
"""
    for backend in ("asyncio", "trio")
} | {
    "anthropic": """
import anthropic, asyncio
async def main():
    client = anthropic.AsyncAnthropic(api_key="none", base_url=URL, max_retries=0)
    await client.messages.create(
        model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "go"}], stream=True
    )
asyncio.run(main())
""",
    "openai": """
import openai, asyncio
async def main():
    client = openai.AsyncOpenAI(api_key="none", base_url=URL, max_retries=0)
    await client.chat.completions.create(
        model="gpt-4.1-mini", messages=[{"role": "user", "content": "go"}], stream=True
    )
asyncio.run(main())
""",
    "pydantic-ai": """
import asyncio
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
async def main():
    model = AnthropicModel("claude-sonnet-5", provider=AnthropicProvider(api_key="none", base_url=URL))
    await model_request(model, [ModelRequest.user_text_prompt("go")])
asyncio.run(main())
""",
}


def imported(code: str) -> dict[str, Any]:
    wall, cpu = map(float, python(TIMED.format(code=code)).split())
    return {"wall": wall, "cpu": cpu}


def first_byte(code: str) -> dict[str, Any]:
    """Return the seconds until a byte of the request arrives. Then kill the process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        command = [sys.executable, "-c", f"URL = {url!r}\n{code}"]
        environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1)
                took = time.monotonic() - began
            process.kill()
    return {"wall": took}


def measure(url: str, quick: bool) -> Report:
    rounds = 1 if quick else 9
    report = Report(
        "(f) Starting",
        f"Seconds, median of {rounds} interleaved fresh interpreters. The limits are for CPU time, because"
        " wall time also depends on other programs of the machine.",
    )
    jobs = {name: partial(imported, code) for name, code in IMPORTS.items() if not quick or "lutum" in name}
    for job in jobs.values():
        job()  # writes the bytecode
    took = interleaved(rounds, jobs)
    report.tables.append(
        Table(
            "Import",
            ("", "CPU s", "wall s"),
            tuple((name, f"{each['cpu']:.3f}", f"{each['wall']:.3f}") for name, each in took.items()),
        )
    )
    report.check("import lutum", took["lutum"]["cpu"], " s")
    report.check("import lutum, an adapter ready", took["lutum, an adapter ready"]["cpu"], " s")
    firsts = {
        name: partial(first_byte, code) for name, code in FIRST_BYTE.items() if not quick or "lutum" in name
    }
    report.tables.append(
        Table(
            "From the start of the interpreter to the first byte of the request",
            ("", "wall s"),
            tuple((name, f"{each['wall']:.3f}") for name, each in interleaved(rounds, firsts).items()),
        )
    )
    return report


if __name__ == "__main__":
    by_hand(measure)
