"""Parts of the benchmarks that need no server: output is parsed correctly, and both servers get the same cluster."""

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import dns.name
import dns.rdatatype
import dns.zone
import msgspec
import pytest

from pydns.kube import kinds, objects
from tests.bench import (
    change,
    cluster,
    compared,
    dnsperf,
    dot,
    forward,
    idle,
    latency,
    paced,
    procfs,
    queries,
    rates,
    servers,
    start,
    tcp,
    tools,
)

FLOOD = """\
DNS Performance Testing Tool
Version 2.10.0

[Status] Testing complete (time limit)

Statistics:

  Queries sent:         633240
  Queries completed:    633238 (100.00%)
  Queries lost:         2 (0.00%)

  Response codes:       NOERROR 316619 (50.00%), NXDOMAIN 316619 (50.00%)
  Average packet size:  request 49, response 65
  Run time (s):         3.000335
  Queries per second:   211055.765440

  Average Latency (s):  0.000453 (min 0.000013, max 0.004235)
  Latency StdDev (s):   0.000099
"""
SILENCE = """\
Statistics:

  Queries sent:         100
  Queries completed:    0 (0.00%)
  Queries lost:         100 (100.00%)

  Response codes:       
  Average packet size:  request 49, response 0
  Run time (s):         0.501456
  Queries per second:   0.000000

  Average Latency (s):  0.000000 (min 0.000000, max 0.000000)
"""  # noqa: W291 dnsperf ends lines with blanks


def test_statistics_of_dnsperf_are_read() -> None:
    run = dnsperf.parse(FLOOD)
    assert run == dnsperf.Run(633240, 633238, 2, 3.000335, 0.000453, 65, {"NOERROR": 316619, "NXDOMAIN": 316619})
    assert round(run.qps) == 211056


def test_connections_that_a_server_closed_are_counted() -> None:
    assert dnsperf.parse(FLOOD + "\nConnection Statistics:\n\n  Reconnections:        3\n\n").reconnections == 3


def test_a_silent_server_completes_no_query_and_has_wrong_rcodes() -> None:
    run = dnsperf.parse(SILENCE)
    assert (run.completed, run.lost, run.rcodes) == (0, 100, {})
    assert run.wrong_rcodes({"NOERROR": 1.0}, 0.01)


def test_output_that_has_no_statistics_is_quoted_in_the_error() -> None:
    with pytest.raises(ValueError, match="unable to open"):
        dnsperf.parse("Error: unable to open file x")


@pytest.mark.parametrize(
    ("rcodes", "shares", "right"),
    [
        ({"NOERROR": 1000}, {"NOERROR": 1.0}, True),
        ({"NOERROR": 999, "SERVFAIL": 1}, {"NOERROR": 1.0}, False),  # a single wrong answer is too many
        ({"NOERROR": 1000}, {"NXDOMAIN": 1.0}, False),
        ({"NOERROR": 605, "NXDOMAIN": 395}, {"NOERROR": 0.6, "NXDOMAIN": 0.4}, True),
        ({"NOERROR": 615, "NXDOMAIN": 385}, {"NOERROR": 0.6, "NXDOMAIN": 0.4}, False),
        ({"NOERROR": 600, "NXDOMAIN": 399, "REFUSED": 1}, {"NOERROR": 0.6, "NXDOMAIN": 0.4}, False),
    ],
)
def test_a_server_with_wrong_answers_is_noticed(rcodes: dict[str, int], shares: dict[str, float], right: bool) -> None:
    run = dnsperf.Run(1000, 1000, 0, 1.0, 0.001, 50, rcodes)
    assert (run.wrong_rcodes(shares, 0.01) == "") is right


def test_the_parent_is_read_even_if_the_command_name_has_spaces_and_parentheses() -> None:
    text = "5760 (a) b (c) S 1 5713 3095 0 -1 4194560 25140 7 6 8 336 330 11 12 20 0 1 0 310036 1132912640\n"
    assert procfs.parse_stat(text) == procfs.Stat(5760, 1)


def test_cpu_time_of_a_process_is_what_the_process_itself_counts() -> None:
    pid = os.getpid()
    outer = time.process_time()
    before = procfs.cpu_s(pid)[pid]
    inner = time.process_time()
    sum(range(10_000))
    inner = time.process_time() - inner
    used_s = procfs.cpu_s(pid)[pid] - before
    assert 0 < inner <= used_s <= time.process_time() - outer


