"""`http_client=` takes the clients of both libraries; anything else is a type error."""

import httpx
import httpx2

import lutum
from lutum.transport import HttpClient


def clients() -> tuple[HttpClient, HttpClient]:
    return httpx.AsyncClient(), httpx2.AsyncClient()


def adapters() -> None:
    lutum.ClaudeAdapter("m", http_client=httpx.AsyncClient())
    lutum.OpenAIAdapter("m", http_client=httpx2.AsyncClient())
    lutum.OpenAIChatAdapter("m", http_client=None)
    lutum.OpenRouterAdapter("m", http_client=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lutum.ClaudeAdapter("m", http_client=httpx.Client())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
