"""The slow, obvious responder: it gives the same answers as pydns/serve/fast.py to ordinary questions.

It keeps RRsets in a dict. It has no tables, compiled answers or fast paths.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.dashed import pod_rrsets, undashed
from pydns.dns.rrset import ANY, CNAME, SOA, Hosts, RRset, each_rrset
from pydns.kube import schema
from pydns.kube.objects import EndpointSlice, Namespace, Object, Pod, Service
from pydns.kube.schema import Schema

_SCHEMA = Schema(name.from_text("cluster.local"))
_ZONES = (_SCHEMA.domain, name.from_text("in-addr.arpa"), name.from_text("ip6.arpa"))

Record = tuple[bytes, int, bytes]  # owner, type, RDATA


class Said(NamedTuple):
    """The content of a reply."""

    rcode: str
    authoritative: bool
    records: frozenset[Record]  # records of the answer section
    denied_by: bytes | None  # the owner of the SOA record in the authority section


class Reference:
    """Answers for a cluster. The cluster's DNS server has the address `own`."""

    def __init__(self, objects: Iterable[Object], own: bytes, pods: PodsMode = PodsMode.INSECURE) -> None:
        objects = list(objects)
        self._rrsets: dict[tuple[bytes, int], RRset] = {}
        self._nodes: set[bytes] = set(schema.infrastructure_names(_SCHEMA)) | set(_ZONES)
        self._pod_namespaces = set()
        pointers: dict[bytes, list[bytes]] = {}
        services: list[bytes] = []
        glue: list[bytes] = []
        for each in objects:
            if isinstance(each, Namespace):
                self._nodes.add(schema.namespace_name(_SCHEMA, each.name))
                if pods is not PodsMode.DISABLED:
                    self._nodes.add(schema.pod_namespace_name(_SCHEMA, each.name))
                if pods is PodsMode.INSECURE:
                    self._pod_namespaces.add(schema.pod_namespace_name(_SCHEMA, each.name))
            if isinstance(each, Pod) and pods is PodsMode.VERIFIED:
                for address in each.addresses:
                    self._add(pod_rrsets(schema.pod_name(_SCHEMA, each.namespace, address), address, _SCHEMA.ttl_s))
            if isinstance(each, Service):
                slices = [
                    other
                    for other in objects
                    if isinstance(other, EndpointSlice)
                    and (other.namespace, other.service) == (each.namespace, each.name)
                ]
                self._add(schema.service_rrsets(_SCHEMA, each, slices))
                for address, target in dict.fromkeys(schema.pointers(_SCHEMA, each, slices, lambda _: True)):
                    pointers.setdefault(address, []).append(target)
                endpoints = [endpoint.address for other in slices for endpoint in other.endpoints]
                leads_here = own in endpoints and each.cluster_ips and own not in each.cluster_ips
                if each.namespace == "kube-system" and leads_here and each.external_name is None:
                    services.append(schema.service_name(_SCHEMA, each.namespace, each.name))
                    glue += each.cluster_ips
        self._add(schema.pointer_rrset([_SCHEMA], address, targets) for address, targets in pointers.items())
        self._add(
            schema.infrastructure_rrsets(
                _SCHEMA,
                _ZONES,
                sorted(services) or [schema.nameserver_name(_SCHEMA)],
                dict.fromkeys(glue) or (own,),
            )
        )

    def _add(self, rrsets: Iterable[RRset | Hosts]) -> None:
        for rrset in each_rrset(rrsets):
            self._rrsets[rrset.owner, rrset.rtype] = rrset
            self._nodes.add(rrset.owner)

    def answer(self, qname: bytes, qtype: int) -> Said:
        """Return the content of the reply for a name in lower case."""
        chain: list[Record] = []
        while True:
            zone = next((apex for apex in _ZONES if _lies_below(qname, apex)), None)
            if zone is None:
                return (
                    Said("NOERROR", True, frozenset(chain), None)
                    if chain
                    else Said("REFUSED", False, frozenset(), None)
                )
            if qtype == SOA and qname == zone:
                return Said("NOERROR", True, frozenset([*chain, (zone, SOA, b"")]), None)
            rrset = self._find(qname, qtype)
            if rrset is not None:
                found = [(qname, rrset.rtype, rdata) for rdata in rrset.rdatas]
                return Said("NOERROR", True, frozenset(chain + found), None)
            alias = self._find(qname, CNAME)
            if alias is None:
                rcode = "NOERROR" if self._exists(qname) else "NXDOMAIN"
                return Said(rcode, True, frozenset(chain), zone)
            chain.append((qname, CNAME, alias.rdatas[0]))
            qname = alias.rdatas[0].lower()
            if any(qname == owner for owner, _, _ in chain):
                return Said("NOERROR", True, frozenset(chain), None)

    def _find(self, qname: bytes, qtype: int) -> RRset | None:
        for rrset in self._pod(qname):
            if qtype in (rrset.rtype, ANY):
                return rrset
        if qtype == ANY:
            types = [rtype for owner, rtype in self._rrsets if owner == qname]
            qtype = min(types, default=ANY)
        return self._rrsets.get((qname, qtype))

    def _exists(self, qname: bytes) -> bool:
        return bool(self._pod(qname)) or any(_lies_below(node, qname) for node in self._nodes)

    def _pod(self, qname: bytes) -> list[RRset]:
        labels = name.labels_of(qname)
        if not labels or qname[1 + qname[0] :] not in self._pod_namespaces:
            return []
        address = undashed(labels[0])
        return [] if address is None else list(pod_rrsets(qname, address, _SCHEMA.ttl_s))


def _lies_below(qname: bytes, ancestor: bytes) -> bool:
    """Return whether a name is at or below another."""
    inner, outer = list(name.labels_of(qname)), list(name.labels_of(ancestor))
    return inner[len(inner) - len(outer) :] == outer if len(inner) >= len(outer) else False
