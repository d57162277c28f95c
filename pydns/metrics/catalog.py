"""The table of all metrics, with names, type, labels and help. By default, metrics have the same names as in CoreDNS.

Names, labels and buckets of the `coredns_*` metrics are the same as in CoreDNS 1.14. So dashboards and alerts for
CoreDNS continue to work. One label has another meaning. In CoreDNS, the label `zone` is the zone of the server block.
In pydns, it is the zone that contains the name in the question. For a name outside all zones, the label is a dot.
"""

from typing import NamedTuple

from pydns.config.model import MetricNames

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Metric(NamedTuple):
    """A metric. The keys of its counts in `Totals` begin with `key`."""

    key: str
    kind: str
    name: str  # the name without a prefix such as `pydns_`
    help: str
    labels: tuple[str, ...] = ()
    coredns: str = ""  # the prefix in CoreDNS; empty if CoreDNS doesn't have this metric
    served: bool = False  # True if the metric has CoreDNS's labels `server` and `view`

    def full_name(self, names: MetricNames) -> str:
        """Return the full name of the metric on the metrics page."""
        if self.name.startswith("process_"):
            return self.name
        if not self.coredns or names is MetricNames.PYDNS:
            return "pydns_" + self.name
        return f"coredns_{self.name}"


def _coredns(kind: str, name: str, text: str, *labels: str, served: bool = True) -> Metric:
    return Metric(name, kind, name, text, labels, "coredns_", served)


def _ours(kind: str, name: str, text: str, *labels: str) -> Metric:
    return Metric(name, kind, name, text, labels)


