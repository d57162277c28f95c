"""Waiting for what another thread or process does. The one place in the tests that polls."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], timeout_s: float = 10.0, found: Callable[[], object] = lambda: "") -> None:
    """Return as soon as this holds. Raises `AssertionError`, with what was `found`, if it doesn't in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout_s} s: {found()}"
        time.sleep(0.005)
