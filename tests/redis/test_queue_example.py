"""examples/queue_dbos.py: a DBOS queue whose workers draw on one ledger, in Redis or in memory."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from example_files import dbos_needs_sqlite
from redis_server import PrivateRedis, needs_redis

from lutum.redis import RedisLedger

EXAMPLE = Path(__file__).parents[2] / "examples" / "queue_dbos.py"

pytestmark = [pytest.mark.process, dbos_needs_sqlite]


def run(folder: Path, *arguments: str) -> list[str]:
    pytest.importorskip("dbos")
    command = [sys.executable, str(EXAMPLE), str(folder / "queue.sqlite"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    ).stdout.splitlines()


def test_it_runs_without_a_server(tmp_path: Path) -> None:
    assert run(tmp_path) == ["A short summary."] * 8


@needs_redis
def test_its_workers_draw_on_one_ledger(tmp_path: Path) -> None:
    async def spent(url: str) -> int:
        async with RedisLedger(url, "batch") as ledger:
            return ledger.state.spent.total_tokens

    with PrivateRedis() as server:
        said = run(tmp_path, server.url)
        assert set(said) <= {"A short summary.", "not paid for: batch"}
        assert said.count("A short summary.") >= 4
        assert 0 < anyio.run(spent, server.url) <= 1_500
