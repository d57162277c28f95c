"""The Kubernetes DNS specification, version 1.1.0, as functions that turn objects into records.

Section numbers refer to https://github.com/kubernetes/dns/blob/master/docs/specification.md. If the specification says
nothing about a case, the records are the same as in CoreDNS, because clients depend on them. The names that objects
have, relative to the cluster domain, are:

    SVC.NS.svc                     a Service
    _PORT._PROTOCOL.SVC.NS.svc     a named port of a Service
    ENDPOINT.SVC.NS.svc            a ready endpoint of a Service: ENDPOINT is its hostname, or its dashed IP address
    DASHED-IP.NS.pod               a pod

The endpoints of a Service have names unless the Service is of type ExternalName. The functions of this module don't
know earlier states of the objects.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import Final, NamedTuple, TypeVar

from pydns.dns import name
from pydns.dns.dashed import dashed
from pydns.dns.rrset import AAAA, CNAME, NS, PTR, SRV, TXT, A, Hosts, RRset, address_type, srv, txt
from pydns.kube.objects import Endpoint, EndpointSlice, Port, Service

_Item = TypeVar("_Item", bound=Hashable)

VERSION: Final = b"1.1.0"
_VERSION_TTL_S = 28800  # the TTL of the record dns-version in section 2.2
_SRV_PRIORITY: Final = 0

# Limits for the records of one Service, in octets. Without them, a Service could have a record for each pair of an
# endpoint and a port. The API allows 1,000 × 20,000 such pairs.
_MESSAGE: Final = 0xFFFF  # the largest DNS message; a longer answer can't be sent
# The answers for all ports of a headless Service may have this many octets together, and so may the SRV answers for all
# its endpoints.
_BUDGET: Final = 4 << 20
_LEAST: Final = 512  # every answer may have this many octets, even if there are too many answers for `_BUDGET`
_RECORD = 12  # octets of a record before its RDATA, if its owner is compressed
_LEAST_RECORD, _MOST_RECORD = _RECORD + 4, _RECORD + 16  # octets of an A record, and octets of an AAAA record
_SRV_FIXED: Final = _RECORD + 6  # octets of an SRV record before its target
_FEW_PORTS = 8  # maximum number of ports that ordinary endpoints have
_HOSTS = 64  # maximum number of endpoints in one `Hosts`
_LENGTHS: Final = [bytes([length]) for length in range(256)]


class Schema(NamedTuple):
    """The values on which the records of objects depend, besides the objects."""

    domain: bytes  # the cluster domain in wire form and lower case
    ttl_s: int = 5


def service_name(schema: Schema, namespace: str, service: str) -> bytes:
    """Return the name of a Service."""
    return _child(_child(_child(schema.domain, "svc"), namespace), service)


def service_rrsets(schema: Schema, service: Service, slices: Sequence[EndpointSlice]) -> Iterator[RRset | Hosts]:
    """Yield the RRsets of a Service and its ready endpoints, without PTR records.

    No two RRsets have the same owner and type.
    """
    owner = service_name(schema, service.namespace, service.name)
    if service.external_name is not None:  # section 2.5
        yield RRset(owner, CNAME, schema.ttl_s, (service.external_name,))
    elif service.headless:
        yield from headless_rrsets(schema, owner, slices)
    else:
        yield from _cluster_ip(schema, owner, service)
        yield from _hosts(schema, owner, slices) or _endpoints(schema, owner, _merge(slices))


def headless_rrsets(schema: Schema, owner: bytes, slices: Sequence[EndpointSlice]) -> Iterator[RRset | Hosts]:
    """Yield the RRsets of a headless Service with the name `owner`, and of its ready endpoints.

    No two RRsets have the same owner and type.
    """
    endpoints = _merge(slices)
    yield from _headless(schema, owner, endpoints)
    yield from _hosts(schema, owner, slices) or _endpoints(schema, owner, endpoints)


def pointers(
    schema: Schema, service: Service, slices: Iterable[EndpointSlice], may_point: Callable[[bytes], bool]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield pairs of an address and a name, for PTR records (sections 2.3.3 and 2.4.3).

    A ClusterIP gets the name of the Service. The address of an endpoint gets the name of the endpoint, if `may_point`
    allows it. Users who can write EndpointSlices can choose any address for an endpoint, so `may_point` limits these
    addresses. A pair may occur more than once. If several Services give names to one address, the caller must merge the
    names.
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


def pointer_rrset(schemas: Sequence[Schema], address: bytes, targets: Iterable[bytes]) -> RRset:
    """Return the PTR records of an address, in a fixed order. `schemas` contains the schema of each domain.

    If the address is a ClusterIP, its only PTR record leads to the name of the Service, as in CoreDNS. Names of
    endpoints with this address are left out. A name in an external zone is used only if no name is in a cluster domain.
    Of several names in external zones, only the first one is used.
    """
    found = tuple(targets)
    ttl_s = schemas[0].ttl_s
    if len(schemas) > 1:
        ttls_s = [each.ttl_s for each in schemas if any(name.is_at_or_below(target, each.domain) for target in found)]
        ttl_s = min(ttls_s, default=ttl_s)
    if len(found) == 1:
        return RRset(name.reverse_name(address), PTR, ttl_s, found)
    found = tuple(sorted(found))
    inner_last = sorted(schemas, key=lambda each: len(each.domain))
    inside = {target: each for each in inner_last for target in found if name.is_at_or_below(target, each.domain)}
    found = tuple([each for each in found if each in inside]) or found[:1]
    # the name of a Service, SVC.NS.svc, has three labels below the domain; names of endpoints have four
    services = [each for each in found if each in inside and _depth(each) == _depth(inside[each].domain) + 3]
    found = tuple(services) or found
    ends = accumulate([_RECORD + len(each) for each in found])
    kept = 1 + sum([end < _MESSAGE for end in ends])
    return RRset(name.reverse_name(address), PTR, ttl_s, found[:kept], (), kept < len(found))


def _depth(owner: bytes) -> int:
    return len(name.labels_of(owner))


def pod_name(schema: Schema, namespace: str, address: bytes) -> bytes:
    """Return the name that the address of a pod has below the pod's namespace.

    The current specification doesn't define such names, but CoreDNS has them.
    """
    return _child(pod_namespace_name(schema, namespace), dashed(address))


def namespace_name(schema: Schema, namespace: str) -> bytes:
    """Return the name directly above the names of all Services in a namespace.

    This name exists as long as the namespace exists.
    """
    return _child(_child(schema.domain, "svc"), namespace)


def pod_namespace_name(schema: Schema, namespace: str) -> bytes:
    """Return the name directly above the names of all pods in a namespace."""
    return _child(_child(schema.domain, "pod"), namespace)


def infrastructure_rrsets(
    schema: Schema, zones: Iterable[bytes], nameservers: Iterable[bytes], addresses: Iterable[bytes]
) -> Iterator[RRset]:
    """Yield the TXT record of dns-version (section 2.2), and NS records with the nameservers' addresses for all zones.

    `nameservers` contains the names of the Services that have this DNS server as an endpoint. Without such a Service,
    the only nameserver is ns.dns, with the address records in `addresses`. With such a Service, the name `dns` must not
    exist, because NODATA for `dns` would end the search of clients with musl.
    """
    names, found = tuple(nameservers), tuple(addresses)
    glue = tuple([rrset for each in names for rrset in _by_family(each, schema.ttl_s, found)])
    for zone in zones:
        yield RRset(zone, NS, schema.ttl_s, names, glue)
    if names == (nameserver_name(schema),):
        yield from glue
    yield version_rrset(schema.domain, VERSION)


def version_rrset(zone: bytes, version: bytes) -> RRset:
    """Return the TXT record dns-version of a zone, which contains the version of the specification (section 2.2)."""
    return RRset(_child(zone, "dns-version"), TXT, _VERSION_TTL_S, (txt(version),))


def nameserver_name(schema: Schema) -> bytes:
    """Return the name of the nameserver for a domain in which no Service has this DNS server as an endpoint."""
    return _child(_child(schema.domain, "dns"), "ns")


def hostmaster_name(schema: Schema) -> bytes:
    """Return the mailbox in SOA records, as a name."""
    return _child(schema.domain, "hostmaster")


def infrastructure_names(schema: Schema) -> list[bytes]:
    """Return the names that exist even in an empty cluster: `svc` and `pod` below the domain."""
    return [_child(schema.domain, "svc"), _child(schema.domain, "pod")]


class _Ready(NamedTuple):
    """The ready endpoints of a Service, merged from its slices.

    A dict with values of None is used as a set that keeps the order. Most slices of a Service have equal lists of
    ports. So each different list has a number, and endpoints refer to the number. There is no entry for each pair of an
    endpoint and a port, so the size is linear in the size of the slices.
    """

    slices: list[tuple[EndpointSlice, list[str]]]  # each slice with the labels of its endpoints
    lists: list[tuple[Port, ...]]  # the different lists of ports; the index of a list is its number
    by_label: dict[str, dict[bytes, None]]  # label of an endpoint -> its addresses
    first: dict[str, int]  # label of an endpoint -> number of its list of ports in the first slice with the label
    several: dict[str, dict[int, None]]  # label of an endpoint -> numbers of its lists of ports, if it has several

    def ports(self, label: str) -> Iterator[Port]:
        """Yield the ports of the endpoint with this label. A port may occur more than once."""
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
    """Yield the RRsets of section 2.3.

    As in CoreDNS, the name of the Service itself also has an SRV record for every port. The tool peer-finder needs
    these records.
    """
    addresses = _by_family(owner, schema.ttl_s, service.cluster_ips)
    yield from addresses
    if not service.cluster_ips:
        return
    # Owner -> port numbers. In a manifest, two ports may have the same name.
    by_port: dict[bytes, dict[int, None]] = {}
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


def headless_name_rrsets(schema: Schema, owner: bytes, slices: Iterable[EndpointSlice]) -> Iterator[RRset]:
    """Yield the RRsets of a headless Service with the name `owner`, and of its ports.

    The RRsets of endpoints are left out.
    """
    yield from _headless(schema, owner, _merge(slices))


def narrowed_rrsets(schema: Schema, owner: bytes, service: bytes, slices: Iterable[EndpointSlice]) -> Iterator[RRset]:
    """Yield address and SRV records for the endpoints in `slices`, which are endpoints of a headless Service.

    `owner` is the owner of these records, and `service` is the name of the Service.
    """
    ready = _merge(slices)
    yield from _by_family(owner, schema.ttl_s, dict.fromkeys([a for found in ready.by_label.values() for a in found]))
    everything = ((label, port.number) for label in ready.by_label for port in ready.ports(label))
    yield from _endpoint_srv(schema, owner, service, everything, ready, {}, _MESSAGE)


def _headless(schema: Schema, owner: bytes, ready: _Ready) -> Iterator[RRset]:
    """Yield the RRsets of section 2.4.

    If no endpoint is ready, no RRset is yielded: then the name of the Service doesn't exist.
    """
    yield from _by_family(owner, schema.ttl_s, dict.fromkeys([a for found in ready.by_label.values() for a in found]))
    targets: dict[str, tuple[bytes, tuple[RRset, ...]]] = {}
    everything = ((label, port.number) for label in ready.by_label for port in ready.ports(label))
    yield from _endpoint_srv(schema, owner, owner, everything, ready, targets, _MESSAGE)
    # Name and protocol of a port -> pairs: the index of a slice, and a port number.
    by_port: dict[tuple[str, str], list[tuple[int, int]]] = {}
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
    """Yield an RRset with as many SRV records as fit into `room` octets.

    `found` contains pairs: the label of an endpoint, and a port number. `targets` is a cache for several calls: label
    of an endpoint -> its name and its address records.
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
            target = _endpoint_name(service, label)
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


