"""The Kubernetes DNS specification, version 1.1.0, as functions: what records objects have.

Section numbers are those of https://github.com/kubernetes/dns/blob/master/docs/specification.md. Where it is silent,
records are those of CoreDNS, because clients have learned them. Names below are relative to the cluster domain:

    SVC.NS.svc                     a Service
    _PORT._PROTOCOL.SVC.NS.svc     a named port of it
    ENDPOINT.SVC.NS.svc            a ready endpoint of it, headless or not: its hostname, else its dashed IP
    DASHED-IP.NS.pod               a pod

Each function takes objects and yields RRsets; it knows nothing of what was there before.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.dashed import dashed
from pydns.dns.rrset import AAAA, CNAME, NS, PTR, SRV, TXT, A, RRset, address_type, srv, txt
from pydns.kube.objects import Endpoint, EndpointSlice, Port, Service

VERSION = b"1.1.0"
_VERSION_TTL_S = 28800  # section 2.2
_SRV_PRIORITY = 0


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


def pointers(schema: Schema, service: Service, slices: Iterable[EndpointSlice]) -> dict[bytes, tuple[bytes, ...]]:
    """Return the names that a Service gives to addresses: its own to its ClusterIPs, its endpoints' to theirs.

    Sections 2.3.3 and 2.4.3. Several Services can name an address; the caller merges them.
    """
    if service.external_name is not None:
        return {}
    owner = service_name(schema, service.namespace, service.name)
    found: dict[bytes, tuple[bytes, ...]] = {}
    for each in slices:
        for endpoint in each.endpoints:
            target = _child(owner, _label(endpoint))
            known = found.get(endpoint.address, ())
            if target not in known:
                found[endpoint.address] = (*known, target)
    found.update(dict.fromkeys(service.cluster_ips, (owner,)))
    return found


def pointer_rrset(schema: Schema, address: bytes, targets: Iterable[bytes]) -> RRset:
    """Return the reverse name of an address with what it points to, in a fixed order.

    If it is the ClusterIP of a Service, then to that alone, whosever endpoint it is: CoreDNS.
    """
    found = tuple(targets)
    if len(found) > 1:
        found = tuple(sorted(found))
        above = len(name.labels_of(schema.domain)) + 3  # SVC.NS.svc, and endpoints have one label more
        found = tuple([each for each in found if len(name.labels_of(each)) == above]) or found
    return RRset(name.reverse_name(address), PTR, schema.ttl_s, found)


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
    """Yield dns-version (section 2.2), the NS records of all zones with glue, and the addresses of ns.dns.

    `nameservers` are names of Services that this server is an endpoint of; without one it is called ns.dns.
    `addresses` are what it is reached at.
    """
    fallback = nameserver_name(schema)
    by_type = _by_family(fallback, schema.ttl_s, tuple(addresses))
    names = tuple(sorted(nameservers)) or (fallback,)
    glue = tuple(RRset(each, rrset.rtype, rrset.ttl_s, rrset.rdatas) for each in names for rrset in by_type)
    for zone in zones:
        yield RRset(zone, NS, schema.ttl_s, names, glue)
    yield from by_type
    yield RRset(_child(schema.domain, "dns-version"), TXT, _VERSION_TTL_S, (txt(VERSION),))


def nameserver_name(schema: Schema) -> bytes:
    """Return the name of the server in SOA records, and in NS records where no Service names it."""
    return _child(_child(schema.domain, "dns"), "ns")


def hostmaster_name(schema: Schema) -> bytes:
    """Return the mailbox in SOA records."""
    return _child(schema.domain, "hostmaster")


def infrastructure_names(schema: Schema) -> list[bytes]:
    """Return the names that exist whatever the cluster has: `svc` and `pod`."""
    return [_child(schema.domain, "svc"), _child(schema.domain, "pod")]


class _Ready(NamedTuple):
    """The ready endpoints of a Service, merged from its slices; dicts keep the order and drop duplicates."""

    by_label: dict[str, dict[bytes, None]]  # addresses by endpoint label
    ports: dict[str, dict[Port, None]]  # ports by endpoint label
    by_port: dict[tuple[str, str], dict[bytes, None]]  # addresses by name and protocol of a named port


def _merge(slices: Iterable[EndpointSlice]) -> _Ready:
    ready = _Ready({}, {}, {})
    for each in slices:
        ports = dict.fromkeys(each.ports)
        named = [ready.by_port.setdefault((port.name, port.protocol), {}) for port in each.ports if port.name]
        for endpoint in each.endpoints:
            label = _label(endpoint)
            known = ready.by_label.get(label)
            if known is None:
                ready.by_label[label] = {endpoint.address: None}
                ready.ports[label] = ports  # shared between endpoints, so never changed in place
            else:
                known[endpoint.address] = None
                if ready.ports[label] != ports:
                    ready.ports[label] = ready.ports[label] | ports
            for addresses in named:
                addresses[endpoint.address] = None
    return ready


def _cluster_ip(schema: Schema, owner: bytes, service: Service) -> Iterator[RRset]:
    """Section 2.3. The bare name has SRV records too, for every port: CoreDNS, for peer-finder."""
    addresses = _by_family(owner, schema.ttl_s, service.cluster_ips)
    yield from addresses
    if not service.cluster_ips:
        return
    numbers = dict.fromkeys(port.number for port in service.ports)
    if numbers:
        weight = _weight(len(numbers))
        rdatas = tuple([srv(_SRV_PRIORITY, weight, number, owner) for number in numbers])
        yield RRset(owner, SRV, schema.ttl_s, rdatas, addresses)
    for port in service.ports:
        if port.name:
            port_owner = _port_owner(owner, port.name, port.protocol)
            yield from _by_family(port_owner, schema.ttl_s, service.cluster_ips)
            yield RRset(port_owner, SRV, schema.ttl_s, (srv(_SRV_PRIORITY, 100, port.number, owner),), addresses)


def _headless(schema: Schema, owner: bytes, ready: _Ready) -> Iterator[RRset]:
    """Section 2.4. Without a ready endpoint there is no name."""
    yield from _by_family(owner, schema.ttl_s, dict.fromkeys(a for found in ready.by_label.values() for a in found))
    everything: list[tuple[str, int]] = []
    by_port: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for label, ports in ready.ports.items():
        everything += [(label, number) for number in dict.fromkeys(port.number for port in ports)]
        for port in ports:
            if port.name:
                by_port.setdefault((port.name, port.protocol), []).append((label, port.number))
    glue = {
        label: _by_family(_child(owner, label), schema.ttl_s, addresses) for label, addresses in ready.by_label.items()
    }
    if everything:
        yield _endpoint_srv(schema, owner, owner, everything, glue)
    for (port_name, protocol), found in by_port.items():
        port_owner = _port_owner(owner, port_name, protocol)
        yield from _by_family(port_owner, schema.ttl_s, ready.by_port[port_name, protocol])
        yield _endpoint_srv(schema, port_owner, owner, found, glue)


def _endpoint_srv(
    schema: Schema, owner: bytes, service: bytes, found: list[tuple[str, int]], glue: dict[str, tuple[RRset, ...]]
) -> RRset:
    weight = _weight(len(found))
    rdatas = tuple([srv(_SRV_PRIORITY, weight, number, _child(service, label)) for label, number in found])
    additional = tuple([rrset for label in dict.fromkeys(label for label, _ in found) for rrset in glue[label]])
    return RRset(owner, SRV, schema.ttl_s, rdatas, additional)


def _endpoints(schema: Schema, owner: bytes, ready: _Ready) -> Iterator[RRset]:
    """Sections 2.4.1 and 2.4.2. Endpoints of Services with a ClusterIP have names too: CoreDNS."""
    ports: dict[Port, None] = {}
    fixed: list[bytes] = []  # of SRV records, before the target
    for label, addresses in ready.by_label.items():
        endpoint = _child(owner, label)
        found = _by_family(endpoint, schema.ttl_s, addresses)
        yield from found
        if ready.ports[label] is not ports:  # they are of a slice, mostly
            ports = ready.ports[label]
            numbers = dict.fromkeys([port.number for port in ports])
            fixed = [srv(_SRV_PRIORITY, _weight(len(numbers)), number, b"") for number in numbers]
        if fixed:
            yield RRset(endpoint, SRV, schema.ttl_s, tuple([each + endpoint for each in fixed]), found)


def _by_family(owner: bytes, ttl_s: int, addresses: Collection[bytes]) -> tuple[RRset, ...]:
    if len(addresses) == 1:
        (address,) = addresses
        return (RRset(owner, address_type(address), ttl_s, (address,)),)
    v4 = tuple([address for address in addresses if len(address) == 4])
    v6 = tuple([address for address in addresses if len(address) != 4])
    found = (RRset(owner, A, ttl_s, v4),) if v4 else ()
    return (*found, RRset(owner, AAAA, ttl_s, v6)) if v6 else found


def _weight(records: int) -> int:
    """All records are equally good; weights of an answer sum up to 100 as in CoreDNS, but are never 0."""
    return max(100 // records, 1)


def _label(endpoint: Endpoint) -> str:
    return endpoint.label or dashed(endpoint.address)


def _child(parent: bytes, label: str) -> bytes:
    return len(label).to_bytes(1) + label.encode() + parent


def _port_owner(owner: bytes, port_name: str, protocol: str) -> bytes:
    return _child(_child(owner, "_" + protocol), "_" + port_name)
