"""Compiled modules return the same results as their sources."""

import tomllib
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from pydns.process.build import BUILD
from tests.compiled.__main__ import GROUP, compare

ROOT = Path(__file__).parents[2]
needs_compiled = pytest.mark.skipif(BUILD != "compiled", reason="the modules are not compiled: make native")


def _modules() -> list[str]:
    """Return the names of the modules that a build compiles."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    paths = [path for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.name != "__init__.py"]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def test_each_pattern_of_the_build_has_modules() -> None:
    assert {"pydns.dns.name", "pydns.serve.fast"} <= set(_modules())


@needs_compiled
def test_every_module_of_the_list_is_compiled() -> None:
    files = {module: str(import_module(module).__file__) for module in _modules()}
    assert [module for module, file in files.items() if not file.endswith(tuple(EXTENSION_SUFFIXES))] == []


@needs_compiled
def test_compiled_modules_return_what_their_sources_return() -> None:
    assert compare(seed=7, count=20 * GROUP) == (20 * GROUP, None)
