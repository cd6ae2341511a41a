"""Independent servers, run by `nox -s peers`; without $LUTUM_PEERS nothing here is collected.

The variable names a folder with a virtual environment for each server and the models they serve. What
a server lacks is a skip whose reason begins with "lacks"; the table at the end says what came out.
"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from peers.servers import DOORS, Door, Server, Servers, installed

import lutum

collect_ignore_glob = [] if os.environ.get("LUTUM_PEERS") else ["test_*.py"]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers, each started when it is first asked for and ended with the session."""
    with Servers(Path(os.environ["LUTUM_PEERS"]), tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(params=DOORS.values(), ids=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    """An adapter, and the server it speaks to."""
    return request.param


@pytest.fixture
def server(door: Door, servers: Servers) -> Server:
    """The server behind the door; skipped where it is not installed."""
    return installed(door.server, servers)


@pytest.fixture
async def llm(door: Door, server: Server) -> AsyncIterator[lutum.Lutum]:
    """A boundary on a new adapter, with a budget that is never short."""
    adapter = door.adapter(server)
    try:
        yield lutum.Lutum(adapter, budget=lutum.Budget(tokens=1_000_000))
    finally:
        await adapter.aclose()


@pytest.fixture
def llama(servers: Servers) -> Server:
    """llama.cpp's server."""
    return installed("llama", servers)


@pytest.fixture
def litellm(servers: Servers) -> Server:
    """litellm's proxy."""
    return installed("litellm", servers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table: what was tested, by door."""
    if not os.environ.get("LUTUM_PEERS"):
        return
    found = dict[str, dict[str, str]]()
    for kind, word in (("passed", "yes"), ("skipped", "lacks"), ("failed", "FAILED"), ("error", "FAILED")):
        for report in terminalreporter.getreports(kind):
            name, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
            door = next((door for door in DOORS if door in parameters), None)
            if door is not None:
                more = parameters.rstrip("]").partition(door)[2].lstrip("-")
                row = found.setdefault(f"{name.removeprefix('test_')} {more}".strip(), {})
                row[door] = word if row.get(door, word) == word else "differs"
    doors = [door for door in DOORS if any(door in row for row in found.values())]
    if not doors:
        return
    write = terminalreporter.write_line
    write("")
    write(f"| | {' | '.join(doors)} |")
    write("|---|" + "---|" * len(doors))
    for name, row in found.items():
        write(f"| {name.replace('_', ' ')} | {' | '.join(row.get(door, '') for door in doors)} |")
