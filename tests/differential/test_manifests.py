"""Generated manifests: pydns reads the same objects as kubectl, and refuses the same manifests as kubectl.

Intended differences are listed in manifest_pieces.yaml, and must still exist. For the long run, set
PYDNS_TEST_MANIFESTS=2500 (`make differential`). The tests are skipped without kubectl.
"""

import json
import os
from typing import Any

import pytest

from pydns.kube import documents
from tests.differential import kubectl, manifest_texts

_MANIFESTS = int(os.environ.get("PYDNS_TEST_MANIFESTS", "150"))


def ours(text: str) -> list[Any] | None:
    """Return the objects that pydns reads, or None if a part of the text is a mistake."""
    found = list(documents.read(text))
    if any(isinstance(each, documents.DocumentMistake) for each in found):
        return None
    return [each.value for each in found if isinstance(each, documents.Document) and each.value is not None]


@pytest.mark.timeout(900)
def test_generated_manifests_are_the_objects_that_kubectl_reads() -> None:
    texts = [manifest_texts.make(seed) for seed in range(_MANIFESTS)]
    theirs = kubectl.read(texts)
    assert [text for text, read in zip(texts, theirs, strict=True) if ours(text) != read] == []
    # Otherwise too few values would be tested.
    assert len([read for read in theirs if read is not None]) > len(texts) / 2


def test_the_listed_differences_still_exist() -> None:
    texts = [manifest_texts.with_value(each["value"]) for each in manifest_texts.DIFFERENCES]
    found = [
        {**listed, "kubectl": _value(read), "ours": _value(ours(text))}
        for listed, text, read in zip(manifest_texts.DIFFERENCES, texts, kubectl.read(texts), strict=True)
    ]
    assert found == manifest_texts.DIFFERENCES


def _value(read: list[Any] | None) -> str:
    return "refused" if read is None else json.dumps(read[0]["spec"]["value"])
