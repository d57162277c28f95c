"""`pydns top` counts the recent queries of all workers."""

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydns.cli.main import main
from pydns.config.model import Config
from pydns.dns.address import parse_address
from pydns.ring.layout import Origin
from pydns.serve.query_ring import QueryRing
from pydns.table.client_names import RunningPod, compose_node, compose_pod, node_key
from pydns.table.layout import Changes
from pydns.table.writer import Writer
from tests.running import COMMAND, query
from tests.serve.test_query_ring import ClientPort, new_ring
from tests.subject import load
from tests.waiting import PATIENCE_S

ANSWERED, DENIED = b"\x85\x80\0\1\0\1\0\0\0\0", b"\x85\x83\0\1\0\0\0\0\0\0"
POD, OTHER = "10.244.1.7", "10.244.2.4"


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a state directory with a table, and the rings of two workers."""
    zone = load([])
    facts = zone.facts(serial=1, synced=True)
    writer = Writer(tmp_path, facts)
    writer.replace(zone.contents, facts)
    writer.close()
    opened: list[int] = []
    for number in range(2):
        port = ClientPort()
        ring, memory = new_ring(tmp_path, number)
        opened.append(memory)
        ring.configure(Config(recent_queries_mib=1))

        def answer(client: str, name: str, head: bytes, port: ClientPort = port, ring: QueryRing = ring) -> None:
            message = query(name)
            port.peers, port.replies, port.marks = (parse_address(client),), [message[:2] + head + message[12:]], {}
            ring.answered(port, [message], time.monotonic(), 0.002)

        for suffix in "shop.svc.cluster.local", "svc.cluster.local", "cluster.local":
            answer(POD, f"api.example.com.{suffix}", DENIED)
        answer(POD, "api.example.com", ANSWERED)
        if number:
            answer(OTHER, f"api.example.com.{suffix}", DENIED)
            late = query("slow.example.com")
            reply = late[:2] + b"\x81\x82" + late[4:]
            came = time.monotonic()
            ring.replied_later(port, parse_address(OTHER), reply, came, 4.0, Origin.UPSTREAM, "10.0.0.2:53", None)
        ring.close()
    yield tmp_path
    for each in opened:
        os.close(each)


def top(state_dir: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, object]:
    assert main(["top", "--state-dir", str(state_dir), "-o", "json", *flags]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        (
            "name",
            [
                ("api.example.com.cluster.local.", 3),
                ("api.example.com.", 2),
                ("api.example.com.shop.svc.cluster.local.", 2),
                ("api.example.com.svc.cluster.local.", 2),
                ("slow.example.com.", 1),
            ],
        ),
        ("client", [(POD, 8), (OTHER, 2)]),
        ("namespace", [("unknown", 10)]),
        ("rcode", [("NXDOMAIN", 7), ("NOERROR", 2), ("SERVFAIL", 1)]),
        ("source", [("denial", 7), ("table", 2), ("upstream", 1)]),
        ("latency", [("up to 10 ms", 9), ("more than 1 s", 1)]),
        ("upstream", [("10.0.0.2:53", 1)]),
    ],
)
def test_queries_are_counted_by_each_key(
    by: str, wanted: list[tuple[str, int]], state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = top(state_dir, capsys, "--by", by)
    assert (found["queries"], found["clients"], found["by"]) == (10, 2, by)
    rows = found["rows"]
    assert isinstance(rows, list)
    counted = [(row["key"], row["queries"]) for row in rows]
    assert sorted(counted) == sorted(wanted)
    assert [count for _, count in counted] == sorted((count for _, count in wanted), reverse=True)


def test_queries_are_counted_by_the_labels_of_clients(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = load([]).facts(serial=1, synced=True)
    writer = Writer(state_dir, facts)
    labels = ("app", "api"), ("team", "a")
    pod = RunningPod("shop", "api-0", (parse_address(POD),), (), 1, labels)
    writer.commit(Changes({}, {node_key("n1"): compose_node([compose_pod(pod)])}), facts)
    writer.close()
    rows = top(state_dir, capsys, "--by", "label")["rows"]
    assert isinstance(rows, list)
    assert {row["key"]: row["queries"] for row in rows} == {"app=api,team=a": 8, "unknown": 2}
    assert main(["tail", "--state-dir", str(state_dir), "--client", POD, "-o", "json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["client_name"], each["client_labels"]) for each in found] == [("shop/api-0", dict(labels))] * 8
    assert main(["tail", "--state-dir", str(state_dir), "--client", POD]) == 0
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()] == ["app=api,team=a"] * 8


def test_wasted_queries_have_advice_that_avoids_them(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert top(state_dir, capsys, "--by", "wasted")["wasted"] == [
        {
            "client": POD,
            "client_name": None,
            "name": "api.example.com.",
            "wasted": 6,
            "walks": 2,
            "advice": 'dnsConfig: {options: [{name: ndots, value: "2"}]}',
        }
    ]
    assert main(["top", "--state-dir", str(state_dir), "--by", "wasted"]) == 0
    printed = capsys.readouterr().out
    assert "\n6 of them (60%) were wasted by search lists\n" in printed
    assert f"      6       2  {POD} api.example.com.\n" in printed


def test_filters_and_the_table_for_people(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--state-dir", str(state_dir), "--client", OTHER, "--by", "rcode"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 queries of 1 clients in 60 s"
    assert re.split(r"\s{2,}", lines[2].strip()) == ["1", "50.0%", "1", "0", "2.00", "2.00", "NXDOMAIN"]
    assert main(["top", "--state-dir", str(state_dir), "--rcode", "REFUSED"]) == 0
    assert capsys.readouterr().out.startswith("0 queries of 0 clients in 60 s\n")


def test_a_terminal_gets_a_table_that_is_renewed(state_dir: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "top", "--state-dir", str(state_dir)]
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while shown.count(b"\x1b[H\x1b[J") < 2:
            assert select.select([ours], [], [], PATIENCE_S)[0]
            shown += os.read(ours, 65536)
        process.terminate()
    os.close(ours)
    assert b"10 queries of 2 clients in 60 s" in shown


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ([], "has no recent queries: pydns isn't running there, or recent_queries_mib is 0\n"),
        (
            ["--by", "pod"],
            '--by: "pod" is not name, client, namespace, label, rcode, source, wasted, latency or upstream\n',
        ),
    ],
)
def test_mistakes_are_reported(
    flags: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", "--state-dir", str(tmp_path), *flags]) == (2 if flags else 1)
    assert capsys.readouterr().err.endswith(error)
