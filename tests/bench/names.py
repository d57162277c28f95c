"""CPU time per query for cluster names: pydns with one worker and Knot with the same records take turns in one run."""

import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from tests.bench import cluster, dnsperf, procfs, queries, servers
from tests.bench.compared import Sample, check_agreement
from tests.bench.report import Table

SERVICES = 10_000
_WARM_UP_S = 1.0
_RCODE_TOLERANCE = 0.01


class Comparison(NamedTuple):
    """All rounds of one workload. The runs of `subject[i]` and `peer[i]` follow each other directly."""

    workload: str
    limit: float
    subject: list[Sample]
    peer: list[Sample]

    def ratios(self) -> list[float]:
        """Return pydns's CPU time per query divided by Knot's, for each round."""
        return [ours.cpu_us / theirs.cpu_us for ours, theirs in zip(self.subject, self.peer, strict=True)]


def run(command: str, seconds: float, rounds: int, cores: tuple[int, int]) -> list[Comparison]:
    """Compare the servers, pinned to the first of `cores`. dnsperf runs on the second.

    Raises `servers.Failed` if the servers disagree about an answer, or return unexpected rcodes under load.
    """
    server_core, client_core = cores
    services = cluster.services(SERVICES)
    with tempfile.TemporaryDirectory(prefix="cluster-bench-") as made:
        manifests, zones, inputs = (Path(made) / each for each in ("manifests", "zones", "inputs"))
        for directory in manifests, zones, inputs:
            directory.mkdir()
        cluster.write_manifests(manifests, services)
        cluster.write_zones(zones, services)
        with (
            servers.knot(zones, server_core) as peer,
            servers.pydns(command, ["--manifests", str(manifests)], 1, server_core) as subject,
        ):
            last = (services[-1].dns_name, "A")
            for server in peer, subject:
                servers.wait_until(server, [last])
            comparisons = []
            for workload in queries.workloads(services):
                data = inputs / workload.name
                data.write_text(workload.text())
                check_agreement([subject, peer], workload, _facts)
                samples: dict[str, list[Sample]] = {subject.name: [], peer.name: []}
                for _ in range(rounds):
                    for server in subject, peer:
                        samples[server.name].append(_measure(server, workload, data, seconds, client_core))
                comparisons.append(Comparison(workload.name, workload.limit, samples[subject.name], samples[peer.name]))
            return comparisons


def _measure(server: servers.Server, workload: queries.Workload, data: Path, seconds: float, core: int) -> Sample:
    dnsperf.flood(server.port, data, _WARM_UP_S, core)
    before = procfs.cpu_s(server.pid)
    flood = dnsperf.flood(server.port, data, seconds, core)
    used_s = procfs.used_s(before, procfs.cpu_s(server.pid))
    if wrong := flood.wrong_rcodes(workload.shares(), _RCODE_TOLERANCE):
        raise servers.Failed(f"{server.name}, workload {workload.name}: {wrong}")
    return Sample(used_s / flood.completed * 1e6, flood.qps, flood.lost, flood.response_octets)


def _facts(reply: dns.message.Message) -> tuple[object, ...]:
    """Return the parts of a reply that must be equal for both servers.

    These parts are the rcode, AA, the answer and additional sections, and the type of the record in a denial. The SOA
    serial differs between servers, and a server may add NS records to an answer.
    """
    denial = [dns.rdatatype.to_text(rrset.rdtype) for rrset in reply.authority] if not reply.answer else []
    records = [
        {(rrset.name, rrset.rdtype, rrset.ttl, rdata) for rrset in section for rdata in rrset}
        for section in (reply.answer, reply.additional)
    ]
    return dns.rcode.to_text(reply.rcode()), bool(reply.flags & dns.flags.AA), records, denial


def table(comparisons: list[Comparison]) -> Table:
    """Return the figures to show: medians over the rounds, and the range of the ratio."""
    rows = []
    for comparison in comparisons:
        ratios = comparison.ratios()
        for_all = [*comparison.subject, *comparison.peer]
        rows.append(
            [
                comparison.workload,
                f"{median(sample.cpu_us for sample in comparison.subject):.2f}",
                f"{median(sample.cpu_us for sample in comparison.peer):.2f}",
                f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})",
                f"≤ {comparison.limit:g}",
                f"{median(sample.qps for sample in comparison.subject):,.0f}",
                f"{median(sample.qps for sample in comparison.peer):,.0f}",
                f"{sum(sample.lost for sample in for_all)}",
            ]
        )
    header = ["workload", "pydns µs", "Knot µs", "ratio (range)", "wanted", "pydns q/s", "Knot q/s", "lost"]
    return Table(f"CPU per query, {SERVICES:,} Services, one worker", header, rows)
