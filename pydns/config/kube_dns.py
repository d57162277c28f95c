"""The keys of kube-dns's ConfigMap: JSON texts, read as kube-dns reads them.

A key that is there but null counts as absent, as does an empty list of upstreams. kube-dns stops at the first mistake;
here all of them are found. Its limit of three upstreams is gone.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydns.config import document, keys, node
from pydns.config.mistakes import ConfigError, ConfigNotice
from pydns.config.model import Route, ServerSpec
from pydns.config.shapes import Key, Mistakes, Place

FEDERATIONS = "federations"
KEYS = (*[key.name for key in keys.KUBE_DNS], FEDERATIONS)


class KubeDns(NamedTuple):
    """What the keys say."""

    routes: tuple[Route, ...]
    upstreams: tuple[ServerSpec, ...] | None
    notices: list[ConfigNotice]


def read(data: Mapping[str, str], mistakes: Mistakes) -> KubeDns:
    """Read kube-dns's keys of a ConfigMap's `data`. Not to be used if there were mistakes."""
    notices = []
    if FEDERATIONS in data:
        notices.append(ConfigNotice(FEDERATIONS, "ignored: obsolete, cluster federation v1 is gone"))
    routes = _read_key(data, keys.STUB_DOMAINS, mistakes)
    upstreams = _read_key(data, keys.UPSTREAM_NAMESERVERS, mistakes)
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
    if key is keys.UPSTREAM_NAMESERVERS and isinstance(root, node.Sequence) and not root.items:
        return None
    return key.shape.read(root, Place("", key.name), mistakes)
