"""A worked example of an observer: counts queries and replies by protocol."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydns.config.model import Config
from pydns.serve.port import Port


class TrafficCounts:
    """What came and left, by protocol."""

    is_on = True

    def __init__(self) -> None:
        self.queries: Counter[str] = Counter()
        self.replies: Counter[str] = Counter()

    def configure(self, config: Config) -> None:
        """Do nothing: it is always on."""

    def received(self, port: Port, messages: Sequence[bytes]) -> None:
        """Count queries."""
        self.queries[port.protocol] += len(messages)

    def replied(self, port: Port, peer: Any, reply: bytes, came: float) -> None:
        """Count a reply, deferred or not."""
        self.replies[port.protocol] += 1
