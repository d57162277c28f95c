"""Reads the time of a change from the changed object. DNS programming latency begins at this time.

For a slice, an annotation has the time of the oldest change in it, in nanoseconds. The endpoints controller writes this
annotation, and CoreDNS also measures from this time. For a new object, the time is `creationTimestamp`, in whole
seconds.
"""

from datetime import datetime

import msgspec

from pydns.kube.events import ChangeTime
from pydns.kube.kinds import Kind


class _Annotations(msgspec.Struct, gc=False):
    trigger: str | None = msgspec.field(name="endpoints.kubernetes.io/last-change-trigger-time", default=None)


class _Meta(msgspec.Struct, rename="camel", gc=False):
    creation_timestamp: str | None = None
    annotations: _Annotations | None = None


class _Object(msgspec.Struct, gc=False):
    metadata: _Meta


_OBJECTS = msgspec.json.Decoder(_Object)


def change_time(kind: Kind, raw: bytes | msgspec.Raw, *, created: bool) -> ChangeTime | None:
    """Return the time of the object's change, or None if the object has no readable time. Never raises an exception."""
    if kind not in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
        return None
    try:
        meta = _OBJECTS.decode(raw).metadata
        if kind is Kind.ENDPOINT_SLICE and meta.annotations is not None and meta.annotations.trigger:
            return ChangeTime(_timestamp(meta.annotations.trigger), True)
        if created and meta.creation_timestamp:
            return ChangeTime(_timestamp(meta.creation_timestamp), False)
    except (msgspec.DecodeError, ValueError, OverflowError):
        pass
    return None


def _timestamp(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
