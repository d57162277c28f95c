"""Hairpin: finds the Service that clients in the cluster can use in place of a public address.

For example, a Pod that asks for a host of an Ingress gets the ClusterIPs of the Service behind the load balancer. Then
the traffic of the Pod doesn't leave the cluster. Rules:

1. A Service has a public address if the status of its load balancer contains the address. If no status contains the
   address, the Services with the address in `externalIPs` have it. The annotation `target` is ignored, because the
   owner of a Service may write any address into it.
2. The Service must have all public addresses of the name, or the hostname of which the name is an alias. If a Gateway
   has the addresses, the Services of this Gateway are preferred (label `gateway.networking.k8s.io/gateway-name`).
3. The Service must have ClusterIPs, and the ports that clients use. For a route, clients use the ports of its
   listeners. For an Ingress, clients use port 443 with TLS, otherwise port 80. For names of the Service itself, the
   ports don't matter.
4. A Service whose load balancer sends the PROXY protocol isn't used, because Pods don't send it. A Service with the
   annotation `hairpin: "off"` isn't used, either. If this annotation contains `NAMESPACE/NAME` of another Service,
   the other Service is used.
5. All clients get the public addresses if no Service or more than one Service is left, or if the name has more than
   `MOST_ADDRESSES` addresses.
6. Only Services of the first cluster are used. If an object of another cluster has the name, all clients get the public
   addresses of this object.
"""

from collections.abc import Collection, Hashable, Iterable
from typing import NamedTuple, TypeVar

from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.rrset import CNAME, address_type
from pydns.kube.external.claims import Record, Way
from pydns.kube.external.hostnames import annotation
from pydns.kube.objects import Service, ServiceKey
from pydns.kube.producer import Change

OFF = "off"
# Maximum number of addresses of a name. Load balancers have fewer addresses. An index with thousands of addresses for
# each name would take seconds.
MOST_ADDRESSES = 16
_K = TypeVar("_K", bound=Hashable)


class Hairpin(NamedTuple):
    """The ClusterIPs that clients in the cluster get for a name, and why.

    Without ClusterIPs, they get the same answer as all other clients.
    """

    addresses: tuple[bytes, ...]
    why: str  # the reason, for `explain`


