"""Decode manifests with kubectl, without an API server: `kubectl label --local`."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

_MARK = "pydns.test/mark"  # a label that kubectl adds, because `kubectl label` must change something


def read(texts: Sequence[str]) -> list[list[Any] | None]:
    """Return the objects of each text, or None if kubectl refuses a part of the text.

    The test is skipped if kubectl isn't installed.
    """
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    with tempfile.TemporaryDirectory() as directory:
        return [_read(program, Path(directory), text) for text in texts]


def _read(program: str, directory: Path, text: str) -> list[Any] | None:
    path = directory / "manifest.yaml"
    path.write_text(text)
    command = [program, "label", "--local", "--overwrite", "--filename", str(path), f"{_MARK}=x", "--output", "json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "KUBECONFIG": os.devnull}, timeout=60
    )
    if done.returncode:
        return None
    found = []
    position = 0
    while position < len(done.stdout.rstrip()):
        value, end = json.JSONDecoder().raw_decode(done.stdout, position)
        position = end + len(done.stdout[end:]) - len(done.stdout[end:].lstrip())
        found.append(_unmarked(value))
    return found


def _unmarked(value: dict[str, Any]) -> dict[str, Any]:
    labels = value["metadata"].pop("labels")
    del labels[_MARK]
    if labels:
        value["metadata"]["labels"] = labels
    return value
