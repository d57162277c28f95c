"""Logs changes of state to stderr, as logfmt or JSON. Each event is one line with its fields.

Rules:

1. Events with the same name and the same text fields count as equal. Of equal events, at most `FIRST` are written in a
   minute, and further repeats are held back. At the end of the minute, the last repeat is written with `repeated=N`.
   After `MOST` different events in a minute, new events count as equal if they have the same name. So the number of
   lines is limited, even if a state changes all the time, or if thousands of objects have mistakes.
2. Writers don't wait long for a slow reader. If standard error has no room within `PATIENCE_S`, the line is lost. When
   there is room again, the log gets a line with the number of lost lines.
"""

import json
import re
import time
from collections.abc import Callable
from enum import IntEnum
from threading import Lock
from typing import Protocol

from pydns.stderr import Stderr

FIRST = 5
MOST = 500
PATIENCE_S = 0.1
_WINDOW_S = 60.0
_LONGEST = 2000  # maximum characters of a field; the rest of the field is cut off


class Level(IntEnum):
    """How important an event is."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Outlet(Protocol):
    """A destination for lines."""

    def write(self, lines: bytes, patience_s: float = 0.0) -> bool:
        """Write all lines and return True, or write nothing and return False."""
        ...


class _Repeated:
    """How often one event occurred in the current minute."""

    def __init__(self) -> None:
        self.times = 0
        self.held: tuple[float, Level, str, dict[str, object]] | None = None  # the last repeat that was not written


class Log:
    """Writes events. Several threads may use one `Log`, because each event is one write."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        lowest: Level = Level.INFO,
        outlet: Outlet | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.outlet = outlet or Stderr()
        self._as_json = as_json
        self._lowest = lowest
        self._clock = clock
        self._lock = Lock()
        self._recent: dict[tuple[str, ...], _Repeated] = {}
        self._began = clock()
        self._lost = 0

    def __call__(self, event: str, *, level: Level = Level.INFO, **fields: object) -> None:
        """Write an event with its fields. An event with a level that is too low is dropped.

        An event may be held back (rule 1).
        """
        if level < self._lowest:
            return
        now = self._clock()
        self.summarize()
        with self._lock:
            key = event, *[f"{key}={value}" for key, value in fields.items() if not isinstance(value, int | float)]
            if key not in self._recent and len(self._recent) >= MOST:
                key = (event,)
            recent = self._recent.setdefault(key, _Repeated())
            recent.times += 1
            if recent.times > FIRST:
                recent.held = now, level, event, fields
            else:
                self._write(now, level, event, fields)

    def summarize(self) -> None:
        """Write the number of lost lines. At the end of the minute, write the held events, too.

        The caller calls this method about every second.
        """
        now = self._clock()
        with self._lock:
            if self._lost:
                self._write_lost()
            if 0 <= now - self._began < _WINDOW_S:
                return
            held = [(*each.held, each.times - FIRST) for each in self._recent.values() if each.held]
            self._began = now
            self._recent.clear()
            # The events are sorted by time, so the last line shows the current state.
            for at, level, event, fields, times in sorted(held, key=lambda each: each[0]):
                self._write(at, level, event, {**fields, "repeated": times})

    def forget(self) -> None:
        """Drop held events.

        A process calls this method right after its fork, because its parent process writes these events.
        """
        self._recent.clear()
        self._lost = 0

    def compose(self, at: float, level: Level, event: str, fields: dict[str, object]) -> bytes:
        """Return an event as a line."""
        line: dict[str, object] = {"time": _time(at), "level": level.name.lower(), "event": event}
        for key, value in fields.items():
            line[key] = value if isinstance(value, int | float) else str(value)[:_LONGEST]
        if self._as_json:
            text = _quoted(line)
        else:
            text = " ".join([f"{key}={_logfmt(value)}" for key, value in line.items()])
        return text.encode(errors="backslashreplace") + b"\n"

    def _write(self, at: float, level: Level, event: str, fields: dict[str, object]) -> None:
        # The first lost line has waited for room, but the reader has stopped. So further lines don't wait.
        if not self.outlet.write(self.compose(at, level, event, fields), 0.0 if self._lost else PATIENCE_S):
            self._lost += 1

    def _write_lost(self) -> None:
        if self.outlet.write(self.compose(self._clock(), Level.WARNING, "log lines lost", {"number": self._lost})):
            self._lost = 0


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"


def _logfmt(value: object) -> str:
    text = str(value)
    return text if _PLAIN(text) else _quoted(text)


def _quoted(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # some readers treat U+0085 and U+2028 as the end of a line
    return text if text.isprintable() else json.dumps(value)


_PLAIN = re.compile(r"[!#-<>-~]+").fullmatch  # printable ASCII without space, quote and equals sign
