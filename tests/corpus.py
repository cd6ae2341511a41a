"""Recorded provider exchanges, read where they are and never copied into the repository.

Where the vendors' own traffic is absent, a small synthetic corpus takes its place. A test that needs real
traffic calls `load(..., real=True)` and is skipped there.

A test of every recorded stream:

    pytestmark = pytest.mark.corpus

    def test_every_stream_ends() -> None:
        for record in corpus.load("claude_messages"):
            ...
"""

import os
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import pytest
import synthetic_corpus

Name = Literal["claude_messages", "extra_spliced_errors", "openai_chat", "openai_responses"]

Place = Literal["streams", "hosts"]
"""The vendors' own traffic, or that of other hosts."""

ROOT = Path(os.environ.get("LUTUM_CORPUS") or Path(__file__).parents[2] / "shared" / "streams")
HOSTS = Path(os.environ.get("LUTUM_RECORDINGS") or ROOT.parent / "recordings") / "hosts"


def load(name: Name, place: Place = "streams", *, real: bool = False) -> list[dict[str, Any]]:
    """Load all records of one kind; the list is shared between tests: read it, do not change it.

    With `real`, the test is skipped where there are none; called at the top of a module, to parametrise, the
    module is.
    """
    if name not in get_args(Name):
        raise ValueError(f"no such kind of recording: {name!r}")
    root = HOSTS if place == "hosts" else ROOT
    if found := _recorded(name, root):
        return found
    if real or place == "hosts" or name == "extra_spliced_errors":
        pytest.skip(f"no {name}.jsonl under {root}", allow_module_level=True)
    return synthetic_corpus.records(name)


def least(count: int) -> int:
    """How many of something there must be: `count` in the recorded exchanges, one in the synthetic ones."""
    return count if _recorded("claude_messages", ROOT) else 1


def named(ids: Collection[str]) -> set[str]:
    """Those of these recordings that are there: all of them, or none where the corpus is synthetic."""
    return set(ids) if _recorded("claude_messages", ROOT) else set()


@cache
def _recorded(name: Name, root: Path) -> list[dict[str, Any]]:
    files = sorted(root.rglob(f"{name}.jsonl"))
    return [record for file in files for record in msgspec.json.Decoder().decode_lines(file.read_bytes())]
