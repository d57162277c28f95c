"""What the controller counts, in a block that outlives it: sources begin at zero when they are made anew."""

from collections.abc import Mapping
from typing import Any

from pydns.config.model import MetricNames
from pydns.metrics.block import Block
from pydns.metrics.totals import PROGRAMMING_S, Follower, Key, decode


class Ledger:
    """The controller's counts."""

    def __init__(self, block: Block) -> None:
        self.names = MetricNames.COREDNS
        self._block = block
        self._totals = decode(block.load())
        self._follower = Follower(self._totals)

    def follow(self, kinds: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what the sources of these kinds have counted, and store it."""
        current: dict[Key, float] = {}
        for kind, about in kinds.items():
            for key, name in _COUNTS.items():
                if key in about:
                    current[name, kind] = about[key]
            for reason, number in about.get("errors", {}).items():
                current["watch_errors_total", kind, reason] = number
        self._follower.follow(current)
        self._block.store(self._totals.encode())

    def programmed(self, service_kind: str, seconds: float) -> None:
        """Count how long a change took from its cause to being served."""
        self._totals.observe(("kubernetes_dns_programming_duration_seconds", service_kind), PROGRAMMING_S, seconds)


_COUNTS = {"relists": "relists_total", "audits": "audits_total", "repaired": "repaired_objects_total"}
