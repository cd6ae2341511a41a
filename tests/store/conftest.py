"""The three databases of the store's tests."""

from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A running PostgreSQL server: the folder of its socket."""
    if postgres.tools() is None:
        pytest.skip(postgres.WHY_NOT)
    with postgres.server() as root:
        yield root


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that several processes can use."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/store.db"
    return postgres.url(request.getfixturevalue("postgres_server"))


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, or of memory."""
    if request.param == "memory":
        return "memory:"
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/store.db"
    return postgres.url(request.getfixturevalue("postgres_server"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server with `process`: it runs in real time."""
    for item in items:
        used = getattr(item, "callspec", None)
        if used is not None and "postgresql" in used.params.values():
            item.add_marker(pytest.mark.process)