def _hosts(schema: Schema, owner: bytes, slices: Sequence[EndpointSlice]) -> list[Hosts]:
    """Return the records of all endpoints, or an empty list if not all endpoints are ordinary.

    Endpoints are ordinary if they have the same few ports, and if no two of them have the same label. Nearly all
    endpoints of a large cluster are ordinary. `_endpoints` makes the records of endpoints that aren't ordinary.
    """
    if not slices or len(slices[0].ports) > _FEW_PORTS:
        return []
    ports, count = slices[0].ports, 0
    found: dict[bytes, bytes] = {}
    for each in slices:
        if each.ports != ports or each.imported is not None:
            return []
        count += len(each.endpoints)
        for address, label in each.endpoints:
            label = label or dashed(address)
            found[_LENGTHS[len(label)] + label.encode()] = address
    numbers = dict.fromkeys([port.number for port in ports])
    size = len(numbers) * (_SRV_FIXED + name.MAX_LABEL + 1 + len(owner)) + _MOST_RECORD
    if len(found) < count or size > _room(count):
        return []
    weight = _weight(max(len(numbers), 1))
    services = tuple([srv(_SRV_PRIORITY, weight, number, b"") for number in numbers])
    addresses = list(found.items())
    return [Hosts(owner, schema.ttl_s, addresses[at : at + _HOSTS], services) for at in range(0, count, _HOSTS)]