def test_the_tree_of_a_server_contains_all_its_descendants() -> None:
    parents = {1: 0, 40: 1, 10: 1, 11: 10, 12: 10, 13: 11, 41: 40}
    stats = [procfs.Stat(pid, parent) for pid, parent in parents.items()]
    assert procfs.descendants(10, stats) == [10, 11, 12, 13]


def test_time_of_all_processes_is_summed() -> None:
    assert procfs.used_s({1: 1.0, 2: 5.0}, {1: 1.5, 2: 7.0}) == 2.5


def test_replacing_a_worker_makes_the_measurement_invalid() -> None:
    with pytest.raises(procfs.Changed, match=r"\[1, 2\] and became \[1, 3\]"):
        procfs.used_s({1: 1.0, 2: 5.0}, {1: 1.0, 3: 0.1})


def test_proportional_set_size_is_read() -> None:
    rollup = "00400000-7ffd [rollup]\nRss:    5000 kB\nPss:    1234 kB\nPss_Dirty:   99 kB\n"
    assert procfs.parse_pss_kib(rollup) == 1234


def test_proportional_set_size_of_files_below_a_directory_is_read() -> None:
    smaps = (
        "7f00-7f01 rw-s 00000000 08:01 12   /state/answers.mdb\nPss:   100 kB\nPss_Dirty:  7 kB\nVmFlags: rd wr\n"
        "7f01-7f02 rw-p 00000000 00:00 0 \nPss:   1000 kB\n"
        "7f02-7f03 r-xp 00000000 08:01 13   /state-of-others/a file\nPss:   2000 kB\n"
        "7f03-7f04 rw-s 00000000 08:01 14   /state/a lock\nPss:   20 kB\n"
    )
    assert procfs.parse_pss_below_kib(smaps, "/state") == 120


def test_voluntary_switches_are_read() -> None:
    status = "Name:\tpython\nvoluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t7\n"
    assert procfs.parse_voluntary_switches(status) == 41
    own = procfs.wake_ups(os.getpid())[os.getpid()]
    time.sleep(0.001)
    assert procfs.wake_ups(os.getpid())[os.getpid()] > own


def test_percentiles_use_the_nearest_rank() -> None:
    ordered = [float(i) for i in range(1, 201)]
    assert [change.percentile(ordered, percent) for percent in (50, 99, 100)] == [100.0, 198.0, 200.0]
    assert change.percentile([7.0], 50) == 7.0
    assert change.percentile([float(i) for i in range(1, 10_001)], 99.9) == 9990.0


def test_the_message_names_all_missing_programs_with_their_debian_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "_PLACES", str(tmp_path))
    with pytest.raises(tools.Missing, match=r"apt-get install dnsperf\n.*apt-get install knot$"):
        tools.require("dnsperf", "knotd")


COUNT = 300  # with so many Services, some namespaces have several
CLUSTER = cluster.services(COUNT)


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> list[dns.zone.Zone]:
    directory = tmp_path_factory.mktemp("zones")
    cluster.write_zones(directory, CLUSTER)
    return [dns.zone.from_file(str(path), origin=path.stem, relativize=False) for path in directory.iterdir()]


def test_manifests_and_zone_files_hold_the_same_records(tmp_path: Path, zones: list[dns.zone.Zone]) -> None:
    cluster.write_manifests(tmp_path, CLUSTER)
    wanted = set()
    for path in tmp_path.iterdir():
        for item in msgspec.json.decode(path.read_bytes())["items"]:
            observed = objects.parse(kinds.BY_NAME[item["kind"]], item).value
            if isinstance(observed, objects.Namespace):
                continue
            assert isinstance(observed, objects.Service)
            owner = f"{observed.name}.{observed.namespace}.svc.cluster.local."
            ((port,), (address,)) = observed.ports, observed.cluster_ips
            text = ".".join(map(str, address))
            for name in owner, f"_{port.name}._{port.protocol}.{owner}":
                wanted |= {(name, "A", text), (name, "SRV", f"0 100 {port.number} {owner}")}
            wanted.add((".".join(map(str, reversed(address))) + ".in-addr.arpa.", "PTR", owner))
    found = {
        (str(owner), dns.rdatatype.to_text(rdata.rdtype), str(rdata))
        for zone in zones
        for owner, _, rdata in zone.iterate_rdatas()
        if rdata.rdtype not in (dns.rdatatype.SOA, dns.rdatatype.NS) and not str(owner).startswith("ns.dns.")
    }
    assert len(wanted) == 5 * COUNT
    assert found == wanted


