"""Logs: one line per event with fields, on stderr, as logfmt or JSON. For what changes state, never per query."""

import json
import sys
import time
from enum import IntEnum


class Level(IntEnum):
    """How much an event matters."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Log:
    """Writes events. Safe to call from several threads: each event is one write."""

    def __init__(self, *, as_json: bool = False, lowest: Level = Level.INFO) -> None:
        self._as_json = as_json
        self._lowest = lowest

    def __call__(self, event: str, *, level: Level = Level.INFO, **fields: object) -> None:
        """Write an event with its fields, unless its level is below what was asked for."""
        if level < self._lowest:
            return
        line: dict[str, object] = {"time": _now(), "level": level.name.lower(), "event": event}
        line |= {key: value if isinstance(value, int | float) else str(value) for key, value in fields.items()}
        if self._as_json:
            text = json.dumps(line, ensure_ascii=False)
        else:
            text = " ".join(f"{key}={_logfmt(value)}" for key, value in line.items())
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"


def _logfmt(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and not set(' "=') & set(text) else json.dumps(text, ensure_ascii=False)
