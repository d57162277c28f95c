"""When a change began, by what an object says of itself: for how long it takes until DNS says so, too.

The endpoints controller notes in an annotation when the oldest change that a slice tells of happened, to the
nanosecond; it is what CoreDNS measures by. Of an object that was just created, `creationTimestamp` tells it, in whole
seconds.
"""

from datetime import datetime

import msgspec

from pydns.kube.events import Cause
from pydns.kube.kinds import Kind


class _Annotations(msgspec.Struct, gc=False):
    trigger: str | None = msgspec.field(name="endpoints.kubernetes.io/last-change-trigger-time", default=None)


class _Meta(msgspec.Struct, rename="camel", gc=False):
    creation_timestamp: str | None = None
    annotations: _Annotations | None = None


class _Object(msgspec.Struct, gc=False):
    metadata: _Meta


_OBJECTS = msgspec.json.Decoder(_Object)


def cause(kind: Kind, raw: bytes | msgspec.Raw, *, created: bool) -> Cause | None:
    """Return when what this object tells of happened. Never raises: None where it doesn't say."""
    if kind not in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
        return None
    try:
        meta = _OBJECTS.decode(raw).metadata
        if kind is Kind.ENDPOINT_SLICE and meta.annotations is not None and meta.annotations.trigger:
            return Cause(_timestamp(meta.annotations.trigger), True)
        if created and meta.creation_timestamp:
            return Cause(_timestamp(meta.creation_timestamp), False)
    except (msgspec.DecodeError, ValueError, OverflowError):
        pass
    return None


def _timestamp(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
