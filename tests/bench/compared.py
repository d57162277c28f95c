"""Servers that serve the same cluster on one core: pydns with one worker, Knot and, if its path is given, CoreDNS.

CoreDNS needs a real API server, so it needs `PYDNS_TEST_KUBECONFIG`, too. Then pydns reads the same API server.
"""

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import dns.message
import dns.rcode

from tests.bench import cluster, filled, queries, servers, tools
from tests.bench.report import Table

SERVICES = 1000
_SAMPLE = 300  # how many questions of each workload all servers must answer equally before the measurement


class Compared(NamedTuple):
    """The servers in the order of their turns, pydns first, and the workload `mix` for their cluster."""

    servers: list[servers.Server]
    mix: queries.Workload


@contextmanager
def serving(command: str, coredns: Path | None, core: int) -> Iterator[Compared]:
    """Run the servers on `core`. Raises `servers.Failed` if they disagree about an answer."""
    with ExitStack() as stack:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compared-bench-")))
        zones, manifests = made / "zones", made / "manifests"
        for directory in zones, manifests:
            directory.mkdir()
        peers: list[servers.Server] = []
        if coredns is None:
            services = cluster.services(SERVICES)
            cluster.write_manifests(manifests, services)
            source = ["--manifests", str(manifests)]
        else:
            kubeconfig = _real_kubeconfig()
            services = stack.enter_context(filled.real(kubeconfig, SERVICES, 1)).services
            source = ["--kubeconfig", str(kubeconfig)]
            peers.append(stack.enter_context(servers.coredns(coredns, kubeconfig, core)))
        cluster.write_zones(zones, services)
        peers.insert(0, stack.enter_context(servers.knot(zones, core)))
        subject = stack.enter_context(servers.pydns(command, source, 1, core))
        compared = [subject, *peers]
        for server in compared:
            servers.wait_until(server, [(services[-1].dns_name, "A")])
            tools.pin(server.pid, core)
        mix = queries.mix(services)
        check_agreement(compared, mix, _facts)
        yield Compared(compared, mix)


def _real_kubeconfig() -> Path:
    kubeconfig = os.environ.get("PYDNS_TEST_KUBECONFIG")
    if not kubeconfig:
        raise servers.Failed("CoreDNS needs a real API server: set PYDNS_TEST_KUBECONFIG to a kubeconfig")
    return Path(kubeconfig)


def check_agreement(
    compared: list[servers.Server],
    workload: queries.Workload,
    facts: Callable[[dns.message.Message], tuple[object, ...]],
) -> None:
    """Compare answers to some questions of a workload. Raises `servers.Failed` if they differ, or for a wrong rcode.

    `facts` returns the parts of a reply that must be equal. The first one is the rcode as text.
    """
    for query in random.Random(0).sample(workload.queries, _SAMPLE):
        replies = {each.name: servers.ask(each.port, query.name, query.type, timeout_s=2) for each in compared}
        found = [facts(reply) for reply in replies.values()]
        if any(each != found[0] for each in found) or found[0][0] != query.rcode:
            shown = "\n".join(f"--- {name}\n{reply}" for name, reply in replies.items())
            raise servers.Failed(f"{query.name} {query.type}: wanted {query.rcode} and equal answers, found\n{shown}")


def _facts(reply: dns.message.Message) -> tuple[object, ...]:
    """Return the rcode and the records of the answer without their TTLs, which differ between the servers."""
    records = {(rrset.name, rrset.rdtype, rdata) for rrset in reply.answer for rdata in rrset}
    return dns.rcode.to_text(reply.rcode()), records


class Sample(NamedTuple):
    """One measured run of one server."""

    cpu_us: float  # CPU time per completed query, for all processes of the server
    qps: float
    lost: int
    response_octets: int


class Comparison(NamedTuple):
    """All rounds of one workload, by server. Samples with the same index come from consecutive runs."""

    workload: str
    samples: dict[str, list[Sample]]

    def ratios(self, peer: str) -> list[float]:
        """Return pydns's CPU time per query divided by a peer's, for each round."""
        pairs = zip(self.samples["pydns"], self.samples[peer], strict=True)
        return [ours.cpu_us / theirs.cpu_us for ours, theirs in pairs]


def table(title: str, comparisons: list[Comparison], peer: str, limits: Mapping[str, float]) -> Table:
    """Return the medians over the rounds, and the range of the ratios.

    `limits` has the target for CPU time per query of each workload, relative to that of `peer`.
    """
    names = list(comparisons[0].samples)
    rows = []
    for comparison in comparisons:
        row = [comparison.workload]
        row += [f"{median(sample.cpu_us for sample in runs):.1f}" for runs in comparison.samples.values()]
        for name in names[1:]:
            ratios = comparison.ratios(name)
            row.append(f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})")
        row.append(f"≤ {limits[comparison.workload]:g} × {peer}")
        row.append(" / ".join(f"{median(sample.qps for sample in runs):,.0f}" for runs in comparison.samples.values()))
        row.append(f"{sum(sample.lost for runs in comparison.samples.values() for sample in runs)}")
        rows.append(row)
    header = ["queries", *(f"{name} µs" for name in names), *(f"× {name} (range)" for name in names[1:])]
    return Table(title, [*header, "wanted", "q/s", "lost"], rows)
