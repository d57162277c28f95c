"""What the controller says of a kind of objects, as JSON: for `pydns status`, /status and metrics."""

from typing import Any

from pydns.kube.objects import Kind
from pydns.kube.reflector import Status
from pydns.kube.store import Store


def describe_kind(kind: Kind, store: Store, status: Any, now: float) -> dict[str, Any]:
    """Describe how a kind stands. `status` is its source's: a `kube.reflector.Status`, or one without API server."""
    said = {
        "synced": kind in store.synced,
        "objects": store.count(kind),
        "skipped": sum(ref.kind is kind for ref in store.skipped),
        "problem": status.problem,
        "last_event_age_s": _age(status.last_event, now),
        "data_age_s": _age(status.last_heard, now),
    }
    if isinstance(status, Status):
        said |= {
            "resource_version": int(status.resource_version) if status.resource_version.isdecimal() else None,
            "last_bookmark_age_s": _age(status.last_bookmark, now),
            "last_audit_age_s": _age(status.last_audit, now),
            "audits": status.audits,
            "repaired": status.repaired,
            "relists": status.relists,
            "errors": status.errors,
        }
    return said


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)
