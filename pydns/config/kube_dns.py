"""Reads the keys of kube-dns's ConfigMap. The values are JSON texts with the same meaning as in kube-dns.

A null, or an empty list of upstreams, has the same meaning as an absent key. There are two differences from kube-dns.
kube-dns stops at the first mistake, but this module finds all mistakes. kube-dns allows three upstreams, but this
module has no limit.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydns.config import document, node
from pydns.config.keys.kube_dns import KUBE_DNS, STUB_DOMAINS, UPSTREAM_NAMESERVERS
from pydns.config.mistakes import ConfigError, ConfigNotice
from pydns.config.model import Route, ServerSpec
from pydns.config.shapes import Key, Mistakes, Place

FEDERATIONS = "federations"
KEYS = (*[key.name for key in KUBE_DNS], FEDERATIONS)


class KubeDns(NamedTuple):
    """The values of kube-dns's keys."""

    routes: tuple[Route, ...]
    upstreams: tuple[ServerSpec, ...] | None
    notices: list[ConfigNotice]


def read(data: Mapping[str, str], mistakes: Mistakes) -> KubeDns:
    """Read kube-dns's keys in a ConfigMap's `data`. The result is valid only if this call added nothing to
    `mistakes`.
    """
    notices = []
    if FEDERATIONS in data:
        notices.append(ConfigNotice(FEDERATIONS, "ignored: obsolete, because cluster federation v1 no longer exists"))
    routes = _read_key(data, STUB_DOMAINS, mistakes)
    upstreams = _read_key(data, UPSTREAM_NAMESERVERS, mistakes)
    return KubeDns(routes or (), upstreams, notices)


def _read_key(data: Mapping[str, str], key: Key, mistakes: Mistakes) -> Any:
    if key.name not in data:
        return None
    root = document.from_json(key.name, data[key.name])
    if isinstance(root, ConfigError):
        mistakes.append(root)
        return None
    if isinstance(root, node.Scalar) and root.value is None:
        return None
    if key is UPSTREAM_NAMESERVERS and isinstance(root, node.Sequence) and not root.items:
        return None
    return key.shape.read(root, Place("", key.name), mistakes)