def _endpoints(schema: Schema, owner: bytes, ready: _Ready) -> Iterator[RRset]:
    """Yield the RRsets of sections 2.4.1 and 2.4.2.

    As in CoreDNS, endpoints also have names if their Service has a ClusterIP.
    """
    room = _room(len(ready.by_label))
    most = room // (_SRV_FIXED + len(owner) + 2) + 1
    first, several = ready.first, ready.several
    listed = -1  # the number of the list of ports from which `fixed` was made
    fixed: list[bytes] = []  # the RDATA of an SRV record for each port, without the target
    more = False
    for label, addresses in ready.by_label.items():
        endpoint = _endpoint_name(owner, label)
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
    """Return how many octets of records an answer may have. `answers` is how many answers share the budget."""
    return min(_MESSAGE, max(_LEAST, _BUDGET // max(answers, 1)))


def _distinct(items: Iterable[_Item], wanted: int) -> tuple[dict[_Item, None], bool]:
    """Return about `wanted` different items in their order, and whether more items come after them.

    At most four times `wanted` items are read, so that repeated items don't make this function slow.
    """
    rest = iter(items)
    found = dict.fromkeys(islice(rest, wanted))
    if len(found) < wanted:
        found.update(dict.fromkeys(islice(rest, 3 * wanted)))
    return found, next(rest, None) is not None


def _weight(records: int) -> int:
    """Return the weight of each SRV record in an answer. `records` is the number of its SRV records.

    The sum of the weights is about 100, as in CoreDNS. But unlike in CoreDNS, a weight is never 0.
    """
    return max(100 // records, 1)


def _label(endpoint: Endpoint) -> str:
    return endpoint.label or dashed(endpoint.address)


def _endpoint_name(service: bytes, label: str) -> bytes:
    """Return the name of an endpoint.

    `label` is the label of the endpoint. For an imported endpoint, `label` also contains the labels of its cluster.
    """
    if "." not in label:
        return _child(service, label)
    first, _, rest = label.partition(".")
    return _child(_endpoint_name(service, rest), first)


def _child(parent: bytes, label: str) -> bytes:
    return _LENGTHS[len(label)] + label.encode() + parent


def _port_owner(owner: bytes, port_name: str, protocol: str) -> bytes:
    return _child(_child(owner, "_" + protocol), "_" + port_name)
