"""The manifests as `kubectl apply -k` would send them. This module doesn't know the manifests' right content."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

Json = dict[str, Any]


def build(folder: str) -> list[Json]:
    """Return the objects of a folder below manifests/."""
    return list(yaml.safe_load_all(_text(MANIFESTS / folder)))


def build_path(folder: Path) -> list[Json]:
    """Return the objects of a kustomization in any folder."""
    return list(yaml.safe_load_all(_text(folder)))


def path_from(folder: Path) -> str:
    """Return the relative path to manifests/, because kustomize refuses absolute paths."""
    return "/".join([".."] * (len(folder.resolve().parts) - 1)) + str(MANIFESTS.resolve())


def build_with(component: str, folder: Path, base: str = "base") -> list[Json]:
    """Return the objects of a folder with a component. They are built by a kustomization in an empty folder."""
    manifests = path_from(folder)
    (folder / "kustomization.yaml").write_text(
        f"resources: [{manifests}/{base}]\ncomponents: [{manifests}/components/{component}]\n"
    )
    return build_path(folder)


@functools.cache
def _text(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def only(objects: list[Json], kind: str, name: str = "") -> Json:
    """Return the only object of this kind, and of this name if a name is given."""
    found = [each for each in objects if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    assert len(found) == 1, (kind, name, [each["metadata"]["name"] for each in objects])
    return found[0]
