"""Defines the clocks of the controller. Tests pass clocks that they can set."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """The controller's clocks, which return seconds."""

    monotonic: Callable[[], float] = time.monotonic  # measures periods and ages
    wall: Callable[[], float] = time.time  # Unix time, for values that people and other hosts read


class Every:
    """A timer that is due once in every period of `seconds`."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last = clock.monotonic()

    def is_due(self) -> bool:
        """Return whether the period is over. If so, start the next period."""
        now = self._clock.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
