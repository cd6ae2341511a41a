"""`lutum.dialect.usage`: one rule turns every provider's report into a `Usage` and its label."""

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st
from msgspec import Raw

from lutum import Estimate, Event, ProviderEvent, Usage, UsageUpdate
from lutum.dialect.usage import (
    MOST,
    Reported,
    UsageReports,
    cost,
    count,
    is_odd,
    largest,
    member,
    recovered,
    settle,
    total,
)

ESTIMATE = Estimate(input_tokens=40, output_tokens=1000)


@pytest.mark.parametrize(
    ("lexeme", "found"),
    [
        (b"0", 0),
        (b"12", 12),
        (b"12.0", 12),
        (b"1e2", 100),
        (b'"12"', 12),
        (b'" 12 "', 12),
        (str(MOST).encode(), MOST),
        (str(MOST + 1).encode(), None),
        (b"1e400", None),
        (b"1e-400", None),
        (b"-1", None),
        (b"1.5", None),
        (b'"-1"', None),
        (b'"1e2"', None),
        (b'"many"', None),
        (b'""', None),
        (b"true", None),
        (b"{}", None),
        (b"[1]", None),
        (b"null", None),
        (b"", None),
        (b"9" * 5000, None),
        (b"NaN", None),
    ],
)
def test_a_count_is_an_integer_from_0_to_2_53(lexeme: bytes, found: int | None) -> None:
    assert count(Raw(lexeme)) == found
    assert is_odd(Raw(lexeme)) == (found is None and lexeme not in (b"null", b""))


def test_a_missing_member_is_no_count() -> None:
    assert count(None) is None
    assert not is_odd(None)


@pytest.mark.parametrize(
    ("lexeme", "found"),
    [(b"0", "0"), (b"0.10", "0.10"), (b'"0.25"', "0.25"), (b"1e-7", "1e-7"), (b"-1", None), (b"null", None)],
)
def test_a_cost_is_read_by_its_digits(lexeme: bytes, found: str | None) -> None:
    assert cost(Raw(lexeme)) == (None if found is None else Decimal(found))


def test_members_of_objects_in_objects() -> None:
    members = {"a": Raw(b'{"b":{"c":7}}'), "x": Raw(b"[]"), "cut": Raw(b'{"b"')}
    assert count(member(members, "a", "b", "c")) == 7
    for path in (("a", "c"), ("a", "b", "c", "d"), ("x", "b"), ("cut", "b"), ("missing", "b")):
        assert member(members, *path) is None


@pytest.mark.parametrize(
    ("reported", "counted", "settled"),
    [
        # Plausible reports are taken as they are, also below the number of deltas.
        (Reported(input_tokens=10, output_tokens=5), 3, Usage(10, 5)),
        (Reported(input_tokens=10, output_tokens=2), 3, Usage(10, 2)),
        (Reported(input_tokens=10, output_tokens=0), 0, Usage(10, 0)),
        (Reported(input_tokens=10, output_tokens=5, total_tokens=15), 3, Usage(10, 5)),
        (Reported(input_tokens=10, output_tokens=5, total_tokens=9), 3, Usage(10, 5)),
        (
            Reported(
                input_tokens=10,
                output_tokens=5,
                cache_read_tokens=6,
                cache_write_tokens=1,
                reasoning_tokens=4,
                cost_usd=Decimal(0),
            ),
            3,
            Usage(10, 5, 6, 1, 4, Decimal(0)),
        ),
        # The input holds cache reads and writes. No more of them than the input is believed.
        (Reported(input_tokens=10, output_tokens=5, cache_read_tokens=20), 3, Usage(10, 5, 10)),
        (Reported(input_tokens=0, output_tokens=5, cache_read_tokens=20), 3, Usage(20, 5, 20)),
        # No report for a figure.
        (None, 3, Usage(40, 3, known="estimated")),
        (Reported(), 3, Usage(40, 3, known="estimated")),
        (Reported(input_tokens=0, output_tokens=0, total_tokens=0), 3, Usage(40, 3, known="estimated")),
        (Reported(input_tokens=10, output_tokens=0), 3, Usage(10, 3, known="estimated")),
        (Reported(input_tokens=10), 3, Usage(10, 3, known="estimated")),
        (Reported(input_tokens=0, output_tokens=5, total_tokens=5), 3, Usage(40, 5, known="estimated")),
        (Reported(output_tokens=5), 3, Usage(40, 5, known="estimated")),
        # The total says where the difference belongs.
        (
            Reported(input_tokens=279, output_tokens=6, total_tokens=374, reasoning_tokens=89),
            6,
            Usage(279, 95, reasoning_tokens=89),
        ),
        (
            Reported(input_tokens=21, output_tokens=0, total_tokens=81, reasoning_tokens=60),
            6,
            Usage(21, 60, reasoning_tokens=60),
        ),
        (
            Reported(input_tokens=20, output_tokens=8, total_tokens=403, audio_input_tokens=375),
            6,
            Usage(395, 8),
        ),
        (
            Reported(input_tokens=20, output_tokens=8, total_tokens=38, tool_input_tokens=10),
            6,
            Usage(30, 8),
        ),
        (Reported(input_tokens=20, output_tokens=8, total_tokens=33), 6, Usage(20, 13, known="estimated")),
        (Reported(input_tokens=20, total_tokens=30), 3, Usage(20, 10, known="estimated")),
        (Reported(output_tokens=20, total_tokens=30), 3, Usage(10, 20, known="estimated")),
        (Reported(total_tokens=100), 3, Usage(40, 60, known="estimated")),
        (Reported(total_tokens=20), 3, Usage(17, 3, known="estimated")),
    ],
)
def test_the_rule(reported: Reported | None, counted: int, settled: Usage) -> None:
    assert settle(reported, counted, ESTIMATE) == settled


