"""The controller computes its counts from the status and the events of its sources."""

import json
from typing import Any

from pydns.control.controller_counts import ControllerCounts
from pydns.kube.change_time import change_time
from pydns.kube.events import Apply
from pydns.kube.kinds import Kind
from pydns.kube.objects import parse
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.metrics.totals import decode
from pydns.process.block import Block, share
from pydns.table.status import ConfigStatus, KindStatus, Status

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
AT = 1767225600.0  # 2026-01-01T00:00:00Z


def event(kind: Kind, spec: dict[str, Any], **metadata: Any) -> Apply:
    meta = {"namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    raw = json.dumps({"metadata": meta, **spec}).encode()
    return Apply(parse(kind, raw), change_time(kind, raw, created=True))


def slice_of(service: str, **metadata: Any) -> Apply:
    spec = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.1"]}]}
    labels = {"kubernetes.io/service-name": service}
    return event(Kind.ENDPOINT_SLICE, spec, name=f"{service}-1", labels=labels, **metadata)


def programmed(block: Block) -> dict[str, tuple[float, float]]:
    """Return the number of counted changes for each kind of Service, and the sum of the changes' delays."""
    found = decode(block.load()).histograms
    return {key[1]: (sum(numbers[:-1]), numbers[-1]) for key, numbers in found.items()}


def test_delays_of_each_kind_of_service_start_at_the_change_that_caused_them() -> None:
    (block,) = share(1)
    counts = ControllerCounts(block)
    zone = Zone(ZoneOptions())
    for each in (
        event(Kind.SERVICE, {"spec": {"clusterIP": "10.96.0.9"}}, name="web"),
        event(Kind.SERVICE, {"spec": {"clusterIP": "None"}}, name="db"),
        event(Kind.SERVICE, {"spec": {"clusterIP": "None"}}, name="own"),
        # This change affects no record of a ClusterIP Service.
        slice_of("web", annotations={TRIGGER: "2026-01-01T00:00:01Z"}),
        slice_of("db", annotations={TRIGGER: "2026-01-01T00:00:01.5Z"}),
        slice_of("own"),
    ):
        assert zone.apply(each)
        counts.changed(each, zone)
    counts.committed(AT + 2)
    counts.committed(AT + 100)  # each change is counted only once
    counts.follow(Status())
    assert programmed(block) == {
        "cluster_ip": (1, 2),
        "headless_with_selector": (1, 0.5),
        "headless_without_selector": (1, 2),
    }


def kinds(service: dict[str, Any], refused: int = 0) -> Status:
    return Status(kinds={"Service": KindStatus(**service)}, config=ConfigStatus(refused=refused, accepted=1))


def test_counts_continue_over_a_restart_of_the_controller() -> None:
    (block,) = share(1)
    before = ControllerCounts(block)
    before.follow(kinds({"relists": 2, "errors": {"410": 1}}))
    before.follow(kinds({"relists": 3, "errors": {"410": 1, "eof": 4}}))
    ControllerCounts(block).follow(kinds({"relists": 1, "errors": {"410": 1}}, refused=2))
    assert decode(block.load()).counts == {
        ("relists_total", "Service"): 4,
        ("watch_errors_total", "Service", "410"): 2,
        ("watch_errors_total", "Service", "eof"): 4,
        ("reload_failed_total",): 2,
        ("accepted_configurations_total",): 2,
    }
