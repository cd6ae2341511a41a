"""The benchmarks are run by hand. What they promise stands in one table, and each has a letter of its own."""

import runpy
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MEASUREMENTS = sorted(BENCHMARKS.glob("[a-z]_*.py"))


def test_each_measurement_has_a_letter_of_its_own() -> None:
    letters = [path.name[0] for path in MEASUREMENTS]
    assert letters == sorted(set(letters))
    for path in MEASUREMENTS:
        text = path.read_text()
        assert text.startswith(f'"""({path.name[0]}) ')
        assert f'"({path.name[0]}) ' in text, "the title of its report"
        assert f'"{path.stem}",' in (BENCHMARKS / "run.py").read_text()


def test_every_limit_is_in_the_table() -> None:
    limits = runpy.run_path(str(BENCHMARKS / "limits.py"))["LIMITS"]
    assert sorted(limits) == [path.name[0] for path in MEASUREMENTS]
    assert all(limit > 0 for table in limits.values() for limit in table.values())
    for path in MEASUREMENTS:
        assert "Check(" not in path.read_text()


def test_the_promises_of_short_turns() -> None:
    """They are promises and not measurements, so no run moves them."""
    limits = runpy.run_path(str(BENCHMARKS / "limits.py"))["LIMITS"]
    assert (
        limits["k"]
        | {
            "50 at once: lutum, asyncio / best SDK": 1 / 5,
            "50 at once: lutum, asyncio / raw aiohttp": 4.2,
            "50 at once: lutum, trio / best SDK": 1 / 4.5,
            "50 at once: lutum, trio / raw aiohttp": 4.2,
        }
        == limits["k"]
    )
    assert limits["f"]["import lutum, an adapter ready"] <= 0.13
    assert limits["l"]["new connections: lutum, asyncio / raw aiohttp"] <= 2.5
