"""The Kubernetes DNS specification, version 1.1.0, as functions: what records objects have.

Section numbers are those of https://github.com/kubernetes/dns/blob/master/docs/specification.md. Where it is silent,
records are those of CoreDNS, because clients have learned them. Names below are relative to the cluster domain:

    SVC.NS.svc                     a Service
    _PORT._PROTOCOL.SVC.NS.svc     a named port of it
    ENDPOINT.SVC.NS.svc            a ready endpoint of it, headless or not: its hostname, else its dashed IP
    DASHED-IP.NS.pod               a pod

Each function takes objects and yields RRsets; it knows nothing of what was there before.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from itertools import accumulate, chain, islice
from typing import NamedTuple, TypeVar

from pydns.dns import name
from pydns.dns.dashed import dashed
from pydns.dns.rrset import AAAA, CNAME, NS, PTR, SRV, TXT, A, RRset, address_type, srv, txt
from pydns.kube.objects import Endpoint, EndpointSlice, Port, Service

_Item = TypeVar("_Item", bound=Hashable)

VERSION = b"1.1.0"
_VERSION_TTL_S = 28800  # section 2.2
_SRV_PRIORITY = 0

# What one Service may take, in octets of records. Endpoints × ports have no other limit: the API allows 1,000 × 20,000.
_MESSAGE = 0xFFFF  # more of an answer can't be sent
_BUDGET = 4 << 20  # for the answers of all ports of a headless Service, and again for the SRV answers of all endpoints
_LEAST = 512  # for each of them, however many there are
_RECORD = 12  # octets of a record before its RDATA, its owner compressed
_LEAST_RECORD, _MOST_RECORD = _RECORD + 4, _RECORD + 16  # A and AAAA
_SRV_FIXED = _RECORD + 6  # octets of an SRV record before its target


class Schema(NamedTuple):
    """What records depend on besides objects."""

    domain: bytes  # the cluster domain, wire form, lower case
    ttl_s: int = 5


def service_name(schema: Schema, namespace: str, service: str) -> bytes:
    """Return the name of a Service."""
    return _child(_child(_child(schema.domain, "svc"), namespace), service)


def service_rrsets(schema: Schema, service: Service, slices: Iterable[EndpointSlice]) -> Iterator[RRset]:
    """Yield what a Service and its ready endpoints have, reverse names apart. Owners don't repeat a type."""
    owner = service_name(schema, service.namespace, service.name)
    if service.external_name is not None:  # section 2.5
        yield RRset(owner, CNAME, schema.ttl_s, (service.external_name,))
        return
    endpoints = _merge(slices)
    if service.headless:
        yield from _headless(schema, owner, endpoints)
    else:
        yield from _cluster_ip(schema, owner, service)
    yield from _endpoints(schema, owner, endpoints)


def headless_rrsets(schema: Schema, owner: bytes, slices: Iterable[EndpointSlice]) -> Iterator[RRset]:
    """Yield what a headless Service called `owner` and its ready endpoints have. Owners don't repeat a type."""
    endpoints = _merge(slices)
    yield from _headless(schema, owner, endpoints)
    yield from _endpoints(schema, owner, endpoints)


