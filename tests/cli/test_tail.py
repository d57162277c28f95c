"""`pydns tail` prints what clients of a running pydns asked, and how each question was answered."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pydns.cli.main import main
from pydns.dns.address import parse_address
from pydns.ring import layout
from pydns.ring.layout import compose, compose_head, compose_lengths, file_name
from tests.fakes.upstream import FakeUpstream
from tests.forwarding import answers
from tests.running import COMMAND, SERVICE, WEB, Server, query
from tests.subject import Address
from tests.waiting import until

A, AAAA = 1, 28
LINE = re.compile(r"(\S+) (\S+) +(no reply|\S+) +(\S+) +(\d+\.\d\d) ms (\S+) +(\S+)(.*)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Running"]:
    running = Running(tmp_path_factory.mktemp("tail"))
    yield running
    running.close()


class Running:
    """A pydns with two workers and an upstream, and a rule of each kind."""

    def __init__(self, folder: Path) -> None:
        self.upstream = FakeUpstream(answers)
        self.state_dir = folder / "state"
        (folder / "manifests").mkdir()
        (folder / "manifests" / "web.yaml").write_text(SERVICE.format(name="web", address="10.96.1.1"))
        config = folder / "config.yaml"
        keys = {
            "upstreams": [{"address": f"127.0.0.1:{self.upstream.port}"}],
            "blocked": {"blocked.example": {"answer": "nxdomain", "types": ["A"]}},
            "acl": [{"action": "drop", "clients": ["127.0.0.9"]}],
        }
        config.write_text(yaml.safe_dump(keys))
        source = ["--manifests", str(folder / "manifests"), "--config", str(config)]
        self.server = Server(source, self.state_dir, workers=2)
        until(lambda: self.ask("ready.example.com") == 0)

    def ask(self, qname: str, qtype: int = A, *, tcp: bool = False, client: str = "") -> int:
        """Send a query and return the rcode."""
        reply = Address("127.0.0.1", self.server.port, silent=False).ask(query(qname, qtype), tcp=tcp, client=client)
        assert reply is not None
        return reply[3] & 15

    def close(self) -> None:
        self.server.end()
        self.upstream.close()


def tail(running: Running, capsys: pytest.CaptureFixture[str], *flags: str) -> list[tuple[str, ...]]:
    """Return the lines of `pydns tail`: without the time and the duration."""
    assert main(["tail", "--state-dir", str(running.state_dir), "--since", "1h", *flags]) == 0
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert all(lines)
    return [each.group(2, 3, 4, 6, 7, 8) for each in lines if each]


def test_each_source_of_answers_is_printed(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    ours = "127.0.0.2"
    name = "www.example.com"
    for _ in range(4):
        server.ask(name, client=ours)  # from the third time on, the responder itself answers
    server.ask(WEB, client=ours)
    server.ask(WEB, AAAA, tcp=True, client=ours)
    server.ask("No.shop.svc.cluster.local", client=ours)
    server.ask("x.blocked.example", client=ours)
    server.ask("version.bind", 251, client=ours)
    server.ask("fails.example.com", client=ours)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dropped:
        dropped.bind(("127.0.0.9", 0))
        dropped.sendto(query("dropped.example"), ("127.0.0.1", server.server.port))
    until(lambda: len(tail(server, capsys, "--client", ours, "--name", name)) == 4)
    until(lambda: tail(server, capsys, "--client", "127.0.0.9"))
    asked, other = (tail(server, capsys, "--client", ours, "--name", glob) for glob in (name, "[!wf]*"))
    # Each worker has a cache of its own, so both may ask the upstream.
    assert {each[2] for each in asked} <= {"upstream", "cache"}
    assert asked[0] == (ours, "NOERROR", "upstream", "A", f"{name}.", f" via 127.0.0.1:{server.upstream.port}")
    assert tail(server, capsys, "--client", ours, "--rcode", "SERVFAIL") == [
        (ours, "SERVFAIL", "upstream", "A", "fails.example.com.", f" via 127.0.0.1:{server.upstream.port}")
    ]
    assert tail(server, capsys, "--client", ours, "--name", WEB) == [
        (ours, "NOERROR", "table", "A", f"{WEB}.", ""),
        (ours, "NODATA", "denial", "AAAA", f"{WEB}.", " tcp"),
    ]
    assert other == [
        (ours, "NXDOMAIN", "denial", "A", "No.shop.svc.cluster.local.", ""),
        (ours, "NXDOMAIN", "policy", "A", "x.blocked.example.", ""),
        (ours, "REFUSED", "pydns", "IXFR", "version.bind.", ""),
    ]
    assert tail(server, capsys, "--client", "127.0.0.9") == [
        ("127.0.0.9", "no reply", "nobody", "A", "dropped.example.", "")
    ]


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--rcode", "nxdomain", "--name", "none.*"], {"none.svc.cluster.local."}),
        (["--name", "*.filtered.example."], {"a.filtered.example.", "b.filtered.example."}),
        (["--client", "127.0.0.3"], {"a.filtered.example."}),
        (["--client", "nobody"], set()),
        (["--namespace", "shop"], set()),
        (["--slow", "1h"], set()),
    ],
)
def test_flags_select_queries(
    server: Running, capsys: pytest.CaptureFixture[str], flags: list[str], wanted: set[str]
) -> None:
    server.ask("none.svc.cluster.local")
    server.ask("a.filtered.example", client="127.0.0.3")
    server.ask("b.filtered.example")
    until(lambda: len(tail(server, capsys, "--name", "?.filtered.example")) >= 2)
    assert {
        each[4] for each in tail(server, capsys, *flags) if "blocked" not in each[4] and "No." not in each[4]
    } == wanted


def test_follow_prints_new_queries_until_it_is_interrupted(server: Running) -> None:
    command = [*COMMAND, "tail", "--state-dir", str(server.state_dir), "--follow", "-o", "json", "--name", "f*.local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        server.ask("first.local")
        lines = [json.loads(following.stdout.readline())]
        server.ask("followed.local", tcp=True)
        lines.append(json.loads(following.stdout.readline()))
        following.send_signal(signal.SIGINT)
        assert following.wait(60) == 0
    assert [line["name"] for line in lines] == ["first.local.", "followed.local."]
    assert lines[1]["protocol"] == "tcp"
    assert lines[1]["client_name"] is None


def write_ring(state_dir: Path, *messages: bytes, came: float = 0.0, number: int = 0) -> None:
    """Write a ring of the smallest size with one client."""
    turns, clients = ([came], [0.0], [len(messages)]), parse_address("10.0.0.1") * len(messages)
    record = b"".join(compose(0, turns, clients, compose_lengths([len(each) for each in messages]), messages))
    head = bytearray(compose_head(layout.SMALLEST, 0.0).ljust(layout.HEAD, b"\0"))
    struct.pack_into("=Q", head, layout.WRITTEN_AT, len(record))
    (state_dir / file_name(number)).write_bytes(bytes(head) + record.ljust(layout.SMALLEST, b"\0"))


def test_hostile_names_cannot_control_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qname = b"\x0a\x1b[2J\x07\n\r\x9b1m\x03" + bytes([200, 92, 46]) + b"\0"
    write_ring(tmp_path, b"\0\1\x85\x83\0\1" + bytes(6) + qname + b"\0\1\0\1", came=2e9)
    assert main(["tail", "--state-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.rstrip("\n").isprintable()
    assert r"\027[2J\007\010\013\1551m.\200\\\.." in printed


def test_workers_are_merged_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        message = b"\0\1\x85\x83" + query(f"n{number}.example")[4:]
        write_ring(tmp_path, message, came=2e9 - number, number=number)
    assert main(["tail", "--state-dir", str(tmp_path)]) == 0
    assert re.findall(r"n\d", capsys.readouterr().out) == ["n2", "n1", "n0"]


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ([], "has no recent queries: pydns isn't running there, or recent_queries_mib is 0\n"),
        (["--since", "soon"], '--since: "soon" is not a duration, such as 100ms, 60s, 5m or 1h\n'),
        (["--namespace", "Shop"], '--namespace: "Shop" is not the name of a namespace\n'),
    ],
)
def test_mistakes_are_reported(
    flags: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tail", "--state-dir", str(tmp_path), *flags]) == (2 if flags else 1)
    assert capsys.readouterr().err.endswith(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_another_user_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ring(tmp_path, b"")
    (tmp_path / file_name(0)).chmod(0)
    assert main(["tail", "--state-dir", str(tmp_path)]) == 1
    assert "Permission denied" in capsys.readouterr().err
