"""The image: its requirements are pinned and complete, and its build file is correct."""

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


def _locked(lock: str = "requirements.lock") -> dict[str, str]:
    """Return the version and the hashes of each pinned requirement, by the name of the distribution."""
    pinned = re.sub(r"^#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    entries = re.split(r"^(?=\S)", pinned, flags=re.MULTILINE)[1:]
    return {_normal(entry.partition("==")[0]): entry.partition("==")[2] for entry in entries}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _name(requirement: str) -> str:
    return _normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])


def _left_out() -> set[str]:
    """Return the distributions that the image doesn't contain, although other distributions require them."""
    (names,) = re.findall(r"^UNUSED := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(names.split())


def _needed() -> set[str]:
    """Return all distributions to install: the dependencies of pydns, and their dependencies.

    They are found in the metadata of the installed distributions.
    """
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
    assert _needed() - locked.keys() == _left_out()
    assert _left_out() & locked.keys() == set()
    for distribution, rest in locked.items():
        assert re.match(r"\S+ \\\n    --hash=sha256:[0-9a-f]{64}", rest), distribution


def test_pinned_versions_are_ones_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = _locked()
    for text in project["dependencies"]:
        requirement = Requirement(text)
        assert locked[_normal(requirement.name)].split()[0] in requirement.specifier, text


def test_the_lock_file_names_no_package_index() -> None:
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


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class LeftOut:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MODULES or f"{name}.".startswith("kubernetes.aio."):
            raise ImportError(f"{name} is not in the image")

sys.meta_path.insert(0, LeftOut())
import pydns
for module in pkgutil.walk_packages(pydns.__path__, "pydns."):
    if module.name != "pydns.__main__":
        importlib.import_module(module.name)
"""


def test_nothing_imports_what_the_image_leaves_out() -> None:
    owners = metadata.packages_distributions()
    modules = {module for module, of in owners.items() if {_normal(each) for each in of} & _left_out()}
    assert {"aiohttp", "attr"} <= modules
    assert (ROOT / "Dockerfile").read_text().count('RUN ["rm", "-r", "/opt/pydns/kubernetes/aio"]') == 1
    command = [sys.executable, "-c", f"MODULES = {modules}{IMPORT_EVERYTHING}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_of_the_image_is_pydns() -> None:
    """Check what `kubectl exec … -- pydns status` needs: an executable file with the interpreter of the base image."""
    script, dockerfile = ROOT / "image" / "pydns", (ROOT / "Dockerfile").read_text()
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/usr/local/bin/python\n")
    assert "\nCOPY image/pydns /usr/local/bin/pydns\n" in dockerfile
    assert '\nENTRYPOINT ["pydns"]\n' in dockerfile
    environment = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(script), "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert pydns.__version__ in done.stdout, done.stderr


def test_the_compiler_of_the_modules_is_pinned_and_sees_the_versions_of_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools, image = _locked("image/build.lock"), _locked()
    wanted = [*project["project"]["optional-dependencies"]["compile"], *project["build-system"]["requires"]]
    assert {_name(each) for each in wanted} <= tools.keys()
    assert {each: tools[each].split()[0] for each in image} == {each: image[each].split()[0] for each in image}
    for distribution, rest in tools.items():
        assert re.match(r"\S+ \\\n    --hash=sha256:[0-9a-f]{64}", rest), distribution


def test_the_base_image_is_pinned() -> None:
    assert re.search(
        r"^ARG PYTHON=python:[\w.-]+@sha256:[0-9a-f]{64}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )


def test_only_copied_files_are_sent_to_the_builder() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source.partition("/")[0] for line in lines for source in line.split()}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == copied