class Hairpins:
    """Finds Services by their public addresses and hostnames."""

    def __init__(self) -> None:
        self._services: dict[ServiceKey, Service] = {}
        self._by_status: dict[Record, dict[ServiceKey, None]] = {}
        self._by_external_ip: dict[Record, dict[ServiceKey, None]] = {}
        # Service -> the Services whose annotation `hairpin` refers to it
        self._named_by: dict[ServiceKey, dict[ServiceKey, None]] = {}

    def note(self, change: Change) -> Iterable[Record]:
        """Process a changed object.

        Return the addresses and hostnames for which clients may now get another Service.
        """
        before, after = change
        touched: dict[Record, None] = {}
        for service, is_gone in ((before, True), (after, False)):
            if isinstance(service, Service):
                self._touch(service, touched)
                for in_status, record in _records(service):
                    index = self._by_status if in_status else self._by_external_ip
                    _put(index, record, service.key, is_gone=is_gone)
                for other in _others(service):
                    _put(self._named_by, other, service.key, is_gone=is_gone)
                if is_gone:
                    del self._services[service.key]
                else:
                    self._services[service.key] = service
        return touched

    def _touch(self, service: Service, touched: dict[Record, None]) -> None:
        for each in (service, *[self._services[key] for key in self._named_by.get(service.key, ())]):
            for in_status, record in _records(each):
                # An address in `externalIPs` doesn't matter if a status contains it (rule 1 of this module). The owners
                # of Services can change `externalIPs` often, so this case must not be expensive.
                if in_status or record not in self._by_status:
                    touched[record] = None

    def find(self, records: Collection[Record], way: Way, prefixes: Iterable[str]) -> Hairpin:
        """Return the ClusterIPs that clients in the cluster get for a name with the public records `records`.

        `prefixes` are the prefixes of annotations in the zone. `records` must not be empty.
        """
        if len(records) > MOST_ADDRESSES:
            return _none(f"it has more than {MOST_ADDRESSES} addresses")
        holding = [self._by_status.get(each) or self._by_external_ip.get(each, {}) for each in records]
        lacking = [record for record, holders in zip(records, holding, strict=True) if not holders]
        if lacking:
            return _none(f"no Service has {_text(lacking[0])}")
        holders = [self._services[each] for each in sorted(set(holding[0]).intersection(*holding[1:]))]
        if not holders:
            return _none("no Service has all addresses")
        of_gateway = [each for each in holders if way.gateway is not None and _gateway(each) == way.gateway]
        found: list[Service] = []
        reasons: list[str] = []
        for each in of_gateway or holders:
            target, reason = self._target(each, prefixes)
            reason = reason or _misfit(target, way)
            if reason:
                reasons.append(f"Service {'/'.join(target.key)} {reason}")
            else:
                found.append(target)
        if not found:
            return _none("; ".join(reasons))
        if len(found) > 1:
            return _none(f"several Services have its addresses: {', '.join('/'.join(each.key) for each in found)}")
        (service,) = found
        ips = ", ".join(map(address_text, service.cluster_ips))
        return Hairpin(service.cluster_ips, f"clients in the cluster get Service {'/'.join(service.key)}: {ips}")

    def _target(self, service: Service, prefixes: Iterable[str]) -> tuple[Service, str]:
        """Return the Service that clients use in place of `service`. It is mostly `service` itself.

        Also return the reason why this Service can't be used, or an empty text if it can.
        """
        exposure = service.exposure
        assert exposure is not None  # a Service without exposure has no public address, so it never gets here
        wanted = annotation(exposure.common.annotations, prefixes, "hairpin")
        if wanted is None:
            return service, "wants the PROXY protocol" if exposure.wants_proxy_protocol else ""
        if wanted == OFF:
            return service, "has the annotation hairpin: off"
        other = self._services.get(_key(wanted))
        return (
            (service, f"has an annotation hairpin with a Service that doesn't exist: {wanted[:80]!r}")
            if other is None
            else (other, "")
        )


def _none(why: str) -> Hairpin:
    return Hairpin((), f"clients in the cluster get the same answer: {why}")


def _misfit(service: Service, way: Way) -> str:
    if not service.cluster_ips:
        return "has no ClusterIP"
    lacking = way.ports - {port.number for port in service.ports}
    return f"has no port {min(lacking)}" if lacking else ""


def _records(service: Service) -> Iterable[tuple[bool, Record]]:
    """Return the public addresses and hostnames of a Service, each in a pair.

    The first value of a pair is True for an address or hostname from the status, and False for one from `externalIPs`.
    """
    exposure = service.exposure
    if exposure is None:
        return []
    return [
        *((True, (address_type(each), each)) for each in exposure.common.addresses),
        *((True, (CNAME, each)) for each in exposure.common.hostnames),
        *((False, (address_type(each), each)) for each in exposure.external_ips),
    ]


def _others(service: Service) -> list[ServiceKey]:
    """Return the Services in all annotations `hairpin` of a Service, with any prefix."""
    annotations = service.exposure.common.annotations if service.exposure is not None else {}
    return [_key(text) for key, text in annotations.items() if key.endswith("/hairpin") and text != OFF]


def _key(text: str) -> ServiceKey:
    namespace, _, service = text.strip().partition("/")
    return namespace, service


def _gateway(service: Service) -> tuple[str, str] | None:
    exposure = service.exposure
    return (service.namespace, exposure.gateway) if exposure is not None and exposure.gateway else None


def _put(index: dict[_K, dict[ServiceKey, None]], at: _K, key: ServiceKey, *, is_gone: bool) -> None:
    keys = index.setdefault(at, {})
    if is_gone:
        keys.pop(key, None)
    else:
        keys[key] = None
    if not keys:
        del index[at]


def _text(record: Record) -> str:
    rtype, rdata = record
    return f"hostname {name.to_text(rdata)}" if rtype == CNAME else f"address {address_text(rdata)}"
