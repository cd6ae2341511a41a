"""The second process of `lutum demo`: it loads a transcript and prints the request that would come next.

Run as `python -m lutum.cli._replay URL MODEL FILE PROVIDER`; an empty URL is the API's own. Nothing is sent.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL

import anyio

import lutum
from lutum.cli import _providers


async def next_request(
    url: str, model: str, dumped: bytes, provider: _providers.Provider = "wire"
) -> bytes | str:
    """Start a second process and return its next request, or the reason why the process failed.

    Cancellation kills the process.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = anyio.Path(folder, "session.jsonl")
        await path.write_bytes(dumped)
        # With -P and our own path, the process imports the same lutum from any current directory.
        command = [sys.executable, "-P", "-m", "lutum.cli._replay", url, model, str(path), provider]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            done = await anyio.run_process(command, stdin=DEVNULL, check=False, env=environ)
        except OSError as error:
            return f"it did not start: {error}"
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        return f"it ended with exit code {done.returncode}: {words or 'it printed no error'}"
    return done.stdout


def main(url: str, model: str, path: str, provider: str) -> int:
    """Print the request's body."""
    try:
        transcript = lutum.Transcript.load(Path(path).read_bytes())
        llm = lutum.Lutum(_providers.adapter(provider, url, model))
        turn = _providers.reasoning_turn(provider, lutum.Session(llm, transcript))
        sys.stdout.buffer.write(turn.preview().body)
    except (lutum.LutumError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
