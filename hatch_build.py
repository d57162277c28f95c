"""The build hook: it compiles modules of pydns with mypyc, and puts the extension modules into the wheel.

hatchling calls the hook if the environment has HATCH_BUILD_HOOK_ENABLE_CUSTOM=1. The build then needs a C compiler, and
takes one to three minutes. Without the variable, the wheel contains only the sources. An editable installation is never
compiled. The list of modules is in pyproject.toml. Their sources are in the wheel, too, because tracebacks show their
lines. Python prefers an extension module to a source.

The plugin hatch-mypyc does the same, but leaves the extension modules beside the sources. There they would hide every
later change of the sources.
"""

from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface[Any]):
    """Adds extension modules to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules, and add the results to the wheel. Compiler errors end the build."""
        if self.target_name != "wheel" or version == "editable":
            return
        self._made = TemporaryDirectory(prefix="pydns-build-")
        made = Path(self._made.name)
        with chdir(self.root):
            _compile(sources(self.config["modules"]), made)
        for path in (made / "library").rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(made / "library"))
        build_data["infer_tag"], build_data["pure_python"] = True, False

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Remove the temporary files."""
        if hasattr(self, "_made"):
            self._made.cleanup()


def sources(patterns: list[str]) -> list[str]:
    """Return the files in the current folder that match the patterns. Raises `ValueError` if a pattern matches none."""
    found: list[str] = []
    for pattern in patterns:
        matching = sorted(Path().glob(pattern))
        if not matching:
            raise ValueError(f"{pattern} in pyproject.toml matches no file")
        found += [str(path) for path in matching if path.name != "__init__.py"]
    return found


def _compile(paths: list[str], made: Path) -> None:
    # These packages are installed only for a compiled wheel.
    from mypyc.build import mypycify
    from setuptools import Distribution

    mypy_flags = ["--config-file=pyproject.toml", f"--cache-dir={made / 'mypy'}"]
    extensions = mypycify(
        [*mypy_flags, *paths], target_dir=str(made / "c"), group_name="pydns", multi_file=True, debug_level="0"
    )
    _repair(made / "c" / "bytes_ops.c")
    for each in extensions:
        # The modules are one library. Its functions needn't be visible outside of it, so calls between them are direct.
        each.extra_compile_args.append("-fvisibility=hidden")
    command = Distribution({"ext_modules": extensions, "packages": []}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(made / "library"), str(made / "objects")
    command.ensure_finalized()
    command.run()


def _repair(bytes_ops: Path) -> None:
    """Correct a slice of bytes that ends before it begins, in the C code of mypyc. In Python it is empty.

    mypyc 2.4 raises SystemError instead. A message from the network may lead to such a slice.
    """
    wrong = "Py_ssize_t slice_len = endn - startn;"
    right = "Py_ssize_t slice_len = endn > startn ? endn - startn : 0;"
    bytes_ops.write_text(bytes_ops.read_text().replace(wrong, right))
