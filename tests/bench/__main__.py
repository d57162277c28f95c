"""`python -m tests.bench`: measure, print one readable report, and exit with 1 if a measurement failed.

A figure that misses its target is not a failure, because a busy machine can be the reason.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import dns.exception

from tests.bench import (
    change,
    clients,
    dot,
    external,
    folders,
    forward,
    idle,
    latency,
    load,
    memory,
    names,
    overload,
    pods,
    probes,
    procfs,
    rates,
    report,
    restart,
    servers,
    start,
    tcp,
    tenants,
    tools,
)

_PARTS = {  # part -> what it measures, and the programs that it needs
    "names": ("CPU per query, next to Knot DNS", ("dnsperf", "knotd", "taskset")),
    "rates": ("CPU per query at steady rates, next to Knot DNS and CoreDNS", ("knotd", "taskset")),
    "idle": ("wake-ups and CPU without queries, next to Knot DNS and CoreDNS", ("knotd", "taskset")),
    "tcp": ("CPU per query over TCP, next to Knot DNS and CoreDNS", ("dnsperf", "knotd", "taskset")),
    "latency": ("latency at a steady rate, next to Knot DNS and CoreDNS", ("dnsperf", "knotd", "taskset")),
    "forward": (
        "CPU per query that is asked upstream, next to Unbound and dnsmasq",
        ("dnsperf", "knotd", "unbound", "dnsmasq", "taskset"),
    ),
    "dot": ("CPU per query that is asked upstream over TLS, next to Unbound", ("dnsperf", "unbound", "taskset")),
    "load": ("time and memory to load a big cluster", ("dnsperf",)),
    "start": ("time and CPU of a start, a restart with a table, and memory", ("dnsperf",)),
    "folders": ("time to read 5,000 manifests and 100,000 records of a zone file, and delay of a change", ()),
    "change": ("delay of a change", ()),
    "external": ("delay of changes in an external zone", ()),
    "tenants": ("delay of a change next to another tenant's largest objects", ()),
    "memory": ("memory by the size of the cluster", ("dnsperf",)),
    "pods": ("memory and delay of the names of clients with many Pods", ()),
    "overload": ("replies at ten times the load", ("dnsperf", "taskset")),
    "clients": ("what ordinary clients lose next to a greedy one", ("dnsperf", "taskset")),
    "probes": ("delay of probes next to a flood of their port or the metrics", ()),
    "restart": ("queries lost in a rolling restart", ()),
}


def main(arguments: list[str]) -> int:
    """Run the parts that `arguments` name."""
    options = _parser().parse_args(arguments)
    parts = list(_PARTS) if options.part == "all" else [options.part]
    try:
        tools.require(*dict.fromkeys(program for part in parts for program in _PARTS[part][1]))
        facts = report.machine()
        print(report.head(facts, arguments), flush=True)
        results: dict[str, Any] = {}
        for part in parts:
            results[part], table = _measure(part, options)
            print("\n" + table.text(), flush=True)
    except (tools.Missing, servers.Failed, procfs.Changed, dns.exception.Timeout) as problem:
        print(f"tests.bench: {problem}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps({"arguments": arguments, "machine": facts, **results}, indent=1))
    return 0


def _measure(part: str, options: argparse.Namespace) -> tuple[Any, report.Table]:
    """Return the raw figures of a part for JSON, and their table."""
    if part == "names":
        comparisons = names.run(options.pydns, options.seconds, options.rounds, _cores())
        return [
            {
                "workload": each.workload,
                "pydns": [sample._asdict() for sample in each.subject],
                "knot": [sample._asdict() for sample in each.peer],
            }
            for each in comparisons
        ], names.table(comparisons)
    if part == "forward":
        workloads = forward.run(options.pydns, options.seconds, options.rounds, _cores())
        return [each._asdict() for each in workloads], forward.table(workloads)
    if part == "rates":
        at_rates = rates.run(options.pydns, options.coredns, options.seconds, options.rounds, _cores())
        return [each._asdict() for each in at_rates], rates.table(at_rates)
    if part == "idle":
        processes = idle.run(options.pydns, options.coredns, options.seconds, options.rounds, _cores())
        return [each._asdict() for each in processes], idle.table(processes)
    if part == "tcp":
        over_tcp = tcp.run(options.pydns, options.coredns, options.seconds, options.rounds, _cores())
        return [each._asdict() for each in over_tcp], tcp.table(over_tcp)
    if part == "latency":
        latencies = latency.run(options.pydns, options.coredns, options.seconds, options.rounds, _cores())
        return {name: [each._asdict() for each in of_one] for name, of_one in latencies.items()}, latency.table(
            latencies
        )
    if part == "dot":
        over_tls = dot.run(options.pydns, options.seconds, options.rounds, _cores())
        return [each._asdict() for each in over_tls], dot.table(over_tls)
    if part == "load":
        loads = load.run(options.pydns, options.rounds)
        return [each._asdict() for each in loads], load.table(loads)
    if part == "start":
        starts = start.run(options.pydns, options.rounds, options.coredns)
        return [each._asdict() for each in starts], start.table(starts)
    if part == "folders":
        times = folders.run(options.pydns, options.rounds)
        return [each._asdict() for each in times], folders.table(times)
    if part == "external":
        delays = external.run(options.pydns)
        return delays._asdict(), external.table(delays)
    if part == "tenants":
        found_tenants = tenants.run(options.pydns, options.rounds)
        return [each._asdict() for each in found_tenants], tenants.table(found_tenants)
    if part == "memory":
        memories = memory.run(options.pydns)
        return [each._asdict() for each in memories], memory.table(memories)
    if part == "pods":
        of_pods = pods.run(options.pydns)
        return of_pods._asdict(), pods.table(of_pods)
    if part == "overload":
        means, found = overload.run(options.pydns, options.seconds, options.rounds, _cores())
        return [each._asdict() for each in found], overload.table(means, found)
    if part == "clients":
        peak_qps, beside = clients.run(options.pydns, options.seconds, _cores())
        return [each._asdict() for each in beside], clients.table(peak_qps, beside)
    if part == "probes":
        probed = probes.run(options.pydns)
        return [each._asdict() for each in probed], probes.table(probed)
    if part == "restart":
        lives = restart.run(options.pydns)
        return [each._asdict() for each in lives], restart.table(lives)
    delays_ms = change.run(options.pydns)
    return delays_ms, change.table(delays_ms)


def _cores() -> tuple[int, int]:
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise servers.Failed("only one core is usable; the server and the generator need a core each")
    return usable[0], usable[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=[*_PARTS, "all"], default="all")
    parser.add_argument(
        "--seconds",
        type=float,
        default=5,
        help="the length of each run of dnsperf; CPU times are exact enough from 3 on",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each server runs each workload, and how often pydns is started"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures of all rounds too")
    parser.add_argument(
        "--pydns",
        metavar="COMMAND",
        default=servers.THIS_CHECKOUT,
        help="the command of the pydns to measure; the default is this checkout",
    )
    parser.add_argument(
        "--coredns",
        type=Path,
        metavar="FILE",
        help="the CoreDNS that `start`, `rates`, `idle`, `tcp` and `latency` measure too",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
