"""Recorded provider exchanges, read where they stand and never copied into the repository.

A test of every recorded stream:

    pytestmark = pytest.mark.corpus

    def test_every_stream_ends() -> None:
        for record in corpus.load("claude_messages"):
            ...
"""

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import pytest

Name = Literal["claude_messages", "extra_spliced_errors", "openai_chat", "openai_responses"]

Place = Literal["streams", "hosts"]
"""The vendors' own traffic, or that of other hosts."""

ROOT = Path(os.environ.get("LUTUM_CORPUS") or Path(__file__).parents[2] / "shared" / "streams")
HOSTS = Path(os.environ.get("LUTUM_RECORDINGS") or ROOT.parent / "recordings") / "hosts"


@cache
def load(name: Name, place: Place = "streams") -> list[dict[str, Any]]:
    """Load all records of one kind; the list is shared between tests: read it, do not change it.

    Where there are none, the test is skipped; called at the top of a module, to parametrise, the module is.
    """
    if name not in get_args(Name):
        raise ValueError(f"no such kind of recording: {name!r}")
    root = HOSTS if place == "hosts" else ROOT
    files = sorted(root.rglob(f"{name}.jsonl"))
    if not files:
        pytest.skip(f"no {name}.jsonl under {root}", allow_module_level=True)
    return [record for file in files for record in msgspec.json.Decoder().decode_lines(file.read_bytes())]