@pytest.mark.parametrize("workload", queries.workloads(CLUSTER), ids=lambda workload: workload.name)
def test_every_query_has_the_rcode_that_the_zone_files_give(
    workload: queries.Workload, zones: list[dns.zone.Zone]
) -> None:
    existing = set()
    for zone in zones:
        assert zone.origin is not None
        for owner in zone:
            while owner not in existing and owner.is_subdomain(zone.origin):  # empty non-terminals exist too
                existing.add(owner)
                owner = owner.parent()
    names = {query.name: dns.name.from_text(query.name) in existing for query in workload.queries}
    wrong = [query for query in workload.queries if (query.rcode == queries.NOERROR) is not names[query.name]]
    assert wrong == []


def test_the_mix_contains_every_type_and_whole_search_lists() -> None:
    mix = queries.workloads(CLUSTER)[-1].queries
    assert {query.type for query in mix} == {"A", "AAAA", "SRV", "PTR"}
    walked = Counter(re.sub(r"\d+", "N", query.name) for query in mix if query.type == "A")
    written_out = "svc-N.ns-N.svc.cluster.local"
    walk = [written_out + suffix for suffix in (".ns-N.svc.cluster.local", ".svc.cluster.local", ".cluster.local")]
    assert walked[walk[0]] == walked[walk[1]] == walked[walk[2]] > 1000
    assert walked[written_out] > walked[walk[0]]


def test_each_service_has_a_different_address_in_the_service_range() -> None:
    services = cluster.services(10_000)
    assert len({service.address for service in services}) == 10_000
    assert services[-1] == cluster.Service("svc-9999", "ns-99", "10.96.39.15")


def test_queries_are_the_same_in_every_run() -> None:
    assert queries.workloads(CLUSTER) == queries.workloads(cluster.services(COUNT))


def test_each_run_of_the_forward_part_asks_for_new_names() -> None:
    asked = [
        name for label in ("warm-up-0", "miss-0", "warm-up-1", "miss-1") for name in forward.names("miss", label, 0.01)
    ]
    assert len(asked) == len(set(asked)) == 6000
    assert len(set(forward.names("hit", "miss-0", 3)) | set(forward.names("hit", "miss-1", 3))) == 100


def test_forwarding_is_compared_round_by_round() -> None:
    def samples(*cpu_us: float) -> list[compared.Sample]:
        return [compared.Sample(each, 1000.0, 0, 50) for each in cpu_us]

    comparison = compared.Comparison(
        "miss", {"pydns": samples(20, 30), "unbound": samples(20, 40), "dnsmasq": samples(10, 10)}
    )
    assert comparison.ratios("unbound") == [1.0, 0.75]
    assert "| miss  | 25.0     | 30.0       | 10.0       | 0.88 (0.75 – 1.00)" in forward.table([comparison]).text()


def test_the_table_of_starts_has_the_medians_of_each_server_and_size() -> None:
    first = start.Start("pydns", 1, 100, 3, 0.5, 0.25, 0.125, 40)
    starts = [first, first._replace(workers=2), first._replace(wall_s=1.5, pss_mb=42)]
    starts.append(start.Start("CoreDNS", 0, 100, 3, 0.25, 0.125, 0, 30))
    assert start.table(starts).rows == [
        ["100 × 3", "pydns, 1 worker", "1.00", "0.25", "0.12", "41"],
        ["100 × 3", "pydns, 2 workers", "0.50", "0.25", "0.12", "40"],
        ["100 × 3", "CoreDNS", "0.25", "0.12", "", "30"],
    ]


def test_paced_queries_are_spread_evenly_and_keep_their_order() -> None:
    due = paced.due_s(1000, 5000, seed=1)
    assert due == sorted(due)
    assert all(abs(each - number / 1000) <= 0.0005 for number, each in enumerate(due))
    assert len({round(after - before, 6) for before, after in pairwise(due)}) > 100  # the intervals differ


def _answer(sock: socket.socket, count: int, change: Callable[[bytes], bytes]) -> None:
    for _ in range(count):
        query, client = sock.recvfrom(4096)
        sock.sendto(change(query[:2] + b"\x81\x80" + query[4:]), client)


