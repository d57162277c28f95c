"""Every metric: its two names, type, labels and what it says. What CoreDNS has a name for has that one by default.

Names, labels and buckets of the `coredns_*` ones are CoreDNS 1.14's, so that dashboards and alerts made for it go on
working. There the label `zone` is its server block's; here it is the zone of ours that a name lies in, and a dot for
every other name.
"""

from typing import NamedTuple

from pydns.config.model import MetricNames

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Metric(NamedTuple):
    """One metric. `key` is what it is counted by."""

    key: str
    kind: str
    name: str  # without prefix
    help: str
    labels: tuple[str, ...] = ()
    coredns: str = ""  # what comes before the name in CoreDNS's; empty if it has none
    served: bool = False  # has CoreDNS's labels `server` and `view`

    def full_name(self, names: MetricNames) -> str:
        """Return the name that it is exposed by."""
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
        "From receive to send, for forwarded queries with what upstreams took. Queries that came in at once and were "
        "not quick count with the time of up to 16 of them.",
        "zone",
    ),
    _coredns(HISTOGRAM, "dns_request_size_bytes", "Lengths of queries.", "zone", "proto"),
    _coredns(HISTOGRAM, "dns_response_size_bytes", "Lengths of replies.", "zone", "proto"),
    _coredns(COUNTER, "dns_do_requests_total", "Queries that want DNSSEC records.", "zone"),
    _coredns(COUNTER, "panics_total", "Queries that met a bug.", served=False),
    _coredns(
        GAUGE, "build_info", "Always 1; its labels are versions.", "version", "revision", "goversion", served=False
    ),
    _coredns(GAUGE, "reload_version_info", "Always 1; the configuration in force.", "hash", "value", served=False),
    _coredns(COUNTER, "reload_failed_total", "Configurations that were refused.", served=False),
    _coredns(COUNTER, "cache_requests_total", "Questions to upstreams that the cache was asked first.", "zones"),
    _coredns(COUNTER, "cache_hits_total", "Of these, answered from it.", "zones", "type"),
    _coredns(COUNTER, "cache_misses_total", "Of these, asked upstream.", "zones"),
    _coredns(GAUGE, "cache_entries", "Answers of upstreams that are kept, by all workers.", "zones", "type"),
    _coredns(COUNTER, "cache_evictions_total", "Answers that made room for others.", "zones", "type"),
    _coredns(COUNTER, "cache_prefetch_total", "Answers asked for anew before they expired.", "zones"),
    _coredns(COUNTER, "cache_served_stale_total", "Last known answers given because upstreams gave none.", "zones"),
    _coredns(COUNTER, "forward_healthcheck_broken_total", "Asked though no upstream was answering.", served=False),
    _coredns(COUNTER, "forward_max_concurrent_rejects_total", "SERVFAIL since too many waited.", served=False),
    _coredns(
        HISTOGRAM,
        "proxy_request_duration_seconds",
        "From a packet to an upstream to its reply.",
        "proxy_name",
        "to",
        "rcode",
        served=False,
    ),
    _coredns(
        HISTOGRAM,
        "kubernetes_dns_programming_duration_seconds",
        "From when an endpoint changed, or an object was created (known to the second), until its records were served.",
        "service_kind",
        served=False,
    ),
    _ours(COUNTER, "ignored_messages_total", "Messages without a reply: too short, or replies themselves.", "proto"),
    _ours(COUNTER, "unsent_replies_total", "Replies that the kernel did not take."),
    _ours(COUNTER, "late_queries_total", "Queries that came while draining."),
    _ours(COUNTER, "accepted_configurations_total", "Configurations that were read and are without mistake."),
    _ours(COUNTER, "forward_events_total", "What happened to questions asked upstream.", "event"),
    _ours(GAUGE, "cache_bytes", "What answers of upstreams take, in all workers."),
    _ours(GAUGE, "upstream_open_breakers", "Workers that take an upstream for dead.", "to"),
    _ours(GAUGE, "ready", "1 if new clients are welcome."),
    _ours(GAUGE, "synced", "1 once all objects of a kind have been listed.", "resource"),
    _ours(GAUGE, "data_age_seconds", "Since the source last showed that the data is current.", "resource"),
    _ours(GAUGE, "last_event_age_seconds", "Since an object last changed.", "resource"),
    _ours(GAUGE, "last_bookmark_age_seconds", "Since the API server last sent a bookmark.", "resource"),
    _ours(GAUGE, "last_audit_age_seconds", "Since all objects were last compared with the API server's.", "resource"),
    _ours(GAUGE, "objects", "Objects that answers are made from.", "resource"),
    _ours(GAUGE, "skipped_objects", "Objects that can't be used; see the log.", "resource"),
    _ours(GAUGE, "resource_version", "The version up to which changes have been seen.", "resource"),
    _ours(COUNTER, "relists_total", "Listings after the first.", "resource"),
    _ours(COUNTER, "audits_total", "Comparisons with the API server.", "resource"),
    _ours(COUNTER, "repaired_objects_total", "Objects that a watch had missed, found by audits.", "resource"),
    _ours(COUNTER, "watch_errors_total", "Failed lists and watches.", "resource", "reason"),
    _ours(GAUGE, "table_bytes", "What the answer table takes."),
    _ours(GAUGE, "table_answers", "Answers in the table."),
    _ours(GAUGE, "table_readers", "Readers of the table."),
    _ours(COUNTER, "table_commits_total", "Commits to the table since it was begun."),
    _ours(COUNTER, "restarts_total", "Processes started again.", "process"),
    _ours(COUNTER, "stuck_processes_total", "Processes replaced since they did not answer.", "process"),
    _ours(COUNTER, "worker_queries_total", "Queries that a worker answered.", "process"),
    _ours(GAUGE, "memory_bytes", "Proportional set size.", "process"),
    Metric("process_cpu_seconds_total", COUNTER, "process_cpu_seconds_total", "CPU time of all processes."),
    Metric("process_resident_memory_bytes", GAUGE, "process_resident_memory_bytes", "Memory of all, counted once."),
    Metric("process_open_fds", GAUGE, "process_open_fds", "Open files of all processes."),
    Metric("process_max_fds", GAUGE, "process_max_fds", "How many files one process may open."),
    Metric("process_start_time_seconds", GAUGE, "process_start_time_seconds", "When the supervisor was started."),
)
