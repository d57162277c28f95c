"""Defines keys for the metrics, the log, dnstap and recent queries."""

from pydns.config import texts
from pydns.config.collector import COLLECTOR, parse_collector
from pydns.config.keys.values import DOMAIN
from pydns.config.model import (
    DnstapOptions,
    LogOptions,
    MetricNames,
    MetricsOptions,
    QueryLogOptions,
    RcodeClass,
    TapMessages,
)
from pydns.config.shapes import Key, ListOf, OneOf, Record, Share, Switch, Text, Whole

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
            "Log only queries with these replies. success: records. denial: no such name or record. error: all other "
            "replies.",
            "[denial, error]",
            "[all]",
            default="all",
        ),
        Key(
            "share",
            Share(),
            "The share of these queries that is logged. The queries are chosen at random.",
            "0.01",
            "1%",
        ),
    ),
    "a mapping of options",
)

_LOG = Record(
    LogOptions,
    (
        Key(
            "queries",
            _QUERY_LOG,
            "Log queries, one line each. An empty mapping logs all queries.",
            "{share: 0.01}",
            "true",
            default="no queries are logged",
        ),
    ),
    "a mapping of options",
)

_DNSTAP = Record(
    DnstapOptions,
    (
        Key(
            "to",
            Text(COLLECTOR, parse_collector),
            "The collector: a Unix socket (`unix:///PATH`) or `tcp://IP:PORT`.",
            "unix:///run/dnstap/socket",
            "collector:6000",
            required=True,
        ),
        Key(
            "messages",
            ListOf(OneOf(TapMessages), "groups of messages"),
            "What is sent to the collector. client: queries of clients and our replies. forwarder: our queries to "
            "upstreams and their replies.",
            "[client]",
            "[auth]",
            default="both",
        ),
        Key("full", Switch(), "Whether the collector gets the octets of the DNS messages.", "false", "'no'"),
        Key(
            "share",
            Share(),
            "The share of queries that is sent to the collector. The queries are chosen at random.",
            "0.1",
            "10%",
        ),
        Key(
            "identity",
            Text(texts.SHORT_TEXT, texts.parse_short_text),
            "The name of this server for the collector.",
            "dns-1",
            "''",
            default="the name of the host",
        ),
    ),
    "a mapping of options",
)


KEYS = (
    Key("metrics", _METRICS, "How metrics are exposed."),
    Key("log", _LOG, "What is logged in addition to changes of state, which are always logged."),
    Key("dnstap", _DNSTAP, "A collector that gets queries and replies (docs/dnstap.md).", default="none"),
    Key(
        "recent_queries_mib",
        Whole(0, 64),
        "How much memory each worker uses to keep its last queries, in MiB. 1 MiB has about 8,000 queries. "
        "`pydns tail` and `pydns top` read the queries. 0: no queries are kept.",
        "2",
        "on",
    ),
)
