"""Print how long each resolver's look-ups take, and the slowest reply that the resolver waited for.

`python -m tests.clients [RESOLVER…]`
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

from tests.clients import lookups, programs, table
from tests.clients.pod import Pod
from tests.clients.wiretap import Query

os.environ |= {"PYDNS_DRAIN_QUIET": "0", "PYDNS_METRICS": "off", "PYDNS_RESOLV_CONF": os.devnull}

slow = {row.name for row in table.rows() if row.is_slow}
with tempfile.TemporaryDirectory(prefix="clients-") as folder:
    pod = Pod(Path(folder))
    try:
        print(
            f"{'resolver':14}{'look-ups':>9}{'queries':>9}{'median ms':>11}{'slowest reply ms':>18}  slowest look-ups"
        )
        for resolver in sys.argv[1:] or table.RESOLVERS:
            try:
                answered = lookups.whole_table(resolver, pod, Path(folder, "go-cache"))
            except programs.Missing as error:
                print(f"{resolver:14}{error}")
                continue
            if resolver in lookups.ALL_AT_ONCE:
                print(f"{resolver:14}{len(answered):9}  at once")
                continue
            queries = sum(isinstance(seen, Query) for each in answered.values() for seen in each.seen)
            median = statistics.median(each.duration_s for each in answered.values())
            reply_s = max(each.slowest_reply_s for (_, name), each in answered.items() if name not in slow)
            slowest = sorted(answered.items(), key=lambda item: -item[1].duration_s)[:4]
            worst = ", ".join(
                f"{name} {question} {1000 * each.duration_s:.0f} ms" for (question, name), each in slowest
            )
            print(f"{resolver:14}{len(answered):9}{queries:9}{1000 * median:11.1f}{1000 * reply_s:18.1f}  {worst}")
    finally:
        pod.close()
