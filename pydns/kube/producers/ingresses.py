"""Ingresses (networking.k8s.io/v1): the hosts in their rules get the addresses of the ingress controller.

In the Ingress API, a wildcard host covers exactly one label. The hosts in `tls` are for certificates, so they get no
records.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from pydns.config.model import ExternalSource, ExternalZone
from pydns.dns import name
from pydns.kube.external import hostnames
from pydns.kube.external.claims import Claim, Claimant, Rank, Way
from pydns.kube.external.exposure import ExposedMeta, Exposure, LoadBalancerStatus, read_exposure
from pydns.kube.external.source import Claimed, Zones, target_records
from pydns.kube.objects import Options, as_label
from pydns.kube.producer import Change, ZoneOptions

_CLASS = "kubernetes.io/ingress.class"
_IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"

_Key = tuple[str, str]  # namespace and name


class Ingress(NamedTuple):
    """An Ingress."""

    namespace: str
    name: str
    class_name: str | None
    hosts: tuple[bytes, ...]  # the hosts in its rules, in wire form and lower case
    has_tls: bool
    exposure: Exposure | None  # None if a label of the Ingress asks pydns to ignore it

    @property
    def key(self) -> _Key:
        """Return the namespace and the name of the Ingress."""
        return self.namespace, self.name


class IngressClass(NamedTuple):
    """An IngressClass."""

    name: str
    is_default: bool


class _Rule(msgspec.Struct, gc=False):
    host: str | None = None


class _Spec(msgspec.Struct, rename="camel", gc=False):
    ingress_class_name: str | None = None
    rules: list[_Rule] | None = None
    tls: Any = None  # any value but null or an empty list means that the Ingress has TLS


class RawIngress(msgspec.Struct, gc=False):
    """The fields of an Ingress that pydns reads."""

    metadata: ExposedMeta
    spec: _Spec | None = None
    status: LoadBalancerStatus | None = None


class RawIngressClass(msgspec.Struct, gc=False):
    """The fields of an IngressClass that pydns reads."""

    metadata: ExposedMeta


def read_ingress(raw: RawIngress, options: Options) -> Ingress:
    """Return an Ingress. Raises ValueError."""
    meta, spec = raw.metadata, raw.spec or _Spec()
    exposure = read_exposure(meta, raw.status, options.annotations)
    problems: list[str] = []
    hosts = hostnames.each_hostname([rule.host for rule in spec.rules or () if rule.host], problems, "host ")
    if exposure is not None:
        exposure = exposure.with_problems(problems)
    class_name = spec.ingress_class_name or (meta.annotations or {}).get(_CLASS)
    return Ingress(as_label(meta.namespace, "namespace"), meta.name, class_name, tuple(hosts), bool(spec.tls), exposure)


def read_ingress_class(raw: RawIngressClass, options: Options) -> IngressClass:
    """Return an IngressClass."""
    return IngressClass(raw.metadata.name, (raw.metadata.annotations or {}).get(_IS_DEFAULT) == "true")


class Ingresses:
    """The source for Ingresses. A key is the namespace and name of an Ingress."""

    def __init__(self, options: ZoneOptions, zones: Zones) -> None:
        self._options = options
        self._all_zones = zones
        self._zones = [zone for zone in zones.all if ExternalSource.INGRESSES in zone.sources]
        self._ingresses: dict[_Key, Ingress] = {}
        self._without_class: dict[_Key, None] = {}
        self._default_classes: set[str] = set()

    def note(self, change: Change) -> Iterable[_Key]:
        """Process a changed Ingress or IngressClass. Return the keys of all Ingresses whose claims may have changed.

        If the default class changes, these are the Ingresses without a class of their own.
        """
        before, after = change
        if isinstance(before, IngressClass) or isinstance(after, IngressClass):
            known = frozenset(self._default_classes)
            if isinstance(before, IngressClass):
                self._default_classes.discard(before.name)
            if isinstance(after, IngressClass) and after.is_default:
                self._default_classes.add(after.name)
            return tuple(self._without_class) if self._default_classes != known else ()
        if isinstance(before, Ingress):
            del self._ingresses[before.key]
            self._without_class.pop(before.key, None)
        if isinstance(after, Ingress):
            self._ingresses[after.key] = after
            if after.class_name is None:
                self._without_class[after.key] = None
        return [each.key for each in (before, after) if isinstance(each, Ingress)]

    def claimed(self, key: _Key) -> Claimed | None:
        """Return the names and records that an Ingress claims."""
        ingress = self._ingresses.get(key)
        if ingress is None or ingress.exposure is None or not self._options.serves(ingress.namespace):
            return None
        exposure = ingress.exposure
        claimed = Claimed(Claimant(Rank.ORDINARY, exposure.created, *key, "Ingress"), self._all_zones)
        claimed.notice(*exposure.problems)
        for zone in self._zones:
            if self._has_class(ingress, zone) and hostnames.is_ours(exposure.annotations, zone.annotations):
                _claim(ingress, exposure, zone, claimed)
        return claimed

    def _has_class(self, ingress: Ingress, zone: ExternalZone) -> bool:
        if not zone.ingress_classes:
            return True
        classes = self._default_classes if ingress.class_name is None else {ingress.class_name}
        return not classes.isdisjoint(zone.ingress_classes)


def _claim(ingress: Ingress, exposure: Exposure, zone: ExternalZone, claimed: Claimed) -> None:
    problems: list[str] = []

    def value(key: str) -> str | None:
        return hostnames.annotation(exposure.annotations, zone.annotations, key)

    ttl_s = hostnames.ttl_s(value("ttl"), zone.ttl_s, problems)
    records = target_records(exposure, value("target"), problems)
    way = Way(frozenset([443 if ingress.has_tls else 80]))
    which = value("ingress-hostname-source")
    if which != "annotation-only":
        for host in ingress.hosts:
            claimed.add(zone, host, Claim(records, ttl_s, is_one_label=name.is_wildcard(host), way=way))
    if which != "defined-hosts-only":
        for host in hostnames.hostnames(value("hostname"), problems):
            claimed.add(zone, host, Claim(records, ttl_s, way=way))
    claimed.notice(*problems)
