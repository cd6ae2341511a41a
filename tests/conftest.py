"""Both backends for every coroutine test, and how hard hypothesis tries."""

import ast
import gc
import os
import signal
import sys
from functools import wraps
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

if sys.version_info < (3, 11, 8) or (3, 12) <= sys.version_info < (3, 12, 2):
    # https://github.com/python/cpython/issues/106905: a collection inside ast.parse may end a task whose
    # exception was not read; asyncio then formats a traceback, which parses too, and both fail.
    _parse = ast.parse

    @wraps(_parse)
    def _parse_alone(*args: Any, **kwargs: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return _parse(*args, **kwargs)
        finally:
            if collects:
                gc.enable()

    ast.parse = _parse_alone  # type: ignore[assignment]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and children inherit it: tests of Ctrl-C would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", max_examples=50, deadline=None)
# The same examples on every run: a change is never held up by what it did not cause.
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "nightly",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # 5,000 examples are meant to take a while
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# anyio's own fixture takes the backends that are installed; here a missing one is a failure. Module scope,
# as there: hypothesis refuses fixtures that are set up for each test. A test that wants virtual time
# parametrises "anyio_backend" itself.
@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The backend that a coroutine test runs on."""
    return request.param
