"""Defines keys for the metrics and the log."""

from pydns.config.keys.values import DOMAIN
from pydns.config.model import LogOptions, MetricNames, MetricsOptions, QueryLogOptions, RcodeClass
from pydns.config.shapes import Key, ListOf, OneOf, Record, Share

_METRICS = Record(
    MetricsOptions,
    (
        Key(
            "names",
            OneOf(MetricNames),
            "Names of the metrics. coredns: CoreDNS's names, for its dashboards and alerts. pydns: the same names "
            "with the prefix pydns_.",
            "pydns",
            "prometheus",
        ),
    ),
    "a mapping of options",
)

_QUERY_LOG = Record(
    QueryLogOptions,
    (
        Key(
            "zones",
            ListOf(DOMAIN, "domain names"),
            "Log only queries for names at or below these domains.",
            "[cluster.local, acme.local]",
            "['']",
            default="all",
        ),
        Key(
            "classes",
            ListOf(OneOf(RcodeClass), "classes"),
            "Log only queries with these replies. success: records. denial: no such name or record. error: all others.",
            "[denial, error]",
            "[all]",
            default="all",
        ),
        Key("share", Share(), "Which share of these queries is logged. They are chosen at random.", "0.01", "1%"),
    ),
    "a mapping of options",
)

_LOG = Record(
    LogOptions,
    (
        Key(
            "queries",
            _QUERY_LOG,
            "Log queries, one line each. An empty mapping logs all of them.",
            "{share: 0.01}",
            "true",
            default="no queries are logged",
        ),
    ),
    "a mapping of options",
)


KEYS = (
    Key("metrics", _METRICS, "How metrics are exposed."),
    Key("log", _LOG, "What is logged in addition to changes of state, which are always logged."),
)
