"""Names that do not exist are errors, and modules that are loaded late are typed."""

from typing import assert_type

import lutum
from lutum.trace import Subscription


def wrong() -> None:
    print(lutum.Sesion)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


def late() -> None:
    assert_type(lutum.trace.capture(), lutum.trace.capture)
    print(Subscription, lutum.testing.WireServer, lutum.dialect.usage.settle)
