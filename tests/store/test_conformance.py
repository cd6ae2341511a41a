"""All three stores keep the public conformance suite, and the suite finds a store that does not."""

from typing import Any

import anyio
import pytest

import lutum
from lutum.store import Store, connect
from lutum.testing import check_store, virtual_time


async def test_every_store_conforms(any_url: str) -> None:
    """SQLite, PostgreSQL and memory."""
    await check_store(lambda: connect(any_url), shared=any_url != "memory:")


@pytest.mark.parametrize(
    "anyio_backend",
    [pytest.param((name, virtual_time(name)), id=name) for name in ("asyncio", "trio")],
)
async def test_memory_conforms_under_virtual_time() -> None:
    """It uses no thread, so that the clock cannot jump while one works."""
    await check_store(lambda: connect("memory:"), shared=False)


async def test_an_encrypted_store_conforms(url: str) -> None:
    """With a codec nothing readable is stored."""

    class Flip:
        def encode(self, data: bytes) -> bytes:
            return bytes(one ^ 0x5A for one in data)

        decode = encode

    await check_store(lambda: connect(url, codec=Flip()))
    if url.startswith("sqlite:"):
        data = await anyio.Path(url.removeprefix("sqlite:")).read_bytes()
        assert b"paid Ann" not in data
        assert b"Be brief." not in data


def broken(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Break one promise of the store."""
    from lutum.store import _branches, _rounds

    if fault == "a save that does not compare":
        save: Any = _branches.save

        def overwrite(
            at: Any, nodes: Any, name: str, target: Any, expected: Any, *rest: Any, **more: Any
        ) -> None:
            here = nodes.load(at, _branches.find(at, name).head)
            save(at, nodes, name, target, here, *rest, **more)

        monkeypatch.setattr(_branches, "save", overwrite)
    elif fault == "a claim that is a note":
        claim: Any = _rounds.claim

        def note(at: Any, name: str, call: Any, runner: int, alive: Any) -> Any:
            at.run("update lutum_call set claim = null, result = null where key = ?", call.key)
            return claim(at, name, call, runner, alive)

        monkeypatch.setattr(_rounds, "claim", note)
    elif fault == "bills keyed by the item":
        write: Any = _branches.write_bills

        def merged(at: Any, nodes: Any, branch: int, bills: Any) -> None:
            import msgspec

            digests = [b.turn if b.committed is None else b.committed().digest for b in bills]
            write(
                at,
                nodes,
                branch,
                tuple(msgspec.structs.replace(b, turn=d) for b, d in zip(bills, digests, strict=True)),
            )

        monkeypatch.setattr(_branches, "write_bills", merged)
    elif fault == "ends that are forgotten":
        monkeypatch.setattr(_branches, "tips", lambda at, branch: [branch.head])
    else:
        monkeypatch.setattr(_branches, "_pass_round", lambda at, branch, target: None)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("a save that does not compare", "a second save overwrote the first"),
        ("a claim that is a note", "a call with a result was claimed|two runs of one round ran"),
        ("bills keyed by the item", "equal answers of forks share a bill"),
        ("ends that are forgotten", "an edit lost the old item"),
        ("rounds that are passed over", "a save passed over an open round"),
    ],
)
async def test_the_suite_finds_a_fault(fault: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that passes everything proves nothing."""
    broken(monkeypatch, fault)
    with pytest.raises(AssertionError, match=problem):
        await check_store(lambda: connect("memory:"), shared=False)


def test_public_names() -> None:
    """`lutum.store` is loaded when it is asked for."""
    assert lutum.store.connect is connect
    assert isinstance(connect("memory:"), Store)
