"""Waiting for other threads and processes. The one place in the tests that polls."""

import time
from collections.abc import Callable

# For what happens at once on an idle machine. CI is a busy one, and waiting costs nothing where it succeeds.
PATIENCE_S = 60.0


def until(holds: Callable[[], object], timeout_s: float = PATIENCE_S, found: Callable[[], object] = lambda: "") -> None:
    """Return as soon as `holds` returns true. Raises `AssertionError` with the result of `found` after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout_s} s: {found()}"
        time.sleep(0.005)
