"""Some answers depend on the client: a client gets the answers of its classes instead of the plain ones."""

import ipaddress
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dns.message
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.dns.compiled import compile_answer, question
from pydns.dns.message import TCP_SIZE
from pydns.dns.rrset import AAAA, CNAME, MX, SRV, A, RRset, srv
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.deferred import Asked
from pydns.serve.fast import Responder
from pydns.serve.port import Port
from pydns.table.client_classes import (
    Assigner,
    ClientClass,
    ClientRange,
    Level,
    answer_key,
    compose_classes,
    range_key,
    with_levels,
)
from pydns.table.layout import FORMAT, Changes, Contents, Facts, NodeKind, ZoneFacts
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.running import query

APEX = name.from_text("z.example")
FACTS = Facts(FORMAT, APEX, [ZoneFacts(APEX, APEX, APEX, 5, 5, is_plain=False)], serial=1, synced=True, ttl_s=5)
CLUSTER, EAST, WEST = (
    ClientClass(Level.CLUSTER, APEX),
    ClientClass(Level.ZONE, b"east"),
    ClientClass(Level.ZONE, b"west"),
)
NODE, VIEW = ClientClass(Level.NODE, b"n1"), ClientClass(Level.VIEW, b"office")
Ranges = dict[tuple[Assigner, str], Sequence[ClientClass]]
RANGES: Ranges = {
    (Assigner.CLUSTER, "10.0.0.0/8"): [CLUSTER],
    (Assigner.CLUSTER, "10.1.0.0/16"): [CLUSTER, EAST],
    (Assigner.CLUSTER, "10.1.2.0/24"): [CLUSTER, WEST],
    (Assigner.CLUSTER, "10.1.2.3/32"): [CLUSTER, EAST, NODE],
    (Assigner.CLUSTER, "2001:db8::/32"): [CLUSTER],
    (Assigner.CLUSTER, "2001:db8::7/128"): [CLUSTER, WEST],
    (Assigner.CONFIGURATION, "10.1.2.0/30"): [VIEW],
}
# Plain records, and answers of classes, which begin with the class. `-` is NODATA.
RECORDS: list[tuple[ClientClass | None, str, int, list[str]]] = [
    (None, "same", A, ["192.0.2.1"]),
    (None, "web", A, ["192.0.2.1", "192.0.2.2"]),
    (CLUSTER, "web", A, ["10.96.0.1"]),
    (None, "web", AAAA, ["2001:db8::1"]),
    (CLUSTER, "web", AAAA, []),
    (None, "web", MX, ["mx"]),
    (CLUSTER, "six", AAAA, ["2001:db8::96"]),
    (None, "six", A, ["192.0.2.6"]),
    (None, "db", A, ["10.9.0.1", "10.9.0.2", "10.9.0.3"]),
    (EAST, "db", A, ["10.9.0.1", "10.9.0.2"]),
    (WEST, "db", A, ["10.9.0.3"]),
    (NODE, "db", A, ["10.9.0.2"]),
    (None, "view", A, ["192.0.2.8"]),
    (CLUSTER, "view", A, ["192.0.2.9"]),
    (VIEW, "view", A, ["192.0.2.10"]),
    (None, "alias", CNAME, ["web"]),
    (None, "out", CNAME, ["elsewhere"]),
    (CLUSTER, "out", A, ["10.96.0.2"]),
    (None, "*.wild", A, ["192.0.2.20"]),
    (CLUSTER, "*.wild", A, ["10.96.0.20"]),
    (None, "srv", SRV, ["a", "b", "longer-than-the-others"]),
    (EAST, "srv", SRV, ["a", "longer-than-the-others"]),
]
OUTSIDE, INSIDE = "198.51.100.1", "10.2.0.1"


def _name(text: str) -> bytes:
    return name.from_text(f"{text}.{'other.example' if text == 'elsewhere' else 'z.example'}")


