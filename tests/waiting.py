"""Wait for other threads and processes. In the tests, only this module polls."""

import time
from collections.abc import Callable

# A limit for events that happen at once on an idle machine. CI machines are busy. A long limit costs nothing when the
# test succeeds.
PATIENCE_S = 60.0


def until(holds: Callable[[], object], timeout_s: float = PATIENCE_S, found: Callable[[], object] = lambda: "") -> None:
    """Return as soon as `holds` returns true. Raises `AssertionError` with the result of `found` after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout_s} s: {found()}"
        time.sleep(0.005)
