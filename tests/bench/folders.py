"""Measure folders of many files, and long files: the time until names are answered, and until a change is visible.

Start times count from just before the process was started. Change times count from just before a file was replaced.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import dns.rcode

from tests.bench import servers
from tests.bench.report import Table

FILES, RECORDS = 5000, 100_000
_CHANGES = 20
_LAST = "last.team-0.svc.cluster.local"
_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: team-{team}}}
spec: {{clusterIP: {address}, ports: [{{name: http, port: 80}}]}}
"""


class Times(NamedTuple):
    """The times of one start with each folder, in seconds."""

    manifests_s: float  # the time from the start until the name in the last file was answered
    changes_s: list[float]  # the times from the change of a file until its new address was answered
    zone_s: float  # the time from the start until the last record was answered


def run(command: str, rounds: int) -> list[Times]:
    """Start pydns `rounds` times with each folder."""
    return [_measure(command) for _ in range(rounds)]


def _measure(command: str) -> Times:
    with tempfile.TemporaryDirectory(prefix="folders-bench-") as name:
        manifests, zones, empty = (Path(name, each) for each in ("manifests", "zones", "empty"))
        for number in range(FILES - 1):
            file = manifests / f"team-{number % 50}" / f"service-{number}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
            file.write_text(_SERVICE.format(name=f"s{number}", team=number % 50, address=address))
        last = manifests / "zz.yaml"  # files are read in the order of their names, so this file is the last
        last.write_text(_SERVICE.format(name="last", team=0, address="10.111.0.0"))
        with servers.pydns(command, ["--manifests", str(manifests)], 1, None) as server:
            (manifests_s,) = servers.wait_until(server, [(_LAST, "A")])
            changes_s = [_change(server.port, last, f"10.111.0.{number}") for number in range(1, _CHANGES + 1)]
        zones.mkdir()
        empty.mkdir()
        hosts = "".join([f"h{i} A 10.{i >> 16}.{i >> 8 & 255}.{i & 255}\n" for i in range(RECORDS)])
        (zones / "big.example.zone").write_text(f"$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{hosts}")
        with servers.pydns(command, ["--manifests", str(empty), "--zones", str(zones)], 1, None) as server:
            (zone_s,) = servers.wait_until(server, [(f"h{RECORDS - 1}.big.example", "A")])
        return Times(manifests_s, changes_s, zone_s)


def _change(port: int, file: Path, address: str) -> float:
    new = file.with_suffix(".new")
    new.write_text(_SERVICE.format(name="last", team=0, address=address))
    began = time.monotonic()
    new.replace(file)
    while time.monotonic() - began < 60:
        reply = servers.ask(port, _LAST, "A", 1.0)
        if reply.rcode() == dns.rcode.NOERROR and str(reply.answer[0][0]) == address:
            return time.monotonic() - began
        time.sleep(0.005)
    raise servers.Failed(f"{address} is not answered 60 s after {file.name} has it")


def table(found: list[Times]) -> Table:
    """Return the figures to show."""
    changes_s = [each for times in found for each in times.changes_s]
    rows = [
        [f"{FILES:,} manifests: the last name is answered, s", *_spread([each.manifests_s for each in found]), "≤ 10"],
        ["a change in one of them is answered, s", *_spread(changes_s), "≤ 1"],
        [f"a zone of {RECORDS:,} records: the last is answered, s", *_spread([each.zone_s for each in found]), "≤ 2"],
    ]
    return Table("Folders, 1 worker", ["what", "median", "min", "max", "wanted"], rows)


def _spread(values: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in (median(values), min(values), max(values))]