def _rdata(rtype: int, text: str) -> bytes:
    if rtype in (A, AAAA):
        return parse_address(text)
    if rtype == SRV:
        return srv(0, 0, 80, _name(text))
    return (b"\0\1" if rtype == MX else b"") + _name(text)


def contents(ranges: Ranges = RANGES) -> Contents:
    """Return the table of `RECORDS`."""
    answers: dict[bytes, bytes] = {}
    names: dict[bytes, bytes] = {}
    for client_class, owner_text, rtype, texts in RECORDS:
        owner = _name(owner_text)
        key = question(owner, rtype)
        rrset = RRset(owner, rtype, 5, tuple([_rdata(rtype, text) for text in texts]))
        names.setdefault(name.tree_key(owner), NodeKind.ALIAS if rtype == CNAME else NodeKind.PLAIN)
        if client_class is None:
            answers[key] = compile_answer(rrset)
        else:
            names[answer_key(client_class, key)] = compile_answer(rrset) if texts else b""
            answers[key] = with_levels(answers.get(key, b""), client_class.level)
    return Contents(answers, names | _ranges(ranges))


def _ranges(ranges: Ranges) -> dict[bytes, bytes]:
    found = {}
    for (assigner, text), classes in ranges.items():
        network = ipaddress.ip_network(text)
        found[range_key(assigner, ClientRange(network.network_address.packed, network.prefixlen))] = compose_classes(
            classes
        )
    return found


class ClientPort(Port):
    """A port that has received a query from one client, and counts how often the client is looked up."""

    def __init__(self, client: str) -> None:
        super().__init__("tcp", TCP_SIZE, Meter(share(1)[0]).tallies[2])
        self.octets = ipaddress.ip_address(client).packed
        self.looked_up = 0

    def source(self, peer: Any) -> bytes:
        self.looked_up += 1
        return self.octets


class World:
    """A table and its responder."""

    def __init__(self, state_dir: Path, ranges: Ranges = RANGES) -> None:
        self.state_dir = state_dir
        self.write(contents(ranges))
        self.reader = Reader(state_dir)
        self.responder = Responder(self.reader)
        self.port = ClientPort(OUTSIDE)

    def write(self, *all_contents: Contents) -> None:
        writer = Writer(self.state_dir, FACTS)
        writer.replace(lambda: all_contents, FACTS)
        writer.close()

    def ask(self, client: str, qname: str, rtype: str = "A", *, cd: bool = False) -> list[str]:
        """Return the sorted RDATA, or the rcode if there are no records."""
        message = query(f"{qname}.z.example", dns.rdatatype.from_text(rtype))
        if cd:  # ordinary queries don't have this bit of the header
            message = message[:3] + b"\x40" + message[4:]
        self.port = ClientPort(client)
        with self.reader.transaction() as transaction:
            reply = self.responder.respond(message, transaction, self.port)
        assert not isinstance(reply, Asked)
        assert reply is not None
        parsed = dns.message.from_wire(reply)
        found = sorted(rdata.to_text().removesuffix(".z.example.") for rrset in parsed.answer for rdata in rrset)
        return found or [f"{parsed.rcode().name} {len(parsed.authority)}"]

    def close(self) -> None:
        self.reader.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("state"))
    yield world
    world.close()


_NODATA = ["NOERROR 1"]


