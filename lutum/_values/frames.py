"""Short tracebacks: an error of lutum shows the frames of the program, not those of libraries below it."""

from __future__ import annotations

from types import TracebackType
from typing import Final, TypeVar

E = TypeVar("E", bound=BaseException)

LIBRARIES: Final = frozenset(
    {
        "anyio",
        "asyncio",
        "concurrent",
        "contextlib",
        "encodings",
        "h11",
        "httpcore",
        "httpx",
        "httpx2",
        "outcome",
        "selectors",
        "socket",
        "ssl",
        "trio",
        "uvloop",
    }
)
"""Packages whose frames do not show the caller's mistake. `_of_libraries` adds those named `lutum...`."""


def shortened(error: E) -> E:
    """Remove the tracebacks of an error and its causes whose frames are all of libraries. Return the error.

    A traceback that contains a frame of the caller's hook, tool or client is not changed.
    """
    found: BaseException | None = error
    seen = set[int]()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if _of_libraries(found.__traceback__):
            found.__traceback__ = None
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return error


def _of_libraries(trace: TracebackType | None) -> bool:
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in LIBRARIES and not package.startswith("lutum"):
            return False
        trace = trace.tb_next
    return True