def pointers(
    schema: Schema, service: Service, slices: Iterable[EndpointSlice], may_point: Callable[[bytes], bool]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield addresses with the names that a Service gives them: its own to its ClusterIPs, its endpoints' to theirs.

    An endpoint's address has none unless `may_point` allows it: whoever may write EndpointSlices chooses it.
    Sections 2.3.3 and 2.4.3. Pairs may repeat. Several Services can name an address; the caller merges them.
    """
    if service.external_name is not None:
        return
    owner = service_name(schema, service.namespace, service.name)
    for address in service.cluster_ips:
        yield address, owner
    for each in slices:
        for endpoint in each.endpoints:
            if may_point(endpoint.address):
                yield endpoint.address, _child(owner, _label(endpoint))


def pointer_rrset(schema: Schema, address: bytes, targets: Iterable[bytes]) -> RRset:
    """Return the reverse name of an address with what it points to, in a fixed order.

    If it is the ClusterIP of a Service, then to that alone, whosever endpoint it is: CoreDNS. The names of external
    zones come last, and only the first one counts.
    """
    found = tuple(targets)
    if len(found) == 1:
        return RRset(name.reverse_name(address), PTR, schema.ttl_s, found)
    found = tuple(sorted(found))
    found = tuple([each for each in found if name.is_at_or_below(each, schema.domain)]) or found[:1]
    above = len(name.labels_of(schema.domain)) + 3  # SVC.NS.svc, and endpoints have one label more
    found = tuple([each for each in found if len(name.labels_of(each)) == above]) or found
    ends = accumulate([_RECORD + len(each) for each in found])
    kept = 1 + sum([end < _MESSAGE for end in ends])
    return RRset(name.reverse_name(address), PTR, schema.ttl_s, found[:kept], (), kept < len(found))


def pod_name(schema: Schema, namespace: str, address: bytes) -> bytes:
    """Return the name that an address has below its namespace; CoreDNS's, no longer in the specification."""
    return _child(pod_namespace_name(schema, namespace), dashed(address))


def namespace_name(schema: Schema, namespace: str) -> bytes:
    """Return the name that a namespace's Services lie below; it exists while the namespace does."""
    return _child(_child(schema.domain, "svc"), namespace)


def pod_namespace_name(schema: Schema, namespace: str) -> bytes:
    """Return the name that a namespace's pods lie below."""
    return _child(_child(schema.domain, "pod"), namespace)


def infrastructure_rrsets(
    schema: Schema, zones: Iterable[bytes], nameservers: Iterable[bytes], addresses: Iterable[bytes]
) -> Iterator[RRset]:
    """Yield dns-version (section 2.2), and the NS records of all zones with glue: `addresses`.

    `nameservers` are names of Services that this server is an endpoint of, or ns.dns, which has the addresses then.
    Otherwise nothing exists at dns: NODATA for it would end the search of clients with musl.
    """
    names, found = tuple(nameservers), tuple(addresses)
    glue = tuple([rrset for each in names for rrset in _by_family(each, schema.ttl_s, found)])
    for zone in zones:
        yield RRset(zone, NS, schema.ttl_s, names, glue)
    if names == (nameserver_name(schema),):
        yield from glue
    yield RRset(_child(schema.domain, "dns-version"), TXT, _VERSION_TTL_S, (txt(VERSION),))


def nameserver_name(schema: Schema) -> bytes:
    """Return the name of the server in SOA and NS records where no Service names it."""
    return _child(_child(schema.domain, "dns"), "ns")


def hostmaster_name(schema: Schema) -> bytes:
    """Return the mailbox in SOA records."""
    return _child(schema.domain, "hostmaster")


def infrastructure_names(schema: Schema) -> list[bytes]:
    """Return the names that exist whatever the cluster has: `svc` and `pod`."""
    return [_child(schema.domain, "svc"), _child(schema.domain, "pod")]


class _Ready(NamedTuple):
    """The ready endpoints of a Service, merged from its slices; dicts keep the order and drop duplicates.

    Most slices have equal lists of ports, so an endpoint has the number of a list. All of it is linear in the slices:
    endpoints × ports are nowhere.
    """

    slices: list[tuple[EndpointSlice, list[str]]]  # each with the labels of its endpoints
    lists: list[tuple[Port, ...]]  # the different lists of ports
    by_label: dict[str, dict[bytes, None]]  # addresses by endpoint label
    first: dict[str, int]  # number of a list of ports by endpoint label: that of the label's first slice
    several: dict[str, dict[int, None]]  # all numbers, for labels in slices with different lists

    def ports(self, label: str) -> Iterator[Port]:
        """Yield the ports of an endpoint. They may repeat."""
        return chain.from_iterable([self.lists[each] for each in self.several.get(label) or (self.first[label],)])


def _merge(slices: Iterable[EndpointSlice]) -> _Ready:
    ready = _Ready([], [], {}, {}, {})
    _, lists, by_label, first, several = ready
    numbers: dict[tuple[Port, ...], int] = {}
    for each in slices:
        number = numbers.setdefault(each.ports, len(lists))
        if number == len(lists):
            lists.append(each.ports)
        labels: list[str] = []
        ready.slices.append((each, labels))
        for address, label in each.endpoints:
            label = label or dashed(address)
            labels.append(label)
            known = by_label.get(label)
            if known is None:
                by_label[label] = {address: None}
                first[label] = number
            else:
                known[address] = None
                if first[label] != number:
                    several.setdefault(label, {first[label]: None})[number] = None
    return ready


def _cluster_ip(schema: Schema, owner: bytes, service: Service) -> Iterator[RRset]:
    """Section 2.3. The bare name has SRV records too, for every port: CoreDNS, for peer-finder."""
    addresses = _by_family(owner, schema.ttl_s, service.cluster_ips)
    yield from addresses
    if not service.cluster_ips:
        return
    by_port: dict[bytes, dict[int, None]] = {}  # numbers by owner; a folder may have a named port twice
    if service.ports:
        by_port[owner] = dict.fromkeys([port.number for port in service.ports])
    for port in service.ports:
        if port.name:
            by_port.setdefault(_port_owner(owner, port.name, port.protocol), {})[port.number] = None
    most = _MESSAGE // (_SRV_FIXED + len(owner)) + 1
    for port_owner, numbers in by_port.items():
        if port_owner is not owner:
            yield from _by_family(port_owner, schema.ttl_s, service.cluster_ips)
        is_cut = len(numbers) > most
        kept = list(numbers)[:most] if is_cut else numbers
        weight = _weight(len(kept))
        rdatas = tuple([srv(_SRV_PRIORITY, weight, number, owner) for number in kept])
        yield RRset(port_owner, SRV, schema.ttl_s, rdatas, addresses, is_cut)


def _headless(schema: Schema, owner: bytes, ready: _Ready) -> Iterator[RRset]:
    """Section 2.4. Without a ready endpoint there is no name."""
    yield from _by_family(owner, schema.ttl_s, dict.fromkeys([a for found in ready.by_label.values() for a in found]))
    targets: dict[str, tuple[bytes, tuple[RRset, ...]]] = {}
    everything = ((label, port.number) for label in ready.by_label for port in ready.ports(label))
    yield from _endpoint_srv(schema, owner, owner, everything, ready, targets, _MESSAGE)
    by_port: dict[tuple[str, str], list[tuple[int, int]]] = {}  # slices and numbers by name and protocol
    for at, (each, labels) in enumerate(ready.slices):
        for port in each.ports if labels else ():
            if port.name:
                by_port.setdefault((port.name, port.protocol), []).append((at, port.number))
    room = _room(len(by_port))
    for (port_name, protocol), having in by_port.items():
        port_owner = _port_owner(owner, port_name, protocol)
        slices = [ready.slices[at][0] for at in dict.fromkeys([at for at, _ in having])]
        addresses, more = _distinct(
            (endpoint.address for each in slices for endpoint in each.endpoints), room // _LEAST_RECORD + 1
        )
        yield from _by_family(port_owner, schema.ttl_s, addresses, room, more)
        found = ((label, number) for at, number in having for label in ready.slices[at][1])
        yield from _endpoint_srv(schema, port_owner, owner, found, ready, targets, room)


def _endpoint_srv(
    schema: Schema,
    owner: bytes,
    service: bytes,
    found: Iterable[tuple[str, int]],
    ready: _Ready,
    targets: dict[str, tuple[bytes, tuple[RRset, ...]]],
    room: int,
) -> Iterator[RRset]:
    """Yield the SRV records of endpoints, labels with port numbers, as many as fit.

    `targets` is kept between calls: names and addresses by label.
    """
    pairs, more = _distinct(found, room // (_SRV_FIXED + len(service) + 2) + 1)
    records: list[tuple[int, bytes]] = []
    glue: dict[str, tuple[RRset, ...]] = {}
    octets = 0
    for label, number in pairs:
        if octets >= room:
            more = True
            break
        known = targets.get(label)
        if known is None:
            target = _child(service, label)
            known = targets[label] = target, _by_family(target, schema.ttl_s, ready.by_label[label])
        target, glue[label] = known
        records.append((number, target))
        octets += _SRV_FIXED + len(target)
    if not records:
        return
    weight = _weight(len(records))
    additional: list[RRset] = []
    for label, rrsets in glue.items():
        octets += _MOST_RECORD * len(ready.by_label[label])
        if octets > room:
            break
        additional += rrsets
    rdatas = tuple([srv(_SRV_PRIORITY, weight, number, target) for number, target in records])
    yield RRset(owner, SRV, schema.ttl_s, rdatas, tuple(additional), more)


def _endpoints(schema: Schema, owner: bytes, ready: _Ready) -> Iterator[RRset]:
    """Sections 2.4.1 and 2.4.2. Endpoints of Services with a ClusterIP have names too: CoreDNS."""
    room = _room(len(ready.by_label))
    most = room // (_SRV_FIXED + len(owner) + 2) + 1
    first, several = ready.first, ready.several
    listed = -1  # the list of ports that `fixed` is of
    fixed: list[bytes] = []  # of SRV records, before the target
    more = False
    for label, addresses in ready.by_label.items():
        endpoint = _child(owner, label)
        found = _by_family(endpoint, schema.ttl_s, addresses)
        yield from found
        if first[label] != listed or label in several:
            listed = -1 if label in several else first[label]
            numbers, more = _distinct((port.number for port in ready.ports(label)), most)
            weight = _weight(max(len(numbers), 1))
            fixed = [srv(_SRV_PRIORITY, weight, number, b"") for number in numbers]
        if not fixed:
            continue
        size = _SRV_FIXED + len(endpoint)
        if len(fixed) * size + len(addresses) * _MOST_RECORD <= room:
            yield RRset(endpoint, SRV, schema.ttl_s, tuple([each + endpoint for each in fixed]), found, more)
        else:
            kept = room // size + 1
            rdatas = tuple([each + endpoint for each in islice(fixed, kept)])
            yield RRset(endpoint, SRV, schema.ttl_s, rdatas, (), more or kept < len(fixed))


def _by_family(
    owner: bytes, ttl_s: int, addresses: Collection[bytes], room: int = _MESSAGE, is_cut: bool = False
) -> tuple[RRset, ...]:
    if len(addresses) == 1:
        (address,) = addresses
        return (RRset(owner, address_type(address), ttl_s, (address,)),)
    v4 = tuple([address for address in addresses if len(address) == 4])
    v6 = tuple([address for address in addresses if len(address) != 4])
    most4, most6 = room // _LEAST_RECORD + 1, room // _MOST_RECORD + 1
    found = (RRset(owner, A, ttl_s, v4[:most4], (), is_cut or len(v4) > most4),) if v4 else ()
    return (*found, RRset(owner, AAAA, ttl_s, v6[:most6], (), is_cut or len(v6) > most6)) if v6 else found


def _room(answers: int) -> int:
    """Return how many octets of records each of so many answers may have."""
    return min(_MESSAGE, max(_LEAST, _BUDGET // max(answers, 1)))


def _distinct(items: Iterable[_Item], wanted: int) -> tuple[dict[_Item, None], bool]:
    """Return about `wanted` different items in their order, and whether there are more.

    It looks at four times as many at most, so items that repeat cost no more.
    """
    rest = iter(items)
    found = dict.fromkeys(islice(rest, wanted))
    if len(found) < wanted:
        found.update(dict.fromkeys(islice(rest, 3 * wanted)))
    return found, next(rest, None) is not None


def _weight(records: int) -> int:
    """All records are equally good; weights of an answer sum up to 100 as in CoreDNS, but are never 0."""
    return max(100 // records, 1)


def _label(endpoint: Endpoint) -> str:
    return endpoint.label or dashed(endpoint.address)


def _child(parent: bytes, label: str) -> bytes:
    return len(label).to_bytes(1) + label.encode() + parent


def _port_owner(owner: bytes, port_name: str, protocol: str) -> bytes:
    return _child(_child(owner, "_" + protocol), "_" + port_name)