@pytest.mark.parametrize("cd", [False, True], ids=["ordinary", "strict"])
@pytest.mark.parametrize(
    ("client", "qname", "rtype", "answer"),
    [
        (OUTSIDE, "web", "A", ["192.0.2.1", "192.0.2.2"]),
        (INSIDE, "web", "A", ["10.96.0.1"]),
        (OUTSIDE, "web", "AAAA", ["2001:db8::1"]),
        (INSIDE, "web", "AAAA", _NODATA),
        (INSIDE, "web", "MX", ["1 mx"]),
        (INSIDE, "web", "TXT", _NODATA),
        (OUTSIDE, "six", "AAAA", _NODATA),
        (INSIDE, "six", "AAAA", ["2001:db8::96"]),
        (INSIDE, "six", "A", ["192.0.2.6"]),
        (INSIDE, "db", "A", ["10.9.0.1", "10.9.0.2", "10.9.0.3"]),
        ("10.1.9.9", "db", "A", ["10.9.0.1", "10.9.0.2"]),
        ("10.1.2.9", "db", "A", ["10.9.0.3"]),
        ("10.1.2.3", "db", "A", ["10.9.0.2"]),
        ("::ffff:10.1.2.3", "db", "A", ["10.9.0.2"]),
        ("2001:db8::7", "db", "A", ["10.9.0.3"]),
        ("2001:db8::8", "web", "A", ["10.96.0.1"]),
        ("2001:db9::8", "web", "A", ["192.0.2.1", "192.0.2.2"]),
        ("10.1.2.2", "view", "A", ["192.0.2.10"]),
        ("10.1.2.4", "view", "A", ["192.0.2.9"]),
        (OUTSIDE, "view", "A", ["192.0.2.8"]),
        (OUTSIDE, "alias", "A", ["192.0.2.1", "192.0.2.2", "web"]),
        (INSIDE, "alias", "A", ["10.96.0.1", "web"]),
        (INSIDE, "alias", "AAAA", ["web"]),
        (OUTSIDE, "out", "A", ["elsewhere.other.example."]),
        (INSIDE, "out", "A", ["10.96.0.2"]),
        (INSIDE, "out", "MX", ["elsewhere.other.example."]),
        (OUTSIDE, "x.wild", "A", ["192.0.2.20"]),
        (INSIDE, "x.wild", "A", ["10.96.0.20"]),
        (INSIDE, "missing", "A", ["NXDOMAIN 1"]),
        (OUTSIDE, "web", "ANY", ["192.0.2.1", "192.0.2.2"]),
        (INSIDE, "web", "ANY", ["10.96.0.1"]),
        (OUTSIDE, "six", "ANY", ["192.0.2.6"]),
        (OUTSIDE, "srv", "SRV", ["0 0 80 a", "0 0 80 b", "0 0 80 longer-than-the-others"]),
        ("10.1.9.9", "srv", "SRV", ["0 0 80 a", "0 0 80 longer-than-the-others"]),
    ],
)
def test_client_gets_the_answer_of_its_class(
    world: World, client: str, qname: str, rtype: str, answer: list[str], cd: bool
) -> None:
    assert world.ask(client, qname, rtype, cd=cd) == answer


def test_answers_of_a_class_rotate(world: World) -> None:
    message = query("srv.z.example", dns.rdatatype.SRV)
    first = set()
    for client in ["10.1.9.9", OUTSIDE] * 8:
        with world.reader.transaction() as transaction:
            reply = world.responder.respond(message, transaction, ClientPort(client))
        assert isinstance(reply, bytes)
        first.add((client, dns.message.from_wire(reply).answer[0][0].to_text()))
    assert len(first) == 2 + 3


def test_the_client_is_looked_up_only_if_the_answer_depends_on_it(world: World) -> None:
    for qname, rtype, most in [("same", "A", 0), ("missing", "A", 0), ("web", "MX", 0), ("web", "A", 1)]:
        world.ask(INSIDE, qname, rtype)
        assert world.port.looked_up <= most, qname
    world.ask(INSIDE, "same", cd=True)
    assert world.port.looked_up == 0


def test_a_worker_remembers_the_classes_of_clients_until_a_range_changes(tmp_path: Path) -> None:
    gone = dict.fromkeys(_ranges({(Assigner.CLUSTER, "10.0.0.0/8"): []}))
    commit = in_fork(lambda: Writer(tmp_path, FACTS).commit(Changes({}, {**gone}), FACTS))
    world = World(tmp_path)
    assert world.ask(INSIDE, "web") == ["10.96.0.1"]
    commit()
    assert world.ask(INSIDE, "web") == ["192.0.2.1", "192.0.2.2"]
    world.close()


