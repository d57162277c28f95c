"""`pydns status` prints the controller's last status, and whether pydns still runs."""

import json
import os
import re
import struct
import time
from pathlib import Path

import msgspec
import pytest

from pydns.cli.main import main
from pydns.ring import layout
from pydns.ring.layout import compose, compose_head, compose_lengths, file_name
from pydns.table.client_names import RunningPod, compose_node, compose_pod, node_key
from pydns.table.layout import Changes
from pydns.table.status import ExternalStatus, KindStatus, ProcessStatus, Status, UpstreamStatus, ZoneStatus, encode
from pydns.table.writer import Writer
from tests.running import WEB, query
from tests.subject import load

KNOWN = Status(
    synced=True,
    source="manifests/demo",
    upstreams=(
        UpstreamStatus(upstream="10.0.0.2:53", workers=2, latency_s=0.0005),
        UpstreamStatus(upstream="10.0.0.3:53", workers=2, breakers_open=1),
    ),
    processes=(
        ProcessStatus(process="supervisor", pid=os.getpid()),
        ProcessStatus(process="controller", pid=2**22 + 1),  # this is higher than any process id
        ProcessStatus(process="worker 0", pid=0, restarts=3),
    ),
)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Return a state directory with a new report of the controller."""
    # The time is in the future, so that the report is fresh even if the test is slow.
    write(tmp_path, msgspec.structs.replace(KNOWN, time=time.time() + 600))
    return tmp_path


def write(state_dir: Path, status: Status) -> None:
    facts = load([]).facts(serial=7, synced=True)
    writer = Writer(state_dir, facts)
    writer.replace(load([]).contents, facts)
    writer.put_status(encode(status))
    writer.close()


def test_upstreams_and_processes_have_separate_headings(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state-dir", str(state_dir)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("pydns     running\n")
    upstreams, processes = printed.index("\nupstreams 2\n"), printed.index("\nprocesses 2\n")
    assert upstreams < printed.index("\n  10.0.0.2:53: latency 0.5 ms\n") < processes
    assert "\n  10.0.0.3:53: latency unknown, regarded as dead by 1 of 2 workers\n" in printed
    assert processes < printed.index("\n  worker 0: not running, 3 restarts, ")
    assert "\x1b" not in printed  # the output isn't a terminal, so it has no colours


def test_a_dead_pydns_is_reported_with_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, msgspec.structs.replace(KNOWN, time=time.time() - 900))
    assert main(["status", "--state-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert re.match(r"pydns     not running: its last report is 9\d\d s old, and so is everything below\n", printed)
    assert "processes" not in printed


def test_a_stuck_controller_is_reported_with_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    controller = ProcessStatus(process="controller", pid=os.getpid())
    write(tmp_path, msgspec.structs.replace(KNOWN, time=time.time() - 900, processes=(controller,)))
    assert main(["status", "--state-dir", str(tmp_path)]) == 1
    assert f"not well: process {os.getpid()}, its controller, exists, but " in capsys.readouterr().out


def test_a_table_without_a_report_means_that_pydns_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, Status())
    assert main(["status", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("pydns     not running: pydns has reported nothing yet\n")


def test_json_is_the_documented_status_with_the_memory(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "-o", "json", "--state-dir", str(state_dir)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {field.name for field in msgspec.structs.fields(Status)}
    assert (printed["synced"], printed["source"]) == (True, "manifests/demo")
    assert [each["latency_s"] for each in printed["upstreams"]] == [0.0005, None]
    assert printed["memory"] > 1e6  # the memory of the test's own process, which is in the list


@pytest.mark.parametrize("verb", [["status"], ["explain", "web"], ["check", "x"]])
def test_another_format_is_refused(verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--output", "yaml"]) == 2
    assert capsys.readouterr().err == f'pydns {verb[0]}: --output: "yaml" is not text or json\n'


@pytest.mark.parametrize(
    ("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_gets_colours_unless_the_user_disables_them(
    variables: dict[str, str],
    is_coloured: bool,
    state_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    main(["status", "--state-dir", str(state_dir)])
    assert ("\x1b[32mrunning\x1b[0m" in capsys.readouterr().out) is is_coloured


def test_single_things_have_no_plural_and_missing_versions_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    external = ExternalStatus(zones={"k8s.example.": 1}, losers=1)
    zones = (ZoneStatus(file="example.org.zone", zone="example.org.", serial=1, records=1),)
    kinds = {"Service": KindStatus(synced=True, errors={}, relists=0)}
    write(tmp_path, msgspec.structs.replace(KNOWN, external=external, zones=zones, kinds=kinds))
    assert main(["status", "--state-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "\nexternal  1 zone, 1 name, 1 conflict\n  k8s.example.: 1 name\n" in printed
    assert "\nzones     1 file, 1 record\n  example.org.zone: example.org. serial 1, 1 record\n" in printed
    assert "\n    0 relists, errors: none\n" in printed


def test_the_shares_of_unknown_clients_and_of_rewritten_addresses_are_shown(
    state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = load([]).facts(serial=8, synced=True)
    pods = [RunningPod("shop", "web-0", (bytes([10, 1, 0, 1]),), (bytes([192, 168, 0, 1]),), 1)]
    entry = compose_node(map(compose_pod, pods))
    writer = Writer(state_dir, facts)
    writer.commit(Changes({}, {node_key("n1"): entry}), facts)
    writer.close()
    assert main(["status", "--state-dir", str(state_dir)]) == 0
    assert "\nclients   2 addresses with names\n" in capsys.readouterr().out
    clients = [[10, 1, 0, 1]] * 5 + [[10, 9, 9, 9]] * 2 + [[192, 168, 0, 1]]
    message = query(WEB, 1)
    turns = [time.time() + 600], [0.0], [len(clients)]
    messages = [message] * len(clients)
    lengths = compose_lengths(list(map(len, messages)))
    record = b"".join(compose(0, turns, b"".join(map(bytes, clients)), lengths, messages))
    head = bytearray(compose_head(layout.SMALLEST, 0.0).ljust(layout.HEAD, b"\0"))
    struct.pack_into("=Q", head, layout.WRITTEN_AT, len(record))
    (state_dir / file_name(0)).write_bytes(head + record.ljust(layout.SMALLEST, b"\0"))
    assert main(["status", "--state-dir", str(state_dir)]) == 0
    lines = capsys.readouterr().out
    assert "\n  8 queries in the last minute, 25.0% of them from unknown clients\n" in lines
    assert "\n  12.5% from rewritten addresses\n" in lines
