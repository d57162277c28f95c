"""The time of a change is read from the changed object. An unreadable time is ignored."""

import json
from typing import Any

import pytest

from pydns.kube.change_time import change_time
from pydns.kube.events import ChangeTime
from pydns.kube.kinds import Kind

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
CREATED = {"creationTimestamp": "2026-01-01T00:00:10Z"}
TRIGGERED = {**CREATED, "annotations": {TRIGGER: "2026-01-01T00:01:00.25Z", "other": "x"}}
AT = 1767225600.0  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("kind", "metadata", "created", "wanted"),
    [
        (Kind.ENDPOINT_SLICE, TRIGGERED, False, ChangeTime(AT + 60.25, True)),
        (Kind.ENDPOINT_SLICE, TRIGGERED, True, ChangeTime(AT + 60.25, True)),
        (Kind.ENDPOINT_SLICE, CREATED, True, ChangeTime(AT + 10, False)),
        (Kind.ENDPOINT_SLICE, CREATED, False, None),
        (Kind.SERVICE, CREATED, True, ChangeTime(AT + 10, False)),
        (Kind.SERVICE, TRIGGERED, False, None),
        (Kind.POD, CREATED, True, None),
        (Kind.SERVICE, {"creationTimestamp": "yesterday"}, True, None),
        (Kind.SERVICE, {"creationTimestamp": "2026-01-01"}, True, None),
        (Kind.SERVICE, {"creationTimestamp": 7}, True, None),
        (Kind.ENDPOINT_SLICE, {"annotations": {TRIGGER: 5}}, True, None),
        (Kind.ENDPOINT_SLICE, {"annotations": None}, True, None),
    ],
)
def test_change_time_is_read_from_annotation_or_creation(
    kind: Kind, metadata: Any, created: bool, wanted: ChangeTime | None
) -> None:
    assert change_time(kind, json.dumps({"metadata": metadata}).encode(), created=created) == wanted


def test_invalid_json_has_no_change_time() -> None:
    assert change_time(Kind.SERVICE, b"[", created=True) is None