def test_workers_forget_classes_only_after_a_commit_with_ranges(tmp_path: Path) -> None:
    World(tmp_path).close()
    writer = Writer(tmp_path, FACTS)
    version = writer.facts().classes_commit
    writer.commit(Changes({question(_name("new"), A): bytes(10)}, {}), FACTS)
    assert writer.facts().classes_commit == version
    writer.close()
    writer = Writer(tmp_path, FACTS)
    writer.commit(Changes({}, {name.tree_key(_name("new")): NodeKind.PLAIN}), FACTS)
    assert writer.facts().classes_commit == version
    writer.commit(Changes({}, dict.fromkeys(_ranges({(Assigner.CLUSTER, "10.0.0.0/8"): []}))), FACTS)
    assert writer.facts().classes_commit > version
    writer.close()


def in_fork(call: Callable[[], object]) -> Callable[[], None]:
    """Fork now, and return a function that makes the call in the fork. A process may open an LMDB file only once."""
    ready, start = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.read(ready, 1)
            call()
            os._exit(0)
        finally:
            os._exit(1)

    def make() -> None:
        os.write(start, b"1")
        assert os.waitpid(pid, 0)[1] == 0

    return make


def test_configured_client_ranges_work_without_a_cluster(tmp_path: Path) -> None:
    writer = Writer(tmp_path, FACTS)
    writer.replace(lambda: [contents({})], FACTS)
    writer.put_static(Contents({}, _ranges({(Assigner.CONFIGURATION, "198.51.100.0/24"): [VIEW]})), [])
    writer.close()
    world = World.__new__(World)
    world.reader = Reader(tmp_path)
    world.responder = Responder(world.reader)
    assert world.ask(OUTSIDE, "view") == ["192.0.2.10"]
    world.close()


def test_a_message_equal_to_the_key_of_a_class_is_answered_as_malformed(world: World) -> None:
    key = answer_key(EAST, question(_name("db"), A))
    with world.reader.transaction() as transaction:
        reply = world.responder.respond(b"\0\1\1\0\0\1\0\0\0\0\0\0" + key, transaction, ClientPort("10.1.9.9"))
    assert isinstance(reply, bytes)
    assert reply[3] & 15 == 1


_ADDRESSES = st.sampled_from(["10.0.0.0", "10.0.0.255", "10.0.128.1", "11.0.0.1", "2001:db8::", "2001:db8:8000::1"])
_CLASSES = st.sets(st.sampled_from([CLUSTER, EAST, NODE]), max_size=2)


@settings(max_examples=60, deadline=None)
@given(
    ranges=st.dictionaries(st.tuples(_ADDRESSES, st.integers(0, 128)), _CLASSES, max_size=8),
    clients=st.lists(_ADDRESSES, min_size=1, max_size=4),
)
def test_the_client_belongs_to_the_range_with_the_longest_prefix(
    ranges: dict[tuple[str, int], set[ClientClass]], clients: list[str]
) -> None:
    networks = {
        ipaddress.ip_network((text, min(bits, 32 if "." in text else 128)), strict=False): sorted(classes)
        for (text, bits), classes in ranges.items()
    }
    with TemporaryDirectory() as state_dir:
        world = World(Path(state_dir), {(Assigner.CLUSTER, str(each)): found for each, found in networks.items()})
        for client in clients:
            address = ipaddress.ip_address(client)
            around = [each for each in networks if address in each]
            classes = networks[max(around, key=lambda each: each.prefixlen)] if around else []
            wanted = (
                ["10.9.0.2"]
                if NODE in classes
                else ["10.9.0.1", "10.9.0.2"]
                if EAST in classes
                else ["10.9.0.1", "10.9.0.2", "10.9.0.3"]
            )
            assert world.ask(client, "db") == wanted
        world.close()