def test_a_report_before_the_end_is_a_lower_bound_or_the_count() -> None:
    report = Reported(input_tokens=10, output_tokens=5)
    assert settle(report, 3, ESTIMATE, final=False) == Usage(10, 5, known="lower_bound")
    assert settle(report, 8, ESTIMATE, final=False) == Usage(10, 8, known="estimated")
    assert settle(report, 8, ESTIMATE, final=False, hidden=True) == Usage(10, 8, known="lower_bound")
    assert settle(None, 8, ESTIMATE, hidden=True) == Usage(40, 8, known="lower_bound")


def test_sums_and_largest_values() -> None:
    one = Reported(input_tokens=10, output_tokens=5, cache_read_tokens=2, cost_usd=Decimal("0.1"))
    two = Reported(input_tokens=1, output_tokens=7, odd=True)
    assert total(one, two) == Reported(
        input_tokens=11, output_tokens=12, cache_read_tokens=2, cost_usd=Decimal("0.1"), odd=True
    )
    assert largest(one, two) == Reported(
        input_tokens=10, output_tokens=7, cache_read_tokens=2, cost_usd=Decimal("0.1"), odd=True
    )
    assert total(one, Reported(input_tokens=1)).output_tokens is None
    assert total(one) == largest(one) == one
    assert Reported(input_tokens=0, odd=True).empty
    assert not one.empty


_FIGURE = st.none() | st.integers(0, MOST)
_REPORT = st.builds(
    Reported, **{name: _FIGURE for name in Reported.__struct_fields__ if name.endswith("_tokens")}
)


@given(_REPORT, st.integers(0, 1000), st.booleans(), st.booleans())
def test_any_report_settles(report: Reported, counted: int, final: bool, hidden: bool) -> None:
    """Nothing negative, no paid output as zero, never more exact than its figures, and never below the sum
    that the provider billed unless it contradicts itself."""
    usage = settle(report, counted, ESTIMATE, final=final, hidden=hidden)
    assert usage.input_tokens >= usage.cache_read_tokens + usage.cache_write_tokens
    assert usage.output_tokens > 0 or not counted
    assert usage.total_tokens >= (report.total_tokens or 0)
    if usage.known == "exact":
        assert final
        assert report.input_tokens or report.cache_read_tokens or report.total_tokens
        assert report.output_tokens is not None or report.total_tokens is not None
    if final and not hidden:
        assert usage.known in ("exact", "estimated")


@given(st.binary(max_size=40))
def test_no_member_raises(lexeme: bytes) -> None:
    found = count(Raw(lexeme))
    assert found is None or 0 <= found <= MOST
    assert (amount := cost(Raw(lexeme))) is None or amount >= 0


def test_a_true_zero() -> None:
    """A call by a program that was paid for before costs nothing. Any other zero is no report."""
    zeros = Reported(input_tokens=0, output_tokens=0)
    assert settle(zeros, 1, ESTIMATE, free=True) == Usage()
    assert settle(zeros, 1, ESTIMATE) == Usage(40, 1, known="estimated")
    assert settle(None, 1, ESTIMATE, free=True) == Usage(40, 1, known="estimated")
    assert settle(Reported(input_tokens=3, output_tokens=1), 1, ESTIMATE, free=True) == Usage(3, 1)


def test_reports_of_one_response() -> None:
    """Each new report is an event; zeros after a report do not count; an odd member is shown."""
    reports, out = UsageReports(ESTIMATE), list[Event]()
    first, last = Reported(input_tokens=10, output_tokens=1), Reported(input_tokens=10, output_tokens=9)
    reports.take(None, b"null", out, counted=0, final=False)
    reports.take(Reported(input_tokens=0, output_tokens=0), b"{}", out, counted=0, final=False)
    assert (out, reports.final) == ([], False)
    reports.take(first, b"1", out, counted=0, final=False)
    reports.take(first, b"1", out, counted=5, final=False)
    assert out == [UsageUpdate(Usage(10, 1, known="lower_bound"))]
    assert reports.settle(5) == Usage(10, 5, known="estimated")
    reports.take(last, b"2", out, counted=5, final=True)
    reports.take(Reported(input_tokens=0, output_tokens=0), b"3", out, counted=5, final=True)
    assert out[1:] == [UsageUpdate(Usage(10, 9), True)]
    assert (reports.settle(5), reports.final) == (Usage(10, 9), True)
    reports.take(Reported(odd=True), b"4", out, counted=5, final=True)
    assert out[2:] == [ProviderEvent("usage", b"4")]
    assert reports.settle(5) == Usage(10, 9)


def test_the_report_of_a_whole_body_is_final() -> None:
    reports = UsageReports(ESTIMATE, hidden=True)
    reports.mark_final()
    assert reports.settle(2) == Usage(40, 2, known="lower_bound")
    reports.take(Reported(input_tokens=10, output_tokens=1), b"", [], counted=1, final=False)
    reports.mark_final()
    assert reports.settle(2) == Usage(10, 1)


def test_records_of_past_requests() -> None:
    assert recovered(None) is None
    assert recovered(Reported()) is None
    assert recovered(Reported(input_tokens=3, output_tokens=4)) == Usage(3, 4, known="recovered")
