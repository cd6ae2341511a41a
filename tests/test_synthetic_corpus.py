"""Without recordings the corpus tests run on a synthetic corpus, so that they pass for everybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.process
def test_the_corpus_tests_pass_without_recordings(tmp_path: Path) -> None:
    absent = {"LUTUM_CORPUS": str(tmp_path / "streams"), "LUTUM_RECORDINGS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "corpus and not slow"],
        cwd=TESTS.parent,
        env=os.environ | absent,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
    assert " passed" in done.stdout
