"""CPU time per query that is forwarded over DNS over TLS. pydns and Unbound forward to the same server and take turns.

Each name is asked for once, as in the workload `miss` of `forward`. The upstream is an Unbound on the last core, beside
dnsperf. It has a certificate of our own authority, which both servers verify, and an answer for any name.
"""

import tempfile
from pathlib import Path

import trustme

from tests.bench import cluster, compared, forward, servers, tools
from tests.bench.compared import Comparison, Sample
from tests.bench.report import Table

LIMIT = 0.8  # the target for CPU time per query, relative to Unbound's
_NAME = "dns.example"  # of the upstream, in its certificate


def run(command: str, seconds: float, rounds: int, cores: tuple[int, int]) -> list[Comparison]:
    """Compare the servers, pinned to the first of `cores`. Raises `servers.Failed` if an answer is wrong."""
    server_core, client_core = cores
    with tempfile.TemporaryDirectory(prefix="dot-bench-") as made:
        ca, certificate, manifests, config, data = (
            Path(made) / each for each in ("ca.pem", "certificate.pem", "manifests", "config.yaml", "data")
        )
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(ca))
        authority.issue_cert(_NAME).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        manifests.mkdir()
        cluster.write_manifests(manifests, cluster.services(1000))
        with servers.unbound_over_tls(forward.ORIGIN, forward.ADDRESS, certificate, client_core) as upstream:
            servers.wait_until(upstream, [forward.READY])
            tools.pin(upstream.pid, client_core)
            tls = f"transport: tls, server_name: {_NAME}, tls: {{ca: {ca}}}"
            config.write_text(f'upstreams: [{{address: "127.0.0.1:{upstream.port}", {tls}}}]\n')
            source = ["--manifests", str(manifests), "--config", str(config)]
            with (
                servers.pydns(command, source, 1, server_core) as subject,
                servers.unbound(upstream.port, server_core, servers.Authority(ca, _NAME)) as peer,
            ):
                both = subject, peer
                for server in both:
                    servers.wait_until(server, [forward.READY])
                    forward.check(server)
                samples: dict[str, list[Sample]] = {server.name: [] for server in both}
                for number in range(rounds):
                    for server in both:
                        samples[server.name].append(forward.measure(server, "miss", number, seconds, data, client_core))
                return [Comparison("miss", samples)]


def table(comparisons: list[Comparison]) -> Table:
    """Return the figures to show: medians over the rounds, and the range of the ratio."""
    title = "CPU per query that is forwarded over TLS, one worker or thread"
    return compared.table(title, comparisons, "Unbound", {"miss": LIMIT})
