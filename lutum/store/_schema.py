"""The tables and their versions. A store is migrated forward when it is opened; a newer store is refused.

lutum_node    one row for each item: the digest of all items up to it, its parent's digest, and its line
lutum_branch  a name, and the digest of its head
lutum_left    the former heads of a branch, so that old answers stay reachable
lutum_round   the open round of a branch, at most one
lutum_call    the calls of an open round: claims, approvals and results
lutum_bill    the charge of each turn, by the random id of the turn
"""

from __future__ import annotations

from lutum._values.errors import StoreFormat
from lutum.store._database import Database, Transaction
from lutum.store._nodes import ROOT

VERSION = 2

_FIRST = """
create table lutum_store (name text primary key, value integer not null);
create table lutum_node (
    digest {bytes} primary key,
    parent {bytes} references lutum_node (digest),
    length bigint not null,
    size bigint not null,
    line {bytes} not null,
    created double precision not null
);
create index lutum_node_parent on lutum_node (parent);
create table lutum_branch (
    id {serial},
    name text{c} not null unique,
    head {bytes} not null references lutum_node (digest),
    metadata text not null,
    origin text,
    origin_length bigint not null default 0,
    created double precision not null,
    updated double precision not null
);
create index lutum_branch_head on lutum_branch (head);
create table lutum_left (
    branch bigint not null references lutum_branch (id) on delete cascade,
    tip {bytes} not null references lutum_node (digest),
    at double precision not null,
    primary key (branch, tip)
);
create index lutum_left_tip on lutum_left (tip);
create table lutum_round (
    branch bigint primary key references lutum_branch (id) on delete cascade,
    base {bytes} not null references lutum_node (digest),
    turn {bytes} not null,
    turn_length bigint not null,
    data {bytes} not null,
    at double precision not null
);
create index lutum_round_base on lutum_round (base);
create table lutum_call (
    branch bigint not null references lutum_round (branch) on delete cascade,
    key text not null,
    call_id text not null,
    claim text,
    runner bigint,
    started_by text,
    started_at double precision,
    ended integer not null default 0,
    result {bytes},
    approved_by text,
    approved_at double precision,
    primary key (branch, key)
);
create table lutum_bill (
    turn text primary key,
    branch bigint not null references lutum_branch (id) on delete cascade,
    digest {bytes},
    at double precision not null,
    adapter text not null,
    model text not null,
    error text not null,
    usage {bytes} not null
)
"""

_MIGRATIONS = {
    1: _FIRST,
    # Bills are summed for each branch; token ids are kept beside the bill of their turn.
    2: """
create index lutum_bill_branch on lutum_bill (branch);
alter table lutum_bill add column tokens {bytes}
""",
}


def migrate(database: Database, *, create: bool) -> None:
    """Create the tables, or migrate them to the current version.

    Raises:
      StoreFormat: a newer version of lutum wrote the tables, or they are missing and must not be created.
    """
    with database.transaction(write=False) as at:
        if _version(database, at) == VERSION:
            return
    with database.transaction(write=True) as at:
        database.lock_schema(at)
        found = _version(database, at)
        if found is None and not create:
            raise StoreFormat("the database holds no store; connect(url, create=True) makes one")
        for version in range((found or 0) + 1, VERSION + 1):
            collation = ' collate "C"' if database.bytes_type == "bytea" else ""
            for statement in _MIGRATIONS[version].split(";"):
                at.run(statement.format(bytes=database.bytes_type, serial=database.serial, c=collation))
        if found is None:
            at.run("insert into lutum_store (name, value) values ('version', ?)", VERSION)
            at.run(
                "insert into lutum_node (digest, parent, length, size, line, created)"
                " values (?, null, 0, 0, ?, 0)",
                ROOT,
                b"",
            )
        elif found < VERSION:
            at.run("update lutum_store set value = ? where name = 'version'", VERSION)


def _version(database: Database, at: Transaction) -> int | None:
    if "lutum_store" not in database.tables(at):
        return None
    rows = at.rows("select value from lutum_store where name = 'version'")
    if not rows:
        raise StoreFormat("the store has no version")
    version = int(rows[0][0])
    if version > VERSION:
        raise StoreFormat(f"the store has version {version}; this lutum reads versions up to {VERSION}")
    return version
