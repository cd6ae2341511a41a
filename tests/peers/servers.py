"""The servers as processes, and the doors: which adapter speaks to which of them.

$LUTUM_PEERS/llama, llamacpp, transformers, litellm   virtual environments
$LUTUM_PEERS/random.gguf, random/           the models, of random weights
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from lutum.abc import Adapter
from lutum_claude import ClaudeAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, Profile

START_SECONDS = 180
STOP_SECONDS = 20
READY = ("Uvicorn running on", "serves at")
BIN = "Scripts" if sys.platform == "win32" else "bin"


class Server:
    """A server that answers; its log is what it has written so far."""

    def __init__(self, name: str, url: str, model: str, log: list[str]) -> None:
        self.name = name
        self.url = url
        self.model = model
        self.log = log


class Servers:
    """Starts each server once; leaving the block ends them all."""

    def __init__(self, root: Path, tmp: Path) -> None:
        self._root = root
        self._tmp = tmp
        self._exits = ExitStack()
        self._started = dict[str, Server | None]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def get(self, name: str) -> Server | None:
        """The server of that name; None where it is not installed.

        Raises:
          RuntimeError: it did not start; with what it wrote.
        """
        if name not in self._started:
            bin = self._root / name.partition("-")[0] / BIN
            start = getattr(self, "_" + name.replace("-", "_"))
            self._started[name] = start(bin) if bin.exists() else None
        return self._started[name]

    def _llama(self, bin: Path) -> Server:
        return self._llama_with(bin, "--interrupt_requests", "False")

    def _llama_default(self, bin: Path) -> Server:
        """Breaks off what it is saying when the next request comes."""
        return self._llama_with(bin)

    def _llama_with(self, bin: Path, *flags: str) -> Server:
        return self._start(
            "llama",
            "random",
            [
                *(str(bin / "python"), "-m", "llama_cpp.server", "--host", "127.0.0.1", "--n_ctx", "4096"),
                *("--model", str(self._root / "random.gguf"), "--model_alias", "random", *flags, "--port"),
            ],
        )

    def _llamacpp(self, bin: Path) -> Server:
        script = str(Path(__file__).parent / "llama_server.py")
        return self._start(
            "llamacpp", "random", [str(bin / "python"), script, str(self._root / "random.gguf")]
        )

    def _transformers(self, bin: Path) -> Server:
        return self._start(
            "transformers",
            str(self._root / "random"),
            [str(bin / "transformers"), "serve", "--host", "127.0.0.1", "--port"],
            HF_HUB_OFFLINE="1",
        )

    def _litellm(self, bin: Path) -> Server | None:
        behind = self.get("transformers")
        if behind is None:
            return None
        config = (Path(__file__).parent / "litellm.yaml").read_text("utf-8")
        config = config.replace("MODEL_FOLDER", behind.model).replace("TRANSFORMERS_URL", behind.url)
        file = self._tmp / "litellm.yaml"
        file.write_text(config, "utf-8")
        return self._start(
            "litellm",
            "tiny",
            [str(bin / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port"],
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        )

    def _start(self, name: str, model: str, command: list[str], **env: str) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [*command, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self._tmp,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )
        log, told = list[str](), threading.Event()

        def read() -> None:
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    log.append(line)
                    if any(word in line for word in READY):
                        told.set()
            told.set()

        reader = threading.Thread(target=read)
        reader.start()
        self._exits.callback(_end, process, reader)
        if not told.wait(START_SECONDS) or process.poll() is not None:
            raise RuntimeError(f"{name} did not start:\n{''.join(log[-50:])}")
        return Server(name, f"http://127.0.0.1:{port}/v1", model, log)


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join()


def installed(name: str, servers: Servers) -> Server:
    """A server, or a skip."""
    found = servers.get(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Door(NamedTuple):
    """A way into a server."""

    server: str
    adapter: Callable[[Server], Adapter]


def _chat(server: Server) -> Adapter:
    return OpenAIChatAdapter(server.model, base_url=server.url)


def _llama_chat(server: Server) -> Adapter:
    # It refuses `json_schema`, and constrains the arguments of a tool that it is made to call; null is no
    # content to it, though it sends that itself.
    profile = Profile(structured="tool", null_content=False)
    return OpenAIChatAdapter(server.model, base_url=server.url, profile=profile)


def _responses(server: Server) -> Adapter:
    return OpenAIAdapter(server.model, base_url=server.url)


def _messages(server: Server) -> Adapter:
    return ClaudeAdapter(server.model, base_url=server.url.removesuffix("/v1"))


DOORS = {
    "llama-chat": Door("llama", _llama_chat),
    "transformers-chat": Door("transformers", _chat),
    "transformers-responses": Door("transformers", _responses),
    "litellm-chat": Door("litellm", _chat),
    "litellm-messages": Door("litellm", _messages),
}
