"""When a change began, by what an object says, whatever it says."""

import json
from typing import Any

import pytest

from pydns.kube.cause import cause
from pydns.kube.events import Cause
from pydns.kube.kinds import Kind

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
CREATED = {"creationTimestamp": "2026-01-01T00:00:10Z"}
TRIGGERED = {**CREATED, "annotations": {TRIGGER: "2026-01-01T00:01:00.25Z", "other": "x"}}
AT = 1767225600.0  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("kind", "metadata", "created", "wanted"),
    [
        (Kind.ENDPOINT_SLICE, TRIGGERED, False, Cause(AT + 60.25, True)),
        (Kind.ENDPOINT_SLICE, TRIGGERED, True, Cause(AT + 60.25, True)),
        (Kind.ENDPOINT_SLICE, CREATED, True, Cause(AT + 10, False)),
        (Kind.ENDPOINT_SLICE, CREATED, False, None),
        (Kind.SERVICE, CREATED, True, Cause(AT + 10, False)),
        (Kind.SERVICE, TRIGGERED, False, None),
        (Kind.POD, CREATED, True, None),
        (Kind.SERVICE, {"creationTimestamp": "yesterday"}, True, None),
        (Kind.SERVICE, {"creationTimestamp": "2026-01-01"}, True, None),
        (Kind.SERVICE, {"creationTimestamp": 7}, True, None),
        (Kind.ENDPOINT_SLICE, {"annotations": {TRIGGER: 5}}, True, None),
        (Kind.ENDPOINT_SLICE, {"annotations": None}, True, None),
    ],
)
def test_the_beginning_of_a_change(kind: Kind, metadata: Any, created: bool, wanted: Cause | None) -> None:
    assert cause(kind, json.dumps({"metadata": metadata}).encode(), created=created) == wanted


def test_what_is_no_object_has_no_cause() -> None:
    assert cause(Kind.SERVICE, b"[", created=True) is None
