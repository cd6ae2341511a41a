"""`lutum.dialect.retry`: `Retry-After` means the same for every adapter."""

import pytest

from lutum.dialect.retry import retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": " 05 "}, 5.0),
        ({"retry-after": "5.5"}, 5.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "Tue, 14 Nov 2023 22:13:40 GMT"}, 10.0),
        ({"retry-after": "Fri, 01 Jan 1971 00:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        *(
            ({"retry-after-ms": odd, "retry-after": "7"}, 7.0)
            for odd in ("nan", "inf", "1e3", "-5", "", "abc", "1_000", "1" * 10)
        ),
        *(({"retry-after": odd}, None) for odd in ("+5", "-1", "1e1", "1_0", "inf", "nan", "", "1E400", "٣")),
        ({"retry-after": "Tue, 14 Nov 99999999 22:13:50 GMT"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "today"}, None),
        ({}, None),
    ],
)
def test_both_forms_are_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
