"""A PostgreSQL server for tests: a temporary cluster on a Unix socket, where the server is installed."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

WHY_NOT = "PostgreSQL (initdb and pg_ctl) and psycopg are not installed"


def tools() -> Path | None:
    """The folder of initdb and pg_ctl, where they and psycopg are installed."""
    try:
        import psycopg  # noqa: F401  # is it installed, with libpq?
    except ImportError:
        return None
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    for folder in [*versions[::-1], *([Path(found).parent] if found else [])]:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    return None


@contextmanager
def server() -> Iterator[str]:
    """The folder of the socket of a running server. The superuser is `lutum`, and there is no password."""
    folder = tools()
    assert folder is not None, WHY_NOT
    # A socket's path has at most 107 bytes, so it is not below pytest's own folders. initdb refuses root.
    root = tempfile.mkdtemp(prefix="lutum-pg-", dir="/tmp")
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(root, "postgres")
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=root, stdout=subprocess.DEVNULL, timeout=120, **user)

    data = f"{root}/data"
    try:
        run(f"{folder}/initdb", "-D", data, "-A", "trust", "-U", "lutum", "--no-sync", "-E", "UTF8")
        options = f"-k {root} -c listen_addresses='' -c max_connections=200"
        run(f"{folder}/pg_ctl", "-D", data, "-o", options, "-l", f"{root}/log", "-w", "start")
        try:
            yield root
        finally:
            run(f"{folder}/pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def url(root: str) -> str:
    """The URL of a new, empty schema of that server."""
    import psycopg

    schema = f"t{secrets.token_hex(8)}"
    with psycopg.connect(host=root, user="lutum", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"create schema {schema}".encode())
    options = quote(f"-c search_path={schema}")
    return f"postgresql:///postgres?host={quote(root, safe='')}&user=lutum&options={options}"
