"""Finds out how many CPUs this process may use. This module imports no large module."""

import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus() -> int:
    """Return the number of CPUs that the affinity and the cgroup (version 2) of this process allow, at least 1."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_LIMIT.read_text().split()
        return max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit, or no cgroup of version 2
        return cpus