def _ask_paced(change: Callable[[bytes], bytes], count: int = 50) -> paced.Paced:
    asked = paced.compose([queries.Query("svc-1.ns-1.svc.cluster.local", "A", queries.NOERROR)] * count)
    with socket.socket(type=socket.SOCK_DGRAM) as sock, ThreadPoolExecutor(1) as pool:
        sock.settimeout(60)
        sock.bind(("127.0.0.1", 0))
        answering = pool.submit(_answer, sock, count, change)
        try:
            return paced.ask(sock.getsockname()[1], asked, 1000, min(os.sched_getaffinity(0)))
        finally:
            answering.result(60)


def test_the_paced_client_takes_the_latency_of_every_reply() -> None:
    run = _ask_paced(lambda reply: reply)
    assert (run.sent, run.lost, run.response_octets) == (50, 0, 46)
    assert all(each > 0 for each in run.latencies_us)


def test_the_paced_client_counts_replies_with_another_id_as_lost() -> None:
    run = _ask_paced(lambda reply: b"\xff" + reply[1:], 5)
    assert (run.sent, run.lost) == (5, 5)


def test_the_paced_client_reports_a_wrong_rcode() -> None:
    with pytest.raises(servers.Failed, match="5 wrong replies"):
        _ask_paced(lambda reply: reply[:3] + b"\x83" + reply[4:], 5)


def test_rates_are_compared_with_each_server_that_ran() -> None:
    def samples(*cpu_us: float) -> list[compared.Sample]:
        return [compared.Sample(each, 200.0, 0, 50) for each in cpu_us]

    alone = compared.Comparison("200/s", {"pydns": samples(40, 60), "knot": samples(20, 20)})
    assert rates.table([alone]).rows == [
        ["200/s", "50.0", "20.0", "2.50 (2.00 – 3.00)", "≤ 0.4 × CoreDNS", "200 / 200", "0"]
    ]
    beside = alone._replace(samples={**alone.samples, "CoreDNS": samples(80, 120)})
    assert rates.table([beside]).rows[0][1:6] == ["50.0", "20.0", "100.0", "2.50 (2.00 – 3.00)", "0.50 (0.50 – 0.50)"]


def test_every_way_to_send_over_tcp_has_a_row() -> None:
    samples = {name: [compared.Sample(each, 50_000.0, 0, 50)] for name, each in (("pydns", 20), ("knot", 5))}
    comparisons = [compared.Comparison(workload.name, samples) for workload in tcp.WORKLOADS]
    assert [row[:4] for row in tcp.table(comparisons).rows] == [
        ["one at a time", "20.0", "5.0", "4.00 (4.00 – 4.00)"],
        ["pipelined", "20.0", "5.0", "4.00 (4.00 – 4.00)"],
    ]


def test_latencies_are_compared_round_by_round() -> None:
    def rounds(*p99: float) -> list[latency.Latency]:
        return [latency.Latency(20, each, 2 * each, 9000, 1) for each in p99]

    found = latency.table({"pydns": rounds(50, 300), "knot": rounds(40, 40), "CoreDNS": rounds(100, 400)})
    assert found.header[-2] == "p99 × CoreDNS (range)"
    assert found.rows == [
        ["pydns", "20", "175", "350", "0.62 (0.50 – 0.75)", "2"],
        ["knot", "20", "40", "80", "", "2"],
        ["CoreDNS", "20", "250", "500", "", "2"],
    ]


def test_forwarding_over_tls_is_compared_with_unbound() -> None:
    samples = {name: [compared.Sample(each, 20_000.0, 0, 50)] for name, each in (("pydns", 40), ("unbound", 50))}
    row = ["miss", "40.0", "50.0", "0.80 (0.80 – 0.80)", "≤ 0.8 × Unbound", "20,000 / 20,000", "0"]
    assert dot.table([compared.Comparison("miss", samples)]).rows == [row]


def test_idle_processes_are_shown_with_their_medians() -> None:
    found = [idle.Idle("pydns, worker", each, each / 2) for each in (1.0, 2.0, 9.0)] + [idle.Idle("knot", 0.25, 0.125)]
    assert idle.table(found).rows == [["pydns, worker", "2.0", "≤ 2", "1.00"], ["knot", "0.2", "≤ 2", "0.12"]]


@pytest.mark.parametrize(("completed", "stuck"), [(23, True), (191, True), (15_000, False)])
def test_a_run_in_which_dnsperf_stopped_sending_is_noticed(completed: int, stuck: bool) -> None:
    assert tcp.is_stuck(dnsperf.Run(completed, completed, 0, 1.0, 0.001, 50, {})) is stuck
