"""How much memory processes take, from /proc. Knows nothing of what they are."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def shared_memory(pids: Iterable[int]) -> int:
    """Return the octets that processes take together: a page that several share counts once (PSS).

    Costs about a millisecond a process. What has ended, or may not be looked at, counts nothing.
    """
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
