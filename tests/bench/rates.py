"""CPU time per query for cluster names at steady rates: the cost of a query that comes alone.

At these rates, a server handles one query for each wake-up, and its work between queries counts too. pydns, Knot and,
if its path is given, CoreDNS take turns.
"""

from itertools import cycle, islice
from pathlib import Path

from tests.bench import compared, paced, procfs, servers
from tests.bench.compared import Comparison, Sample
from tests.bench.report import Table

LIMITS = {200: 0.4, 2000: 0.35, 10_000: 0.3}  # queries per second -> CPU time relative to CoreDNS's
_WARM_UP_S = 1.0
_LEAST_RATE = 0.5  # a share of the wanted rate. If the real rate is lower, the client was too slow


def run(command: str, coredns: Path | None, seconds: float, rounds: int, cores: tuple[int, int]) -> list[Comparison]:
    """Compare the servers, pinned to the first of `cores`. The client runs on the second.

    Raises `servers.Failed` if the servers disagree about an answer, or if the client can't keep up with a rate.
    """
    server_core, client_core = cores
    with compared.serving(command, coredns, server_core) as found:
        questions = paced.compose(found.mix.queries)
        comparisons = []
        for rate in LIMITS:
            asked = iter(cycle(questions))
            samples: dict[str, list[Sample]] = {server.name: [] for server in found.servers}
            for number in range(rounds):
                warm_up, batch = list(islice(asked, int(rate * _WARM_UP_S))), list(islice(asked, int(rate * seconds)))
                for server in found.servers:
                    paced.ask(server.port, warm_up, rate, client_core, number)
                    samples[server.name].append(_measure(server, batch, rate, client_core, number))
            comparisons.append(Comparison(f"{rate:,}/s", samples))
        return comparisons


def _measure(server: servers.Server, batch: list[paced.Question], rate: int, core: int, seed: int) -> Sample:
    before = procfs.cpu_s(server.pid)
    asked = paced.ask(server.port, batch, rate, core, seed)
    used_s = procfs.used_s(before, procfs.cpu_s(server.pid))
    if asked.rate < rate * _LEAST_RATE:
        raise servers.Failed(f"the client sent {asked.rate:,.0f} queries per second instead of {rate:,}")
    answered = len(asked.latencies_us)
    return Sample(used_s / answered * 1e6, asked.rate, asked.lost, asked.response_octets)


def table(comparisons: list[Comparison]) -> Table:
    """Return the figures to show: medians over the rounds, and the range of the ratios."""
    limits = {f"{rate:,}/s": limit for rate, limit in LIMITS.items()}
    title = f"CPU per query at steady rates, {compared.SERVICES:,} Services, one worker"
    return compared.table(title, comparisons, "CoreDNS", limits)