METRICS = (
    _coredns(COUNTER, "dns_requests_total", "Queries.", "zone", "proto", "family", "type"),
    _coredns(COUNTER, "dns_responses_total", "Replies.", "zone", "rcode", "plugin"),
    _coredns(
        HISTOGRAM,
        "dns_request_duration_seconds",
        "Time from receiving a query to sending its reply, including the time of upstreams. For queries that arrive "
        "together, each time is estimated from the time for all queries.",
        "zone",
    ),
    _coredns(HISTOGRAM, "dns_request_size_bytes", "Lengths of queries.", "zone", "proto"),
    _coredns(HISTOGRAM, "dns_response_size_bytes", "Lengths of replies.", "zone", "proto"),
    _coredns(COUNTER, "dns_do_requests_total", "Queries with the DO bit, which ask for DNSSEC records.", "zone"),
    _coredns(COUNTER, "panics_total", "Queries whose processing failed because of a bug.", served=False),
    _coredns(
        GAUGE, "build_info", "Always 1; the labels are versions.", "version", "revision", "goversion", served=False
    ),
    _coredns(
        GAUGE,
        "reload_version_info",
        "Always 1; the labels are the hash of the configuration in force.",
        "hash",
        "value",
        served=False,
    ),
    _coredns(COUNTER, "reload_failed_total", "Refused configurations.", served=False),
    _coredns(COUNTER, "cache_requests_total", "Queries for upstreams. Each is looked up in the cache first.", "zones"),
    _coredns(COUNTER, "cache_hits_total", "Queries that the cache answered instead of an upstream.", "zones", "type"),
    _coredns(COUNTER, "cache_misses_total", "Queries that the cache could not answer.", "zones"),
    _coredns(GAUGE, "cache_entries", "Answers of upstreams in the caches of all workers.", "zones", "type"),
    _coredns(COUNTER, "cache_evictions_total", "Answers removed from the cache to make room.", "zones", "type"),
    _coredns(COUNTER, "cache_prefetch_total", "Answers refreshed before they expired.", "zones"),
    _coredns(COUNTER, "cache_served_stale_total", "Expired answers served because no upstream replied.", "zones"),
    _coredns(
        COUNTER,
        "forward_healthcheck_broken_total",
        "Queries sent although every upstream was regarded as dead.",
        served=False,
    ),
    _coredns(
        COUNTER,
        "forward_max_concurrent_rejects_total",
        "Queries answered SERVFAIL because too many were waiting for upstreams.",
        served=False,
    ),
    _coredns(
        HISTOGRAM,
        "proxy_request_duration_seconds",
        "Time from sending a packet to an upstream until its reply.",
        "proxy_name",
        "to",
        "rcode",
        served=False,
    ),
    _coredns(
        HISTOGRAM,
        "kubernetes_dns_programming_duration_seconds",
        "Time from the change of an endpoint, or from the creation of an object, until it is served. The time of a "
        "creation is known to the second.",
        "service_kind",
        served=False,
    ),
    _ours(
        COUNTER,
        "ignored_messages_total",
        "Messages that got no reply, because they were too short, were replies, or were dropped by `acl`.",
        "proto",
    ),
    _ours(
        COUNTER,
        "discarded_queries_total",
        "Queries discarded in an overload, because they were too old or came from greedy clients.",
    ),
    _ours(
        COUNTER,
        "limited_replies_total",
        "Replies above the limit responses_per_second, which were truncated or dropped.",
        "action",
    ),
    _ours(COUNTER, "dnstap_dropped_total", "Messages that the collector of `dnstap` didn't get."),
    _ours(COUNTER, "unsent_replies_total", "Replies that the kernel did not accept."),
    _ours(COUNTER, "late_queries_total", "Queries received while draining."),
    _ours(COUNTER, "accepted_configurations_total", "Configurations without a mistake."),
    _ours(COUNTER, "forward_events_total", "Events of forwarding, by kind.", "event"),
    _ours(GAUGE, "cache_bytes", "Size of the answers in the caches of all workers."),
    _ours(GAUGE, "upstream_open_breakers", "Workers that regard an upstream as dead.", "to"),
    _ours(GAUGE, "clients_unknown_ratio", "Share of recent queries from clients without a name, 0 to 1."),
    _ours(GAUGE, "route_open_breakers", "Workers that regard every upstream of a route as dead.", "route"),
    _ours(
        GAUGE,
        "upstream_learned_seconds",
        "Remaining time for which a learned fact about an upstream is used. 0: until the fact changes.",
        "to",
        "what",
    ),
    _ours(
        GAUGE,
        "configuration_left_out",
        "Lines of the Corefile that --lenient leaves out, although they change answers.",
    ),
    _ours(GAUGE, "ready", "1 if pydns is ready for new clients."),
    _ours(GAUGE, "synced", "1 once all objects of the kind have been listed.", "resource"),
    _ours(GAUGE, "data_age_seconds", "Time since the source last showed that the data is current.", "resource"),
    _ours(GAUGE, "last_event_age_seconds", "Time since an object last changed.", "resource"),
    _ours(GAUGE, "last_bookmark_age_seconds", "Time since the API server last sent a bookmark.", "resource"),
    _ours(
        GAUGE, "last_audit_age_seconds", "Time since all objects were last compared with the API server's.", "resource"
    ),
    _ours(
        GAUGE,
        "slo_programming_seconds",
        "Time from a change in the cluster until it is served: a percentile of the window.",
        "service_kind",
        "window",
        "percentile",
    ),
    _ours(
        GAUGE,
        "slo_lookup_seconds",
        "Time from query to reply: a percentile of the window. The label own means the cluster and zone files.",
        "names",
        "window",
        "percentile",
    ),
    _ours(
        GAUGE, "slo_error_ratio", "Share of SERVFAIL in the replies for names that pydns answers.", "names", "window"
    ),
    _ours(GAUGE, "objects", "Objects in use.", "resource"),
    _ours(GAUGE, "skipped_objects", "Objects that can't be used. The log has their names.", "resource"),
    _ours(GAUGE, "resource_version", "The version up to which changes have been seen.", "resource"),
    _ours(GAUGE, "source_synced", "The same as synced, for further sources.", "source", "resource"),
    _ours(GAUGE, "source_objects", "The same as objects, for further sources.", "source", "resource"),
    _ours(GAUGE, "source_data_age_seconds", "The same as data_age_seconds, for further sources.", "source", "resource"),
    _ours(COUNTER, "relists_total", "Listings after the first.", "resource"),
    _ours(COUNTER, "audits_total", "Comparisons of all objects with the API server's.", "resource"),
    _ours(COUNTER, "repaired_objects_total", "Wrong objects that audits found and repaired.", "resource"),
    _ours(COUNTER, "watch_errors_total", "Failed lists and watches.", "resource", "reason"),
    _ours(GAUGE, "external_names", "Names of an external zone.", "zone"),
    _ours(GAUGE, "external_conflicts", "Objects whose external name belongs to another object."),
    _ours(GAUGE, "table_bytes", "Size of the answer table."),
    _ours(GAUGE, "table_answers", "Answers in the table."),
    _ours(GAUGE, "table_readers", "Readers of the table."),
    _ours(COUNTER, "table_commits_total", "Commits since the table was created."),
    _ours(COUNTER, "restarts_total", "Restarts of processes.", "process"),
    _ours(COUNTER, "stuck_processes_total", "Processes replaced because they were stuck.", "process"),
    _ours(COUNTER, "worker_queries_total", "Queries that a worker answered.", "process"),
    _ours(GAUGE, "memory_bytes", "Proportional set size: shared pages are divided among their processes.", "process"),
    Metric("process_cpu_seconds_total", COUNTER, "process_cpu_seconds_total", "CPU time of all processes."),
    Metric(
        "process_resident_memory_bytes",
        GAUGE,
        "process_resident_memory_bytes",
        "Memory of all processes, shared pages counted once.",
    ),
    Metric("process_open_fds", GAUGE, "process_open_fds", "Open files of all processes."),
    Metric("process_max_fds", GAUGE, "process_max_fds", "Limit of open files of one process."),
    Metric("process_start_time_seconds", GAUGE, "process_start_time_seconds", "When the supervisor was started."),
)
