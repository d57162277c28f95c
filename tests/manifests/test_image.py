"""The image: its requirements are pinned and complete, and its build file is sound."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import pydns

ROOT = Path(__file__).parents[2]
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


def _locked() -> dict[str, str]:
    """Return the hashes of each pinned requirement, by the name of the distribution."""
    entries = re.split(r"^(?=\S)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    return {_normal(entry.partition("==")[0]): entry.partition("==")[2] for entry in entries}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _name(requirement: str) -> str:
    return _normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])


def _needed() -> set[str]:
    """Return all distributions to install: our dependencies and theirs, by the metadata of the installed ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, needed = {_name(each) for each in project["dependencies"]}, set[str]()
    while waiting:
        distribution = waiting.pop()
        needed.add(distribution)
        requires = metadata.requires(distribution) or []
        waiting |= {_name(each) for each in requires if ";" not in each} - needed
    return needed


def test_everything_that_is_needed_is_pinned_by_hash() -> None:
    locked = _locked()
    assert _needed() - locked.keys() == set()
    for distribution, rest in locked.items():
        assert re.match(r"\S+ \\\n    --hash=sha256:[0-9a-f]{64}", rest), distribution


def test_pinned_versions_are_ones_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = _locked()
    for text in project["dependencies"]:
        requirement = Requirement(text)
        assert locked[_normal(requirement.name)].split()[0] in requirement.specifier, text


def test_the_lock_names_no_index() -> None:
    assert "/" not in (ROOT / "requirements.lock").read_text()


def test_hadolint_finds_nothing() -> None:
    if HADOLINT is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([HADOLINT, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_image_has_a_label_with_its_version() -> None:
    assert f"\nARG VERSION={pydns.__version__}\n" in (ROOT / "Dockerfile").read_text()
    for text in ("Dockerfile", "README.md", "manifests/README.md"):
        assert set(re.findall(r"-t pydns:(\S+) \.", (ROOT / text).read_text())) == {pydns.__version__}, text


def test_the_image_needs_no_shell_and_no_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    started = [line for line in lines if re.match(r"(ENTRYPOINT|CMD|RUN) ", line)]
    assert started and all(re.match(r"\w+ \[", line) for line in started)
    assert [line for line in lines if line.startswith("USER")] == ["USER 65532:65532"]


def test_only_copied_files_are_sent_to_the_builder() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(\S+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == copied
