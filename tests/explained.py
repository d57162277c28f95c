"""`pydns explain` and a worker agree, for random clients, names and types in random clusters and configurations.

    python -m tests.explained 10000          # that many questions, from a new seed
    python -m tests.explained 10000 7        # the questions of seed 7

A worker runs in this process, with guards, a forwarder, and an upstream that refuses everything. Each question goes to
the worker as octets with EDNS, and to `pydns.cli.reasons`. The reply and the explanation must have the same rcode,
records, time in caches, and reason. The first difference is printed with its seed.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import dns.edns
import dns.message
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset
import yaml

from pydns.cli.reasons import FORWARDED, Reply, Witness
from pydns.config.inputs import read_file
from pydns.config.model import Config, ServerSpec
from pydns.config.read import Accepted
from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.dns.reason import Reason
from pydns.dns.rrset import type_text
from pydns.zones.compile import Statics, combine, compile_zone
from pydns.zones.special import blocked_zones, local_zones, special_zones
from pydns.zones.zonefile import ZoneFile
from pydns.zones.zonefile import read as read_zone
from tests.serve.simulated import Worker
from tests.subject import load

QUESTIONS = 50  # the number of questions to each cluster
TYPES = ("A", "A", "A", "AAAA", "SRV", "CNAME", "TXT", "PTR", "NS", "SOA", "HTTPS", "MX", "DNAME", "ANY", "TYPE65280")
CLIENTS = ("10.1.0.1", "10.1.0.77", "10.2.0.1", "192.0.2.9", "2001:db8::1")
NAMESPACES = ("a", "b", "c")
SERVICES = ("web", "db", "svc", "a", "x-1")
_EMPTY = ("NODATA", "NOERROR with the CNAMEs alone", "a referral")
_ROOT = "the root"
SOA = "example. 60 SOA ns.example. host.example. 1 3600 600 86400 60"


class Difference(NamedTuple):
    """A question that the worker and the explanation answer differently."""

    seed: int
    client: str
    question: str
    worker: tuple[object, ...]
    explained: tuple[object, ...]
    world: str


class World(NamedTuple):
    """A cluster, its configuration and zone files, as text."""

    cluster: list[dict[str, Any]]
    config: dict[str, Any]
    zones: dict[str, str]


def differences(seeds: Sequence[int], count: int) -> Iterator[Difference]:
    """Ask `count` questions in the worlds of the seeds, and yield each difference."""
    left = count
    for seed in seeds:
        if left <= 0:
            return
        yield from _differences(seed, min(left, QUESTIONS))
        left -= QUESTIONS


def _differences(seed: int, count: int) -> Iterator[Difference]:
    random = Random(seed)
    world = random_world(random)
    read = read_file("config.yaml", yaml.safe_dump(world.config).encode())
    assert isinstance(read, Accepted), (read, world.config)
    with tempfile.TemporaryDirectory() as state_dir:
        zone = load(world.cluster, config=world.config)
        worker = Worker(Path(state_dir), read.config, [], SOA, zone=zone, statics=statics_of(world.zones, read.config))
        try:
            owners = owners_of(worker)
            for _ in range(count):
                client, qname, qtype = random.choice(CLIENTS), random_qname(random, owners), random.choice(TYPES)
                found, wanted = asked(worker, client, qname, qtype), _explained(worker, client, qname, qtype)
                if found != wanted:
                    yield Difference(seed, client, f"{qname} {qtype}", found, wanted, yaml.safe_dump(world._asdict()))
        finally:
            worker.close()


def asked(worker: Worker, client: str, qname: str, qtype: str) -> tuple[object, ...]:
    """Return the worker's reply: rcode, records, how long caches keep a denial (in seconds), reason, other records.

    For a forwarded question, return the records before the forwarded name, the question to the first upstream, and the
    address of this upstream.
    """
    query = dns.message.make_query(qname, qtype, use_edns=0, payload=4096)
    worker.asked.clear()
    worker.asked_ips.clear()
    worker.pass_time(10)  # failures are kept for a shorter time
    sent = worker.send(query.to_wire(), client)
    worker.deliver()
    if not sent:
        return ("no reply",)
    reply = dns.message.from_wire(sent[0])
    errors = [each.text for each in reply.options if isinstance(each, dns.edns.EDEOption)]
    records = sorted(_text(rrset, rdata).lower() for rrset in reply.answer for rdata in rrset)
    if errors == [Reason.UPSTREAM_ERROR.code]:
        # A worker also asks for the root to find out whether an upstream is alive, so `asked` leaves that out.
        return FORWARDED, records, _ROOT if qname == "." else f"{worker.asked[0]} of {worker.asked_ips[0]}"
    soa = next((each.ttl for each in reply.authority if each.rdtype == dns.rdatatype.SOA), None)
    rest = [rrset for rrset in (*reply.authority, *reply.additional) if rrset.rdtype != dns.rdatatype.SOA]
    others = sorted(_text(rrset, rdata).lower() for rrset in rest for rdata in rrset)
    return dns.rcode.to_text(reply.rcode()), records, soa, errors, others


def _explained(worker: Worker, client: str, qname: str, qtype: str) -> tuple[object, ...]:
    wire, rtype = name.from_text(qname).lower(), int(dns.rdatatype.from_text(qtype))
    with worker.table.transaction() as transaction:
        return told(Witness(worker.table, transaction, parse_address(client)).reply_to_client(wire, rtype))


def told(reply: Reply) -> tuple[object, ...]:
    """Return a reply of `explain` in the form of `asked`."""
    records = sorted([each.lower() for each in reply.records])
    if reply.said == "no reply":
        return (reply.said,)
    if reply.said == FORWARDED:
        assert reply.path is not None
        (server, *_) = reply.path.steps[0].servers
        assert isinstance(server, ServerSpec)
        question = f"{name.to_text(reply.path.qname)} {type_text(reply.path.qtype)}".lower()
        return FORWARDED, records, _ROOT if reply.qname == name.ROOT else f"{question} of {server.ip}"
    rcode = "NOERROR" if reply.said in _EMPTY else reply.said
    reasons = [] if reply.reason is None else [reply.reason.code]
    return rcode, records, reply.kept_s, reasons, sorted([each.lower() for each in reply.others])


def _text(rrset: dns.rrset.RRset, rdata: object) -> str:
    return f"{rrset.name} {rrset.ttl} IN {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"


def owners_of(worker: Worker) -> list[str]:
    """Return the owners of all records in the table."""
    with worker.table.transaction() as transaction:
        keys = [key for key, _ in worker.table.items(transaction)]
    return sorted({name.to_text(key[:-4].removeprefix(b"\0") or name.ROOT) for key in keys})


def random_qname(random: Random, owners: Sequence[str]) -> str:
    """Return a name that exists, or one that resembles it, or one that a rule may touch."""
    made: Callable[[], str] = random.choice(
        [
            lambda: random.choice(owners),
            lambda: random.choice(owners),
            lambda: f"{random.choice(('x', 'web', '10-1-0-1', '_http', 'a'))}.{random.choice(owners)}",
            lambda: random.choice(owners).partition(".")[2] or ".",
            lambda: rf"\229\000\010.{random.choice((*_TOUCHED, *owners))}".replace("..", "."),
            lambda: f"{random.choice(SERVICES)}.{random.choice((*NAMESPACES, 'none'))}.svc.{random.choice(_DOMAINS)}",
            lambda: f"db-0.{random.choice(SERVICES)}.{random.choice(NAMESPACES)}.svc.cluster.local.",
            lambda: f"10-1-0-1.{random.choice((*NAMESPACES, 'none'))}.pod.cluster.local.",
            lambda: f"{random.choice(SERVICES)}.{random.choice(('svc', 'pod', 'none'))}.cluster.local.",
            lambda: random.choice(_TOUCHED),
        ]
    )
    found = made()
    return found if len(found) < 250 else "a."


_DOMAINS = ("cluster.local.", "corp.internal.", "clusterset.local.")
_TOUCHED = (
    "www.example.com.",
    "games.example.",
    "x.games.example.",
    "shown.example.",
    "blocked.example.",
    "x.blocked.example.",
    "alias.example.",
    "out.example.",
    "loop.example.",
    "web.auto.example.",
    "bare.rewritten.example.",
    "web.rewritten.example.",
    "1-2.ip.example.",
    "none.template.example.",
    "cname.template.example.",
    "fails.template.example.",
    "db.host.example.",
    "x.route.example.",
    "x.kept.route.example.",
    "x.kept.example.",
    f"{'y' * 60}.{'y' * 60}.long.example.org.",
    "localhost.",
    "resolver.arpa.",
    "x.resolver.arpa.",
    "use-application-dns.net.",
    "1.0.96.10.in-addr.arpa.",
    "9.9.9.9.in-addr.arpa.",
    "ipv4only.arpa.",
    "x.ipv4only.arpa.",
    *(str(dns.reversename.from_address(each)) for each in ("64:ff9b::a60:1", "2001:db8:64::909:909", "2001:db8::1")),
    ".",
)


def _some(random: Random, items: Sequence[Any]) -> list[Any]:
    return [each for each in items if random.random() < 0.6]


def random_world(random: Random, without: Sequence[str] = ()) -> World:
    """Return a random cluster with its configuration and zone files. The configuration lacks the keys `without`."""
    config = {key: value for key, value in random_config(random).items() if key not in without}
    return World(_cluster(random, config), config, _zones(random))


def _cluster(random: Random, config: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}} for each in _some(random, NAMESPACES)
    ]
    made += [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"n{zone}", "labels": {"topology.kubernetes.io/zone": f"z{zone}"}},
            "spec": {"podCIDR": f"10.{zone}.0.0/16"},
        }
        for zone in ((1, 2) if "external" in config or "zonal" in config else ())
    ]
    number = 0
    for namespace in NAMESPACES:
        for service in _some(random, SERVICES):
            number += 1
            made += list(_service(random, namespace, service, number))
    if "external" in config and random.random() < 0.5:
        made.append(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {"name": "www", "namespace": "a"},
                "spec": {"rules": [{"host": "www.k8s.example"}, {"host": "*.apps.k8s.example"}]},
                "status": {"loadBalancer": {"ingress": _some(random, [{"ip": "192.0.2.80"}])}},
            }
        )
    return made


def _service(random: Random, namespace: str, service: str, number: int) -> Iterator[dict[str, Any]]:
    ports = _some(random, [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}])
    targets = (
        "web.a.svc.cluster.local",
        "www.example.com",
        "x.cname.example.org",
        "alias.example",
        "no.b.svc.cluster.local",
    )
    spec: dict[str, Any] = random.choice(
        [
            {"clusterIP": f"10.96.0.{number}"},
            {"clusterIP": "None"},
            {"clusterIP": "None", "trafficDistribution": "PreferClose"},
            {"type": "ExternalName", "externalName": random.choice(targets)},
            {"type": "LoadBalancer", "clusterIP": f"10.96.1.{number}"},
        ]
    )
    metadata: dict[str, Any] = {"name": service, "namespace": namespace}
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {**spec, "ports": ports},
    }
    if spec.get("type") == "LoadBalancer":
        metadata["annotations"] = {"external-dns.alpha.kubernetes.io/hostname": f"{service}.k8s.example"}
        made["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.80"}]}}
    yield made
    if random.random() < 0.7:
        endpoints = [
            {
                "addresses": [f"10.{zone}.0.{number}"],
                "zone": f"z{zone}",
                "conditions": {"ready": random.random() < 0.6},
                "hints": {"forZones": [{"name": f"z{zone}"}]},
                **random.choice([{}, {"hostname": f"db-{zone}"}]),
            }
            for zone in _some(random, (1, 2))
        ]
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{service}-1",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": each["name"], "port": each["port"], "protocol": each.get("protocol", "TCP")} for each in ports
            ],
            "endpoints": endpoints,
        }


def random_config(random: Random) -> dict[str, Any]:
    """Return a random configuration."""
    chosen: dict[str, Any] = {"cache": {"entries": 0, "servfail_s": 1}}
    offered: list[dict[str, Any]] = [
        {"upstreams": ["192.0.2.53"]},
        {"routes": {"route.example": {"servers": ["192.0.2.54"], "except": ["kept.route.example"]}}},
        {
            "acl": [
                {"action": random.choice(("block", "filter", "drop", "allow")), **_condition(random)} for _ in range(3)
            ]
        },
        {
            "views": [
                {"when": "incidr(client_ip(), '10.2.0.0/16')", "blocked": {"games.example": "nxdomain"}},
                {
                    "when": "type() == 'A'",
                    "templates": [{"zones": ["a.svc.cluster.local"], "answer": ["{{ .Name }} 60 IN A 10.9.9.9"]}],
                },
            ]
        },
        {"blocked": {"games.example": "refused", "blocked.example": random.choice(("nxdomain", "nodata", "refused"))}},
        {"blocked": {"games.example": {"answer": "nodata", "types": ["A"]}}},
        {
            "aliases": {
                "alias.example": "web.a.svc.cluster.local",
                "out.example": "www.example.com",
                "loop.example": "loop.example",
                "x.b.svc.cluster.local": "db.a.svc.cluster.local",
            }
        },
        {
            "rewrites": [
                "name suffix .auto.example .a.svc.cluster.local answer auto",
                "name suffix .rewritten.example .b.svc.cluster.local",
                "name exact db.a.svc.cluster.local web.a.svc.cluster.local",
            ]
        },
        {
            "templates": [
                {
                    "zones": ["ip.example"],
                    "types": ["A"],
                    "match": [r"^([0-9]+)-([0-9]+)\."],
                    "answer": ["{{ .Name }} 60 IN A 10.0.0.1"],
                },
                {"zones": ["none.template.example"], "rcode": "NXDOMAIN"},
                {"zones": ["fails.template.example"], "rcode": "SERVFAIL"},
                {"zones": ["cname.template.example"], "answer": ["{{ .Name }} 60 IN CNAME web.a.svc.cluster.local."]},
            ]
        },
        {
            "hosts": {
                "db.host.example": {"addresses": ["192.0.2.7"]},
                "web.corp.example": {"addresses": ["192.0.2.8"]},
                "web.a.svc.cluster.local": {"addresses": ["192.0.2.9"]},
            }
        },
        {"external": {"k8s.example": {"sources": ["services", "ingresses"], "hairpin": "service"}}},
        {"zonal": {"plain": "headless", "prefer": "zone", "names": True}},
        {"domains": {"corp.internal": {"namespaces": ["a"]}}},
        {"pods": random.choice(("disabled", "verified", "insecure"))},
        {"local_names": True},
        {"ttl": random.choice((5, 30, 400))},
        {"except": ["kept.example"], "upstreams": ["192.0.2.53"]},
        {"families": {"which": random.choice(("ipv6", "all")), "except": ["kept.example"]}},
        {
            "dns64": {
                "clients": ["2001:db8::/32", "10.1.0.0/24"],
                "prefixes": random.choice((["64:ff9b::/96"], ["2001:db8:64::/96", "64:ff9b::/96"])),
                "translate_all": random.random() < 0.5,
            }
        },
        {"any": "hinfo"},
    ]
    if random.random() < 0.2:  # clients without IPv6 don't get the addresses of DNS64
        offered = [each for each in offered if "dns64" not in each] + [{"families": "ipv4"}]
    for each in _some(random, offered):
        # rules of `acl` hide all other rules, so they are chosen less often
        if "acl" not in each or random.random() < 0.4:
            chosen |= each
    return chosen


def _condition(random: Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if random.random() < 0.7:
        found["clients"] = [random.choice(("10.1.0.0/24", "192.0.2.0/24", "2001:db8::/32"))]
    if random.random() < 0.5:
        found["types"] = [random.choice(("A", "TXT", "SRV"))]
    if random.random() < 0.7:
        found["within"] = [random.choice(("a.svc.cluster.local", "example", "in-addr.arpa"))]
    return found


def _zones(random: Random) -> dict[str, str]:
    lines = [
        "*.wild 60 A 192.0.2.1",
        "*.apps 60 CNAME web.a.svc.cluster.local.",
        "x.cname 60 CNAME www.example.com.",
        "loop 60 CNAME pool\npool 60 CNAME loop",
        "sub 60 NS ns.elsewhere.net.",
        "moved 60 DNAME wild",
        "long 60 DNAME " + ".".join(["x" * 60] * 3),
        "svc 60 HTTPS 1 .",
        "deep.er.name 60 TXT x",
    ]
    text = "@ 60 SOA ns admin 1 2 3 4 30\n@ 60 NS ns\n" + "\n".join(_some(random, lines)) + "\n"
    return {"example.org.zone": text} if random.random() < 0.8 else {}


def statics_of(zones: dict[str, str], config: Config) -> Statics:
    """Return the static records that the controller makes of zone files, hosts, blocked domains and special names."""
    compiled = {}
    for file, text in zones.items():
        read = read_zone(text, file, Path(file).stem, _no_include)
        assert isinstance(read, ZoneFile), read
        compiled[file] = compile_zone(read)
    for each in config.zone_files:
        assert each.text is not None
        read = read_zone(each.text, each.file, each.zone_text, _no_include)
        assert isinstance(read, ZoneFile), read
        compiled[each.title] = compile_zone(read)
    compiled |= {**blocked_zones(config.blocked), **special_zones(), **(local_zones() if config.local_names else {})}
    domains = [name.from_text("cluster.local"), *(each.domain for each in config.domains)]
    reverse = [name.from_text(each) for each in ("in-addr.arpa", "ip6.arpa")]
    return combine(compiled, config.hosts, domains, reverse, [zone.apex for zone in config.external])


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise AssertionError(f"{by} includes {wanted}")


def chosen(arguments: Sequence[str], questions: int) -> tuple[int, range]:
    """Return the number of questions and the seeds of a command line. `questions` is the number for each seed."""
    count = int(arguments[0])
    first = int(arguments[1]) if len(arguments) > 1 else Random().randrange(1 << 30)
    return count, range(first, first + (count + questions - 1) // questions)


def main(arguments: Sequence[str]) -> int:
    """Compare the answers to some questions, and print the first difference.

    The first argument is the number of questions.
    """
    count, seeds = chosen(arguments, QUESTIONS)
    for each in differences(seeds, count):
        print(f"seed {each.seed}: {each.question} from {each.client}", each.world, sep="\n")
        print(f"worker    {each.worker}", f"explained {each.explained}", sep="\n")
        return 1
    print(f"{count} questions from seed {seeds.start} on: no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
