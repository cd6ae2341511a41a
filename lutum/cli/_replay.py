"""The second process of `lutum demo`: it loads a transcript and prints the request that would come next.

Run as `python -m lutum.cli._replay URL MODEL FILE`; an empty URL is the provider's own. Nothing is sent.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL

import anyio

import lutum
from lutum_claude import ClaudeAdapter, ClaudeOptions

NO_KEY = "the wire server asks for none"


def reasoning_turn(session: lutum.Session) -> lutum.TextTurn:
    """A turn with thinking, in the form that the model takes.

    A preview refuses the other forms, and sends nothing.

    Raises:
      BadValue: the request is wrong in another way; there is no key, for instance.
    """
    turn = session.text_turn().max_output_tokens(2048)
    for options in (ClaudeOptions(thinking=1024), ClaudeOptions(thinking="adaptive", display="summarized")):
        try:
            turn.ext(options).preview()
        except lutum.BadValue as error:
            if error.field != "thinking":
                raise
        else:
            return turn.ext(options)
    return turn


def adapter(url: str, model: str) -> ClaudeAdapter:
    """The adapter of both processes: for the wire server at `url`, or for the API and its key.

    Raises:
      BadValue: a blank model, a URL or a proxy in the environment that is none.
    """
    return ClaudeAdapter(model=model, base_url=url or None, api_key=NO_KEY if url else None)


async def next_request(url: str, model: str, dumped: bytes) -> bytes | str:
    """What a second process would send next, or why it cannot tell; cancelled, the process is killed."""
    with tempfile.TemporaryDirectory() as folder:
        path = anyio.Path(folder, "session.jsonl")
        await path.write_bytes(dumped)
        # -P and our own path: the same lutum, whatever lies in the current directory.
        command = [sys.executable, "-P", "-m", "lutum.cli._replay", url, model, str(path)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            done = await anyio.run_process(command, stdin=DEVNULL, check=False, env=environ)
        except OSError as error:
            return f"it did not start: {error}"
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        return f"it ended with exit code {done.returncode}: {words or 'it said nothing'}"
    return done.stdout


def main(url: str, model: str, path: str) -> int:
    """Print the request's body."""
    try:
        transcript = lutum.Transcript.load(Path(path).read_bytes())
        turn = reasoning_turn(lutum.Session(lutum.Lutum(adapter(url, model)), transcript))
        sys.stdout.buffer.write(turn.preview().body)
    except (lutum.LutumError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
