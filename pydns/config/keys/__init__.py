"""The table of all keys of the live configuration.

The reader, the JSON Schema and the documentation are made from this table. There are two sets of keys: the keys of
`config.yaml` (`ROOT`) and the keys of kube-dns's ConfigMap (`KUBE_DNS`). Each module here has the keys of one topic.
`model` defines the defaults for `ROOT`. The rows of cluster options are in `flags`, because these options are flags
too.

No library fits these needs. pydantic costs every process 0.21 s and 20 MB. msgspec stops at the first error. jsonschema
costs 10 MB and has worse messages. None of the three libraries knows the line of a value.
"""

from collections.abc import Iterator
from typing import Any

from pydns.config.keys import cache, clusters, external, families, records, replies, reports, rules, servers, zonal
from pydns.config.keys.kube_dns import KUBE_DNS
from pydns.config.model import Config
from pydns.config.shapes import Conflict, Record

__all__ = ["KUBE_DNS", "ROOT"]


def _check(**values: Any) -> Iterator[Conflict]:
    for group in (clusters, rules, families, zonal):
        yield from group.check(**values)


# The documentation lists the keys in this order.
ROOT = Record(
    Config,
    (
        *servers.KEYS,
        cache.KEY,
        *clusters.KEYS,
        *records.KEYS,
        *rules.KEYS,
        *external.KEYS,
        replies.SPECIAL_NAMES,
        *families.KEYS,
        replies.RESPONSES_PER_SECOND,
        *zonal.KEYS,
        *replies.KEYS,
        *reports.KEYS,
    ),
    "a mapping of keys",
    _check,
)
